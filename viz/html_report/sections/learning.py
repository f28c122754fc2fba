"""The section on in-context learning: the loss on each repeat of random tokens."""

from headcount.results import RepeatLoss
from headcount.viz import number_format


def loss_rows(loss: RepeatLoss) -> list[tuple[str, str]]:
    """Return each repeat and its loss with standard error."""
    texts = number_format.value_texts(loss.loss, loss.stderr if loss.n > 2 else None)
    return [(str(repeat), text) for repeat, text in enumerate(texts, 1)]


def late_minus_early(loss: RepeatLoss) -> str:
    """Return the difference of late and early loss with its standard error."""
    return number_format.with_error(
        loss.late_minus_early, number_format.shown_error(loss.late_minus_early_stderr, loss.n)
    )


def loss_falls(loss: RepeatLoss) -> bool:
    """Return True if the loss late in the sequence lies below the early one by more than two standard errors."""
    return loss.late_minus_early + 2 * loss.late_minus_early_stderr < 0

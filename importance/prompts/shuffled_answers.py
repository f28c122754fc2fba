"""Counterfactual shots: the same solved examples with their answers shuffled among them.

The words, and so the number of tokens, stay the same where the tokenizer encodes an answer alike behind any question;
what the shots show of the task is gone (Todd et al. 2024; Min et al. 2022).
"""

import hashlib
from collections.abc import Callable, Sequence

from headcount.importance.documents import Prompt

_ATTEMPTS = 100


def shuffled_answers(shots: Sequence[Prompt], seed: int) -> str | None:
    """Return solved examples with their answers shuffled, as one text.

    Of a hundred orders, drawn from the seed and the shots alone, the first one is taken that changes most answers.

    Args:
        shots: The solved examples.
        seed: Seed of the order.

    Returns:
        The text; None if no order changes an answer (a single shot, or all with one answer), or if a shot does not
        hold its answer as it is scored (Winogrande, where the answer is the text before the scored one).
    """
    parts = [_around_answer(shot) for shot in shots]
    answers = [shot.continuations[shot.gold[0]] for shot in shots]
    if None in parts or len(set(answers)) < 2:
        return None
    key = hashlib.sha256("".join(shot.shot for shot in shots).encode()).hexdigest()
    shuffled = max(
        (_in_order(answers, f"{seed} {key} {attempt}") for attempt in range(_ATTEMPTS)), key=_changes(answers)
    )
    return "".join(f"{part[0]}{answer}{part[1]}" for part, answer in zip(parts, shuffled, strict=True) if part)


def _in_order(answers: Sequence[str], key: str) -> list[str]:
    """Return the answers in a random order."""
    order = sorted(range(len(answers)), key=lambda place: hashlib.sha256(f"{key} {place}".encode()).digest())
    return [answers[place] for place in order]


def _changes(answers: Sequence[str]) -> Callable[[Sequence[str]], int]:
    """Return the function that counts the answers that an order changes."""
    return lambda shuffled: sum(new != old for new, old in zip(shuffled, answers, strict=True))


def _around_answer(shot: Prompt) -> tuple[str, str] | None:
    """Return the texts before and after a solved example's answer; None if it does not hold the answer."""
    answer = shot.continuations[shot.gold[0]]
    if len(set(shot.contexts)) > 1 or answer not in shot.shot:
        return None
    before, _, after = shot.shot.rpartition(answer)
    return before, after

"""The parts of a task: an example, a document, a prompt."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Example:
    """A context and its continuation.

    Args:
        context: The text that the model reads first: shots and question.
        continuation: The text whose probability is measured; the space between the two, if any, belongs to it.
        counterfactual: The same context with the answers of its shots shuffled; None where that changes nothing, or
            the shots do not state an answer of their own.
    """

    context: str
    continuation: str
    counterfactual: str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Document:
    """One row of a task, ready to be scored.

    Args:
        index: Its place in the task's scored rows, counted from 0.
        requests: One example for each choice.
        gold: The right choices. Of several, the first is the continuation of importance examples.
        group: The question that this is an answer to (MultiRC); None where every document stands for itself.
    """

    index: int
    requests: tuple[Example, ...]
    gold: tuple[int, ...]
    group: str | None = None


@dataclass(frozen=True)
class Prompt:
    """One row as a profile prompts it, before any shots.

    Args:
        contexts: One for each choice; all alike, except where the choices differ in the context (Winogrande).
        continuations: One for each choice.
        gold: The right choices, as in `Document`.
        shot: The row with its answer, as it stands before another row's context, separator included.
        prefix: The text that comes before the shots.
    """

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: tuple[int, ...]
    shot: str
    prefix: str = ""

    def after(self, shots: str, shuffled: str | None = None) -> tuple[Example, ...]:
        """Return the requests, with `shots` in front of each context, or in its counterfactual the shuffled ones."""

        def whole(shots: str, context: str) -> str:
            return self.prefix + shots + context

        return tuple(
            Example(whole(shots, context), continuation, None if shuffled is None else whole(shuffled, context))
            for context, continuation in zip(self.contexts, self.continuations, strict=True)
        )

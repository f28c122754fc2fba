"""The parts of a task: an example, a document, a prompt."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A context and its continuation.

    Args:
        context: The text that the model reads first: shots and question.
        continuation: The text whose probability is measured; the space between the two, if any, belongs to it.
    """

    context: str
    continuation: str


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

    def after(self, shots: str) -> tuple[Example, ...]:
        """Return the requests, with `shots` in front of each context."""
        pairs = zip(self.contexts, self.continuations, strict=True)
        return tuple(Example(self.prefix + shots + context, continuation) for context, continuation in pairs)

"""The head atlas: many scores of every head of one model, on repeated random tokens and on text, with controls."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from headcount.results.errors import InputError, damaged
from headcount.results.kinds.atlas.text_examples import TextExamples
from headcount.results.kinds.scores import HeadScores
from headcount.results.presentation.notebook_table import html_table
from headcount.results.storage import field_types
from headcount.results.storage.files import Content
from headcount.results.storage.stored import Stored

if TYPE_CHECKING:
    import pandas as pd

TEXT, CONTROL = "on_text", "control"
"""The first words of the names of scores on text, and of scores with random weights."""

EXAMPLES = "examples"


class NamedScores(Mapping[str, HeadScores]):
    """Scores of heads by name, each an attribute too: `scores.previous_token`."""

    def __init__(self, scores: Mapping[str, HeadScores], title: str) -> None:
        self._scores, self._title = dict(scores), title

    def __getitem__(self, name: str) -> HeadScores:
        return self._scores[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scores)

    def __len__(self) -> int:
        return len(self._scores)

    def __getattr__(self, name: str) -> HeadScores:
        if name.startswith("_") or name not in self._scores:
            names = ", ".join(self.__dict__.get("_scores", {})) or "none"
            raise AttributeError(f"no score {name!r} {self.__dict__.get('_title', '')}: there are {names}")
        return self._scores[name]

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._scores]

    def __repr__(self) -> str:
        return f"NamedScores({self._title}: {', '.join(self._scores) or 'none'})"


class ControlScores(NamedScores):
    """Scores with random weights on repeated random tokens, by name; `on_text` has those on text."""

    def __init__(self, scores: Mapping[str, HeadScores], on_text: Mapping[str, HeadScores]) -> None:
        super().__init__(scores, "with random weights on random tokens")
        self.on_text = NamedScores(on_text, "with random weights on text")


@dataclass(frozen=True, eq=False, repr=False)
class HeadAtlas(Stored):
    """Many scores of every head of one model; `atlas.previous_token` is one of them, a `HeadScores`.

    Scores on repeated random tokens are attributes by name, the same on text are those of `atlas.on_text`, and those
    of the same architecture with random weights are those of `atlas.control` and `atlas.control.on_text`.

    Attributes:
        scores: All of them: `NAME`, `on_text/NAME`, `control/NAME`, `control/on_text/NAME`. A score without a
            provenance of its own has the atlas's.
        examples: Sequences of the text at which each head scores high, in the middle and low; None without text.
        provenance: Everything that is needed to measure it again, as JSON can hold it.

    Raises:
        InputError: A field is not what its annotation says, there is no score, a name is not of that form or is one
            of the atlas's own attributes, or scores are of different shapes.
    """

    scores: Mapping[str, HeadScores]
    examples: TextExamples | None = None
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        self._copy_fields()
        for key in self.scores:
            check_score_name(key.removeprefix(f"{CONTROL}/").removeprefix(f"{TEXT}/"))
        if len({scores.shape for scores in self.scores.values()}) != 1:
            got = ", ".join(f"{name} {list(scores.shape)}" for name, scores in self.scores.items()) or "none"
            raise InputError(f"expected scores of one shape [layer, head], got {got:.200}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the scores, of those on random tokens first."""
        return tuple(dict.fromkeys([*self._of(""), *self._of(f"{TEXT}/")]))

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of layers and of heads in each."""
        return next(iter(self.scores.values())).shape

    @property
    def random(self) -> NamedScores:
        """The scores on repeated random tokens."""
        return NamedScores(self._of(""), "on random tokens")

    @property
    def on_text(self) -> NamedScores:
        """The scores on text."""
        return NamedScores(self._of(f"{TEXT}/"), "on text")

    @property
    def control(self) -> ControlScores:
        """The scores with random weights; none where the weights were not in memory, or no control was measured."""
        return ControlScores(self._of(f"{CONTROL}/"), self._of(f"{CONTROL}/{TEXT}/"))

    def __getattr__(self, name: str) -> HeadScores:
        if name.startswith("_") or name in type(self).__dataclass_fields__:
            raise AttributeError(name)
        return getattr(self.random, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._of("")]

    def with_scores(self, more: Mapping[str, HeadScores]) -> "HeadAtlas":
        """Return the atlas with more scores: `NAME`, `on_text/NAME`, `control/NAME` or `control/on_text/NAME` each.

        Raises:
            InputError: A name is not of that form, or a score is of another shape.
        """
        return replace(self, scores={**self.scores, **more})

    def to_frame(self) -> "pd.DataFrame":
        """Return a tidy table, one row for each head, score, and kind of tokens.

        Returns:
            Columns: `layer`, `head`, `score`, `tokens` (`random` or `text`), `value`, `stderr` (NaN where unknown),
            `n`, and `control`, the value with random weights (NaN without one).
        """
        import pandas as pd

        tables = []
        for kind, scores, controls in (
            ("random", self.random, self.control),
            ("text", self.on_text, self.control.on_text),
        ):
            for name, part in scores.items():
                table = part.to_frame()[["layer", "head", "value", "stderr", "n"]]
                control = controls[name].values.flatten().numpy() if name in controls else float("nan")
                table = table.assign(score=name, tokens=kind, control=control)
                tables.append(table[["layer", "head", "score", "tokens", "value", "stderr", "n", "control"]])
        return pd.concat(tables, ignore_index=True)

    def _of(self, prefix: str) -> dict[str, HeadScores]:
        """Return the scores with this prefix by their names; those without provenance get the atlas's."""
        parts = {key.removeprefix(prefix): part for key, part in self.scores.items() if key.startswith(prefix)}
        record = self.provenance | {"tokens": "text" if prefix.endswith(f"{TEXT}/") else "random"}
        return {
            name: part if part.provenance else replace(part, provenance=record)
            for name, part in parts.items()
            if "/" not in name
        }

    def to_content(self) -> Content:
        """Return the content of one file: each part's fields by its name, and its tensors as `NAME.TENSOR`."""
        parts = {name: part.to_content() for name, part in self._parts().items()}
        return Content(
            type(self).__name__,
            {"parts": [[name, part.fields] for name, part in parts.items()], "provenance": self.provenance},
            {f"{name}.{key}": tensor for name, part in parts.items() for key, tensor in part.tensors.items()},
        )

    @classmethod
    def from_content(cls, path: Path, content: Content) -> Self:
        """Return the atlas that a file holds.

        Raises:
            InputError: The content is another kind of result, or its parts do not fit each other.
        """
        if content.kind != cls.__name__:
            raise InputError(f"{path}: expected {cls.__name__}, got {content.kind}; check the path")
        try:
            parts = {name: _part(path, name, fields, content) for name, fields in content.fields["parts"]}
            examples: Any = parts.pop(EXAMPLES, None)
            return cls(parts, examples, content.fields["provenance"])
        except (TypeError, ValueError, LookupError) as error:
            raise damaged(path, f"its parts do not fit ({error})") from error

    def _parts(self) -> dict[str, Stored]:
        return {**self.scores, **({} if self.examples is None else {EXAMPLES: self.examples})}

    def __repr__(self) -> str:
        layers, heads = self.shape
        return f"HeadAtlas({layers} layers × {heads} heads: {', '.join(self.names)})"

    def _repr_html_(self) -> str:
        rows = [
            [name, kind, part.label(*part.top(1)[0][:2]), f"{part.top(1)[0][2]:.4f}", str(part.n)]
            for kind, scores in (("random", self.random), ("text", self.on_text))
            for name, part in scores.items()
            if part.top(1)
        ]
        return html_table("the highest head of each score", ["score", "tokens", "head", "value", "n"], rows)


def check_score_name(name: str) -> None:
    """Require a name that can be an attribute of an atlas.

    Raises:
        InputError: It is no word of letters, digits and underscores, or is an attribute of the atlas's own.
    """
    reserved = hasattr(HeadAtlas, name) or name in HeadAtlas.__dataclass_fields__
    if not name.isidentifier() or name.startswith("_") or reserved:
        raise InputError(
            f"expected a score's name of letters, digits and underscores, such as 'three_back', and none of the "
            f"atlas's own attributes, got {name!r}: choose another"
        )


def _part(path: Path, name: str, fields: dict[str, Any], content: Content) -> Any:
    kind = TextExamples if name == EXAMPLES else HeadScores
    prefix = f"{name}."
    tensors = {key.removeprefix(prefix): tensor for key, tensor in content.tensors.items() if key.startswith(prefix)}
    return kind.from_content(path, Content(kind.__name__, fields, tensors))

"""Several maps of one model's heads that are measured together: of induction heads, and of gates on heads."""

from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Self

from headcount.results.errors import InputError
from headcount.results.kinds.scores import HeadScores
from headcount.results.storage import field_types


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """The base of `InductionScores` and `CausalGates`, which name their maps."""

    def __post_init__(self) -> None:
        field_types.check_fields(self)
        shapes = {name: scores.shape for name, scores in self._maps().items()}
        if len(set(shapes.values())) > 1:
            got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
            raise InputError(f"expected three maps of one shape [layer, head], got {got}")

    def save(self, folder: str | PathLike[str]) -> None:
        """Write one safetensors file for each map, named after it.

        Raises:
            InputError: The folder cannot be written.
        """
        for name, scores in self._maps().items():
            scores.save(Path(folder) / f"{name}.safetensors")

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read the files that `save` has written.

        Raises:
            InputError: A file is missing or cannot be read, or their shapes differ.
        """
        return cls(*(HeadScores.load(Path(folder) / f"{item.name}.safetensors") for item in fields(cls)))

    def _maps(self) -> dict[str, HeadScores]:
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True, eq=False)
class InductionScores(HeadMaps):
    """The two halves of an induction head, for every head of one model.

    Attributes:
        prefix_matching: Attention to the tokens that followed earlier occurrences of the current token, 0 to 1.
        copying: The degree to which a head's output raises the logits of the tokens that it attends to, 0 to 1.
        copying_published: The same as the published code computes it, from the token's value and output alone.

    Raises:
        InputError: The three are not `HeadScores` of the same number of layers and heads.
    """

    prefix_matching: HeadScores
    copying: HeadScores
    copying_published: HeadScores


@dataclass(frozen=True, eq=False)
class CausalGates(HeadMaps):
    """The three roles of every head of one model by causal head gating, 0 to 1 each; means over seeds.

    With G+ the gates learned where open ones are paid for, and G- those learned where they cost:

    Attributes:
        facilitating: G-: open though it costs.
        irrelevant: G+ (1 - G-): open where it pays, closed where it costs.
        interfering: 1 - G+: closed though open gates pay.

    Raises:
        InputError: The three are not `HeadScores` of the same number of layers and heads.

    Source: Nam et al. 2025 (arXiv 2505.13737).
    """

    facilitating: HeadScores
    irrelevant: HeadScores
    interfering: HeadScores

    @property
    def agreement(self) -> dict[str, float | None]:
        """Spearman's rho of each map between seeds, the mean over pairs of them; None for one seed, or equal gates."""
        agreement: dict[str, float | None] = self.facilitating.provenance["agreement"]
        return agreement

    @property
    def undecided(self) -> list[tuple[int, int]]:
        """The heads (layer, head) of no certain role: seeds differ in the highest of the three, or it is below 0.5."""
        return [(layer, head) for layer, head in self.facilitating.provenance["undecided"]]

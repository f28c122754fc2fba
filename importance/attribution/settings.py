"""The settings of attribution, checked, with their record in a result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from headcount.importance.ablation.ablated import Reference, ablation_record, replacement_from
from headcount.importance.attribution.gradients import Reduction
from headcount.importance.documents import Example
from headcount.importance.likelihoods.encoding import Encoding
from headcount.results import InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model
from headcount.tracing.internal import AblationKind, Replacement

Method = Literal["gradient", "verified", "oracle"]


@dataclass(frozen=True)
class Attribution:
    """The settings of attribution.

    Attributes:
        method: Gradients, ablation of each part, or gradients with the highest parts verified by ablation.
        reduction: The reduction of gradients; of no account for the other methods.
        kind: The kind of ablation.
        steps: The number of points at which gradients are taken.
        share: The share of parts that is verified.
        seed: Seed of resampling.

    Raises:
        InputError: One of them is unknown, out of range, or not for this method.
    """

    method: str = "gradient"
    reduction: str = "example"
    kind: AblationKind = "zero"
    steps: int = 1
    share: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(f"method must be gradient, verified or oracle, not {self.method!r}")
        if self.reduction not in get_args(Reduction):
            raise InputError(f"reduction must be one of {', '.join(get_args(Reduction))}, not {self.reduction!r}")
        checks.check_one_of("baseline", self.kind, get_args(AblationKind))
        checks.check_count("steps", self.steps)
        checks.check_seed(self.seed)
        if self.steps > 1 and self.method == "oracle":
            raise InputError(f"steps={self.steps} are for gradients: leave them out with method='oracle'")
        if isinstance(self.share, bool) or not 0 < self.share <= 1:
            raise InputError(f"share must be above 0 and at most 1 (0.2 for the highest fifth), not {self.share!r}")

    def replacement(
        self,
        model: Model,
        examples: Sequence[Example],
        reference: Reference,
        encoding: Encoding,
        batch_size: BatchSize,
    ) -> Replacement | None:
        """Return what ablation puts in the place of outputs; without reference examples, from the examples themselves.

        Raises:
            InputError: As `ablated`.
        """
        if reference is None and self.kind != "zero":
            reference = examples
        return replacement_from(
            model,
            self.kind,
            reference,
            seed=self.seed,
            encoding=encoding,
            batch_size=batch_size,
            measured=examples,
        )

    @property
    def reduced(self) -> str:
        """The reduction; of ablation, the quantity whose drop is measured."""
        return self.reduction if self.method == "gradient" else "log-probability"

    @property
    def definition(self) -> str:
        """The short description that a result has."""
        words = [self.method, self.reduced]
        words += [] if self.kind == "zero" else [f"{self.kind} ablation"]
        words += [] if self.steps == 1 else [f"{self.steps} steps"]
        return ", ".join(words)

    def provenance(self, replacement: Replacement | None) -> dict[str, Any]:
        """Return the entries of a result's provenance: those that its number depends on."""
        record = {**ablation_record(replacement), "method": self.method, "reduction": self.reduced}
        if self.method != "oracle":
            record["steps"] = self.steps
        if self.method == "verified":
            record["share"] = self.share
        return record


def one_kind(baseline: AblationKind, kind: AblationKind | None) -> AblationKind:
    """Return the kind of ablation that two arguments of one meaning name.

    Raises:
        InputError: They differ.
    """
    if kind is not None and baseline not in ("zero", kind):
        raise InputError(f"baseline={baseline!r} and kind={kind!r} name one thing: pass one of them")
    return baseline if kind is None else kind

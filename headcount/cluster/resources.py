"""The resources that one model takes, and the number of models that a cluster holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from headcount.results import InputError


@dataclass(frozen=True)
class Resources:
    """The resources of one machine that one model takes.

    Attributes:
        gpus: GPUs; a part of one if several models are to share it.
        cpus: CPU cores.

    Raises:
        InputError: A number is out of range.
    """

    gpus: float = 0.0
    cpus: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.gpus < 1e6 or (self.gpus > 1 and self.gpus % 1):
            raise InputError(f"--gpus-per-model must be a whole number, or a part of one GPU, not {self.gpus:g}")
        if self.cpus < 1:
            raise InputError(f"--cpus-per-model must be 1 or more, not {self.cpus}")

    def device(self, requested: str | None) -> str | None:
        """Return the device of a worker's model: the requested one, else all GPUs that the worker has.

        Raises:
            InputError: A GPU is requested, and no worker has one.
        """
        if requested not in (None, "cpu") and not self.gpus:
            raise InputError(f"device {requested} needs GPUs: set --gpus-per-model to the number that a model takes")
        return requested or (None if not self.gpus else "cuda" if self.gpus <= 1 else "auto")

    def slots(self, machines: Sequence[dict[str, float]]) -> int:
        """Return the number of models that these machines hold together.

        Raises:
            InputError: No machine holds one.
        """
        needed = {kind: number for kind, number in (("GPU", self.gpus), ("CPU", self.cpus)) if number}
        slots = sum(min(int(machine.get(kind, 0) / number) for kind, number in needed.items()) for machine in machines)
        if not slots:
            available = " and ".join(f"{node.get('GPU', 0):g} GPUs, {node.get('CPU', 0):g} CPUs" for node in machines)
            raise InputError(
                f"expected a machine with {self.gpus:g} GPUs and {self.cpus} CPUs, the cluster's have "
                f"{available or 'none'}: change --gpus-per-model or --cpus-per-model"
            )
        return slots

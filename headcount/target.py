"""The model that a command measures, and the run directory that takes its results."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model, and the run directory that takes its results.

    The command line takes its options from these fields, and their help from this text.

    Attributes:
        out: Run directory to write to: a new one, or one with a run of the same model.
        model: A folder, a name on the Hub, tiny-opt or smollm2-135m (downloaded on first use); left out, it is the
            study's, or smollm2-135m.
        dtype: Number format of the weights, such as bfloat16; the checkpoint's own if left out.
        device: Device of the model, such as cuda or auto; the CPU if left out.
        remote: Run the model on a server that has it: `ndif` (with the variables NDIF_API_KEY and NDIF_HOST), or an
            address. Nothing of its weights is read here.
        stream: Leave the weights on disk and read them block by block: for models larger than memory.
        memory: Memory that this process may use when it streams, such as 4GiB; half of the machine's if left out.
        replace: Measure results again that the run has with other settings, such as another --limit; what was derived
            from them is set aside.
    """

    out: Path
    model: str | None = None
    dtype: str | None = None
    device: str | None = None
    remote: str | None = None
    stream: bool = False
    memory: str | None = None
    replace: bool = False

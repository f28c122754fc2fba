"""GGUF files: dequantised once into the user's cache, since such a file takes many times longer to read."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from headcount.results import InputError
from headcount.results.internal import write_folder_whole
from headcount.tracing.sources.downloads import cache_folder


def gguf_file(path: Path) -> Path | None:
    """Return the GGUF file that a path is, or that is the only one in a folder without config.json; else None.

    Raises:
        InputError: The folder has several, or the file is one part of a model.
    """
    found = [path]
    if os.path.isdir(path):
        found = [] if (path / "config.json").is_file() else sorted(path.glob("*.gguf"))
    if not found or found[0].suffix != ".gguf" or not os.path.isfile(found[0]):
        return None
    if re.search(r"-\d{5}-of-\d{5}$", found[0].stem):
        raise InputError(f"{found[0]} is one part of a model: join the parts first (llama-gguf-split --merge)")
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise InputError(f"{path} holds {len(found)} GGUF files: pass the path of one ({names})")
    return found[0]


def dequantised(file: Path) -> tuple[Path, str]:
    """Return the folder with a GGUF file's weights as plain numbers, and the title of the model.

    The folder is made at the first use. It appears in the cache whole or not at all.

    Raises:
        InputError: transformers cannot read the file.
    """
    folder = cache_folder() / "gguf" / f"{file.stem}-{_digest(file)}"
    write_folder_whole(folder, "config.json", lambda _, filled: _read_and_write(file, filled))
    return folder, (folder / "title.txt").read_text(encoding="utf-8").strip()


def _read_and_write(file: Path, folder: Path) -> None:
    try:
        title = f"{file.stem}, {_quantisation(file)}"
        convert(str(file.parent), folder, {"gguf_file": file.name})
    except Exception as error:  # of many kinds, from transformers and from the reader of the format
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"transformers cannot read {file} ({reason}): pass a folder with config.json and safetensors weights"
        ) from error
    (folder / "title.txt").write_text(title + "\n", encoding="utf-8")


def _quantisation(file: Path) -> str:
    """Return the quantisation that a file states, such as `Q4_K_M dequantised`."""
    from gguf import GGUFReader, LlamaFileType

    stated = GGUFReader(file).get_field("general.file_type")
    if stated is None:
        return "dequantised"
    return f"{LlamaFileType(int(stated.contents())).name.removeprefix('MOSTLY_')} dequantised"


def convert(source: str, folder: Path, options: dict[str, Any]) -> None:
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


def _digest(file: Path) -> str:
    """Return a digest of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "blake2b").hexdigest()[:16]

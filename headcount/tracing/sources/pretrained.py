"""Configuration, tokenizer and weights of a model that is read from a folder or from the Hub.

All reading goes through this module, so that the same rules hold for all of it: no code of the model is run, no pickle
is loaded but torch's own of plain tensors, and impossible sizes are refused before anything is built from them.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import check_rotary, family_of, is_known, unsupported
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.sources.progress_bars import bars_at_a_terminal

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Without it, transformers would ask at the terminal if it may run a model's own code."""

MOST_LAYERS = 10_000
"""More layers or labels than any model has: a model with more would be built for hours."""


def read_part(location: str, part: str, read: Callable[[], Any]) -> Any:
    """Read a part of a model, with progress bars at a terminal only.

    Raises:
        InputError: The reading failed; the message is one line.
    """
    try:
        with (
            bars_at_a_terminal(),
            warnings.catch_warnings(action="ignore"),
        ):  # what is read is checked later
            return read()
    except InputError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        reason = message if len(message) <= 300 else message[:297] + "..."
        raise InputError(f"cannot read the {part} of model {location}: {type(error).__name__}: {reason}") from error


def read_configuration(location: str | Path, revision: str | None = None, *, multimodal: bool = False) -> Any:
    """Return the transformers configuration of a model.

    Args:
        location: A folder, a file like config.json, or a name on the Hub.
        revision: The Hub's branch, tag or commit.
        multimodal: True accepts a multimodal model, for its text decoder.

    Raises:
        InputError: It cannot be read, a size is impossible, or it names code to run.
    """
    import transformers

    from headcount.tracing.sources.text_part import text_config

    options = {} if revision is None else {"revision": revision}

    def read() -> Any:
        entries, _ = transformers.PreTrainedConfig.get_config_dict(location, **options)
        _check_lengths(location, entries)
        return transformers.AutoConfig.from_pretrained(location, **options, **NO_CODE)

    config = read_part(str(location), "configuration", lambda: _from_hub_or_folder(location, read))
    config.return_dict = True  # outputs of modules are read by name
    text = text_config(config)
    if text is not config and not multimodal:
        raise unsupported(config, "with its weights in memory, a multimodal one, by its text decoder")
    _check_decoder(location, text)
    return config


def _check_decoder(location: str | Path, config: Any) -> None:
    """Check the configuration of a text decoder."""
    check_rotary(config)
    attention = getattr(config, "_attn_implementation", None)
    _check_attention(location, attention)
    config.return_dict = True
    if attention is None and getattr(config, "attn_logit_softcapping", None):
        config._attn_implementation = "eager"  # transformers before 5.24 chooses one that leaves the cap out
    try:
        sizes = asdict(Sizes.of(config))
    except Exception as error:
        if is_known(config):
            raise InputError(f"cannot read the sizes of model {location}: {type(error).__name__}: {error}") from error
        if "num_attention_heads" not in {**config.attribute_map, **config.to_dict()}:
            family_of(config)  # raises: a type without heads
        return  # other types name their sizes as they like: they are found at load
    for name, size in sizes.items():
        if "experts" in name:  # of the types that are described, none has any
            continue
        if type(size) is not int or size < 1:
            raise InputError(f"the configuration of {location} gives {name} = {size!r}: expected 1 or more")


OTHER_REASONS = {
    "GatedRepoError": "access to it is granted on request: accept its conditions on the Hub, and set HF_TOKEN",
    "RevisionNotFoundError": "not this revision: pass a branch, a tag or a commit that it has",
    "DisabledRepoError": "its access is disabled",
}
"""The Hub's refusals of a name that exists, and what to do."""


def _from_hub_or_folder(location: str | Path, read: Callable[[], Any]) -> Any:
    """Read; where the Hub does not give a name, say what could be named in its place."""
    try:
        return read()
    except OSError as error:
        if Path(location).exists():
            raise
        reason = type(error.__cause__ or error).__name__
        if reason in OTHER_REASONS:
            raise InputError(f"the Hub has {str(location)!r}, but {OTHER_REASONS[reason]}") from error
        folders = [path.parent.name for path in Path().glob("*/config.json")]
        known = [*folders, "smollm2-135m", "tiny-opt"]
        similar = get_close_matches(str(location), known, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"known here: {', '.join(known)}"
        raise InputError(
            f"no model {str(location)!r}: there is no such folder here, and the Hub did not give it ({reason}); {hint}"
        ) from error


def commit_of(location: str | Path, config: Any, revision: str | None = None) -> str | None:
    """Return the Hub's commit that a model was read from; None for a folder.

    transformers no longer says it of every configuration; the path in the Hub's cache does.
    """
    commit = getattr(config, "_commit_hash", None)
    if commit is not None or Path(location).is_dir():
        return commit
    from transformers.utils import cached_file

    try:
        path = cached_file(str(location), "config.json", revision=revision)
    except OSError:
        return None
    snapshot = None if path is None else Path(path).parent
    return snapshot.name if snapshot is not None and snapshot.parent.name == "snapshots" else None


def has_tokenizer(folder: Path) -> bool:
    """Return True if a folder has a tokenizer's files; without them transformers returns one that knows no words."""
    return any(folder.glob("*token*")) or any(folder.glob("vocab*")) or any(folder.glob("*.model"))


def read_tokenizer(location: str | Path, revision: str | None = None) -> Any:
    """Return the tokenizer of a model.

    Args:
        location: A folder, or a name on the Hub.
        revision: The Hub's branch, tag or commit.

    Raises:
        InputError: It cannot be read.
    """
    import transformers

    if Path(location).is_dir() and not has_tokenizer(Path(location)):
        raise InputError(
            f"{location} holds no tokenizer: put its files there, or pass load_model(..., tokenizer=), a tokenizer, "
            "its folder or its name"
        )
    options = {} if revision is None else {"revision": revision}
    read = transformers.AutoTokenizer.from_pretrained
    return read_part(str(location), "tokenizer", lambda: read(location, **options, **NO_CODE))


def build_model(location: str, config: Any, **options: Any) -> Any:
    """Return a model with new weights, built from a configuration on torch's default device.

    Args:
        location: The model's place or name, for the error message.
        config: The configuration.
        options: Further arguments of `AutoModelForCausalLM.from_config`.

    Raises:
        InputError: No model can be built from the configuration.
    """
    import transformers

    build = transformers.AutoModelForCausalLM.from_config
    return read_part(location, "configuration", lambda: build(config, **options))


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """Return a number format of weights; None and "auto" are the checkpoint's own, returned as None.

    Raises:
        InputError: It is not a floating-point format.
    """
    if dtype is None or dtype == "auto":
        return None
    resolved = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(resolved, torch.dtype) or not resolved.is_floating_point:
        raise InputError(f"dtype must be float32, bfloat16, float16 or float64, not {dtype!r}")
    return resolved


def _check_attention(location: str | Path, implementation: Any) -> None:
    """Refuse a configuration that chooses attention code from the Hub."""
    if implementation is not None and not isinstance(implementation, str):
        raise InputError(
            f"the configuration of {location} gives attn_implementation = {implementation!r:.80}: expected a name"
        )
    if implementation and "/" in implementation:
        raise InputError(
            f"the configuration of {location} asks for attention code from the Hub, {implementation}, which is not "
            "run: take it out of config.json"
        )


def _check_lengths(location: str | Path, entries: dict[str, Any]) -> None:
    """Refuse impossible numbers of layers or labels before a configuration object is built, which may list them."""
    for name in ("num_hidden_layers", "n_layer", "num_labels"):
        layers = entries.get(name, 1)
        if isinstance(layers, int) and not 1 <= layers <= MOST_LAYERS:
            raise InputError(f"the configuration of {location} says {name} = {layers}: expected 1 to {MOST_LAYERS:,}")

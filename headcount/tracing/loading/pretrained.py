"""What is read of a model that has a name: configuration, tokenizer, weights. Code that lies beside them is never run.

Everything that reads from a folder or from the Hub goes through here, so that this holds for all of it: no remote code,
no pickle but torch's own of plain tensors, no sizes that would fill the machine before a weight is looked at.
"""

import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headcount.results import InputError
from headcount.tracing.architectures.anatomy import family_of
from headcount.tracing.architectures.sizes import Sizes
from headcount.tracing.loading.progress_bars import bars_at_a_terminal

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""Left out, transformers would ask at the terminal whether to run a model's own code."""

MOST_LAYERS = 10_000
"""More than any model has, also of labels: a configuration that says so would be built for hours."""


def reading(where: str, what: str, read: Callable[[], Any]) -> Any:
    """Read a part of a model, with a bar at a terminal only.

    Raises:
        InputError: Whatever goes wrong, in one line.
    """
    try:
        with bars_at_a_terminal(), warnings.catch_warnings(action="ignore"):  # what matters is said once it is read
            return read()
    except InputError:
        raise
    except Exception as error:
        first = " ".join(str(error).split())
        reason = first if len(first) <= 300 else first[:297] + "..."
        raise InputError(f"cannot read the {what} of model {where}: {type(error).__name__}: {reason}") from error


def configuration(where: str | Path, revision: str | None = None) -> Any:
    """The transformers configuration of a supported model.

    Args:
        where: A folder, a file like config.json, or a name on the Hub.
        revision: The Hub's branch, tag or commit.

    Raises:
        InputError: It cannot be read, its architecture is not supported, a size is impossible, or it asks for code.
    """
    import transformers

    options = {} if revision is None else {"revision": revision}

    def read() -> Any:
        said, _ = transformers.PreTrainedConfig.get_config_dict(where, **options)
        _check_lists(where, said)
        return transformers.AutoConfig.from_pretrained(where, **options, **NO_CODE)

    config = reading(str(where), "configuration", read)
    family_of(config)
    attention = getattr(config, "_attn_implementation", None)
    if attention is not None and not isinstance(attention, str):
        raise InputError(f"the configuration of {where} gives attn_implementation = {attention!r:.80}: expected a name")
    if attention and "/" in attention:
        raise InputError(
            f"the configuration of {where} asks for attention code from the Hub, {attention}, which is not run: take "
            "it out of config.json"
        )
    config.return_dict = True  # what comes of a module is looked up by name
    if attention is None and getattr(config.get_text_config(), "attn_logit_softcapping", None):
        config._attn_implementation = "eager"  # transformers before 5.24 chooses one that leaves the cap out
    for name, size in asdict(reading(str(where), "sizes", lambda: Sizes.of(config))).items():
        if type(size) is not int or size < 1:
            raise InputError(f"the configuration of {where} gives {name} = {size!r}: expected 1 or more")
    return config


def built(where: str, config: Any, **options: Any) -> Any:
    """A model made of a configuration, on the device that is the default.

    Raises:
        InputError: The configuration asks for what cannot be made.
    """
    import transformers

    make = transformers.AutoModelForCausalLM.from_config
    return reading(where, "configuration", lambda: make(config, **options))


def _check_lists(where: str | Path, said: dict[str, Any]) -> None:
    """Before the configuration is made, which may already list all layers and labels."""
    for name in ("num_hidden_layers", "n_layer", "num_labels"):
        layers = said.get(name, 1)
        if isinstance(layers, int) and not 1 <= layers <= MOST_LAYERS:
            raise InputError(f"the configuration of {where} says {name} = {layers}: expected 1 to {MOST_LAYERS:,}")


def tokenizer(where: str | Path, revision: str | None = None) -> Any:
    """The tokenizer that lies beside a model.

    Raises:
        InputError: It cannot be read.
    """
    import transformers

    options = {} if revision is None else {"revision": revision}
    read = transformers.AutoTokenizer.from_pretrained
    return reading(str(where), "tokenizer", lambda: read(where, **options, **NO_CODE))

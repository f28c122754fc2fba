"""Open a model, wherever it is."""

import copy
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from headcount.results import InputError
from headcount.tracing.ablation import saved
from headcount.tracing.architectures.anatomy import family_of
from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.devices import place_as
from headcount.tracing.loading import bridge, default_model, self_check
from headcount.tracing.loading.pretrained import NO_CODE, built, configuration, reading
from headcount.tracing.loading.pretrained import tokenizer as read_tokenizer
from headcount.tracing.model import Model
from headcount.tracing.remote.client import Client
from headcount.tracing.streaming.blocks import Blocks
from headcount.tracing.streaming.memory import as_bytes
from headcount.tracing.streaming.runner import StreamingRunner

TINY_OPT = Path(__file__).parent.parent / "tiny_opt"


def load_model(
    source: Any = None,
    *,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device_map: Any = None,
    remote: bool | str | Client = False,
    stream: bool = False,
    memory: int | str | None = None,
    tokenizer: Any = None,
) -> Model:
    """Open a model and check its hook map against it.

    Args:
        source: None or "smollm2-135m" for the default model (fetched on first use); "tiny-opt" for the trained toy that
            comes with the package; a folder, also one of `save_pruned`; a name on the Hub; or a model in hand: a
            transformers model, an nnsight model, a TransformerLens `TransformerBridge`. A model in hand keeps its
            weights, its attention implementation and its `requires_grad`, and is put in evaluation mode.
        revision: The Hub's branch, tag or commit.
        dtype: Number format of the weights; None keeps the checkpoint's.
        device_map: Where the layers go, as transformers takes it ("auto", "cuda", ...); None is the CPU.
        remote: Run it on a server that has it: True for NDIF (the variables NDIF_API_KEY and NDIF_HOST are read), a
            server's address, or a `Client`. Only its configuration and tokenizer are read here, no weights.
        stream: Leave the weights on disk and read them block by block in every run: for models larger than memory.
            `dtype` is then the number format to compute in, which need not be the one they are stored in.
        memory: What this process may hold when it streams, in bytes or such as "4GiB"; half of the machine's if None.
        tokenizer: The tokenizer of a model in hand, or one to use in place of the model's own.

    Returns:
        The model, ready to be measured.

    Raises:
        InputError: There is no such model, it cannot be read, its architecture is not supported, or a hook does not
            show what it should.
    """
    if memory is not None and not stream:
        raise InputError("memory is what a streamed model may hold: expected stream=True with it")
    if remote and stream:
        raise InputError("remote and stream exclude each other: a model runs on a server, or from this machine's disk")
    if str(device_map) == "meta":
        raise InputError("the device meta holds no weights to measure: describe_model opens a model without any")
    if remote:
        return _on_server(source, revision, dtype, device_map, remote, tokenizer)
    if stream:
        return _streamed(source, revision, dtype, device_map, as_bytes(memory), tokenizer)
    if isinstance(source, str | Path) and saved.is_one(source):
        hf, name, commit, found = _read_pruned(Path(os.path.expanduser(source)), revision, dtype, device_map)
        return opened(hf, tokenizer or found, name, commit)
    if source is None or isinstance(source, str | Path):
        hf, name, commit, found = _read(source, revision, dtype, device_map, with_tokenizer=tokenizer is None)
        return opened(hf, tokenizer or found, name, commit)
    if revision is not None or dtype is not None or device_map is not None:
        raise InputError("revision, dtype and device_map are for models loaded by name: a model in hand stays as it is")
    if bridge.is_bridge(source):
        return opened(bridge.clean_model(source), tokenizer or source.tokenizer, source.cfg.model_name, None)
    if getattr(source, "dispatched", True) is False:  # an nnsight model reads its weights when they are first needed
        reading(type(source).__name__, "weights", source.dispatch)
    wrapped = getattr(source, "_module", None)
    hf = source if wrapped is None else wrapped
    if not isinstance(hf, nn.Module) or not hasattr(hf, "config"):
        raise InputError(
            f"cannot load a model from {type(source).__name__}: expected a name, a folder, a transformers model, an "
            "nnsight model or a TransformerBridge"
        )
    tokenizer = tokenizer or getattr(source, "tokenizer", None)
    name = getattr(hf.config, "_name_or_path", "") or type(hf).__name__
    return opened(hf, tokenizer, name, None, None if wrapped is None else source)


def _on_server(
    source: Any, revision: str | None, dtype: Any, device_map: Any, remote: bool | str | Client, tokenizer: Any
) -> Model:
    """A model whose weights are on a server, and whose shapes alone are here."""
    import nnsight
    from nnsight.modeling.transformers import TransformersModel
    from nnsight.util import to_import_path

    if not isinstance(source, str | Path) or dtype is not None or device_map is not None:
        raise InputError(
            "remote= takes a name on the Hub, or a folder with the configuration of a model that the server has; its "
            "number format and devices are the server's"
        )
    where, name = resolve(source)
    options = NO_CODE | ({"revision": revision} if revision is not None else {})
    configuration(where, revision)
    tokenizer = tokenizer or read_tokenizer(where, revision)
    own = copy.deepcopy(tokenizer)  # nnsight sets the padding of the one it is given
    wrapped = reading(
        where, "configuration", lambda: TransformersModel(where, task="text-generation", tokenizer=own, **options)
    )
    wrapped.dispatched = True  # which keeps nnsight from fetching the weights
    wrapped._module.config.pad_token_id = None  # some models look for it among the tokens, and on meta there are none
    model = opened(wrapped._module, tokenizer, name, revision, nnsight.NNsight(wrapped._module))
    key = {"repo_id": name, "revision": revision or "main", "task": "text-generation"}
    folder = Path(where).is_dir()
    model_key = f"{to_import_path(TransformersModel)}:{json.dumps(key)}" if folder else wrapped.to_model_key()
    address = remote if isinstance(remote, str) else None
    model.run_on(remote if isinstance(remote, Client) else Client(model_key, address), wrapped)
    return model


def _streamed(source: Any, revision: str | None, dtype: Any, device_map: Any, memory: int, tokenizer: Any) -> Model:
    """A model whose blocks stay on disk."""
    import accelerate

    if not (source is None or isinstance(source, str | Path)) or device_map not in (None, "cpu"):
        raise InputError("stream=True takes a folder or a name on the Hub, and computes on the CPU")
    where, name = _resolved(source, revision)
    config = configuration(where, revision)
    family = family_of(config)
    wanted = as_dtype(dtype)
    wanted = wanted if isinstance(wanted, torch.dtype) else config.dtype or torch.float32
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"the weights of {where} are quantised, which cannot be streamed: leave stream=True out")
    shape = _empty(where, config, dtype=wanted)
    checkpoint = _checkpoint(where, shape, revision, to_read=True)  # before memory is taken for what may not be there
    shape.config.pad_token_id = None  # some models look for it among the tokens, and on meta there are none
    opened(shape, None, name, None)
    with accelerate.init_empty_weights(include_buffers=False):  # what is made of the configuration is kept
        hf = built(where, config, dtype=wanted)
    hf.tie_weights()
    commit = getattr(config, "_commit_hash", None)
    model = Model(hf, tokenizer or read_tokenizer(where, revision), name=name, revision=commit)
    model.stream = StreamingRunner(Blocks(hf, family.layers, checkpoint, wanted), model.family, model.sizes, memory)
    return model


def _empty(where: str, config: Any, **options: Any) -> Any:
    """A model of this configuration on meta, its own copy in it."""
    with torch.device("meta"):
        return built(where, copy.deepcopy(config), **options)


def _checkpoint(where: str, hf: Any, revision: str | None, *, to_read: bool) -> Checkpoint:
    """The tensors on disk of a model that may be on meta.

    Raises:
        InputError: They do not fit it, or cannot be read.
    """
    if (chosen := getattr(hf.config, "transformers_weights", None)) is not None:
        raise InputError(
            f"config.json of {where} names its weights, transformers_weights = {chosen!r:.80}: take that out, and call "
            "them model.safetensors"
        )
    shapes = {key: value.shape for key, value in hf.named_parameters()}
    checkpoint: Checkpoint = reading(
        where,
        "weights",
        lambda: Checkpoint(
            where,
            shapes,
            _renaming(hf, shapes),
            revision,
            tied=hf.all_tied_weights_keys,
            unused=hf._keys_to_ignore_on_load_unexpected or (),
            to_read=to_read,
        ),
    )
    return checkpoint


def _renaming(hf: Any, parameters: dict[str, torch.Size]) -> Callable[[str], str]:
    """What transformers makes of the names in a checkpoint, which may be older than its own or those of the body."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    renamings = [one for one in get_model_conversion_mapping(hf) if isinstance(one, WeightRenaming)]
    return lambda name: rename_source_key(name, renamings, [], hf.base_model_prefix, parameters)[0]


def randomised(model: Model, seed: int = 0) -> Model:
    """The same architecture with freshly initialised random weights: the control for every measurement.

    Args:
        model: The model; it is left as it is.
        seed: Seed of the initialisation.
    """
    if not model.in_memory:
        raise InputError(f"{model.name} is not in memory: random weights can be drawn for a model that is")
    if model.pruned is not None:
        raise InputError(f"{model.name} is structurally pruned: draw random weights for the whole model, then prune it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = built(model.name, copy.deepcopy(model.hf.config), dtype=model.dtype)
    hf.requires_grad_(False)
    place_as(hf, model.hf)
    return opened(hf, model.tokenizer, f"{model.name}, random weights (seed {seed})", None)


def _read(
    source: str | Path | None, revision: str | None, dtype: Any, device_map: Any, *, with_tokenizer: bool
) -> tuple[nn.Module, str, str | None, Any]:
    """Model, display name, commit and tokenizer of a named source."""
    import transformers

    dtype = as_dtype(dtype)
    where, name = _resolved(source, revision)
    options = {"revision": revision} if revision else {}
    config = configuration(where, revision)
    placing = {"device_map": device_map} if device_map is not None else {}
    safely = {"weights_only": True, "output_loading_info": True, **NO_CODE}

    if getattr(config, "quantization_config", None) is None:  # else transformers alone knows what the files hold
        _checkpoint(where, _empty(where, config), revision, to_read=False)
    read = transformers.AutoModelForCausalLM.from_pretrained
    hf, report = reading(
        where, "weights", lambda: read(where, config=config, dtype=dtype, **safely, **options, **placing)
    )
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise InputError(
            f"the weights of {where} are incomplete: {len(lacking)} tensors are missing, first {lacking[0]}"
        )
    hf.requires_grad_(False)
    tokenizer = read_tokenizer(where, revision) if with_tokenizer else None
    return hf, name, getattr(config, "_commit_hash", None), tokenizer


def _read_pruned(
    folder: Path, revision: str | None, dtype: Any, device_map: Any
) -> tuple[nn.Module, str, str | None, Any]:
    """Model, name, commit and tokenizer of a folder that `save_pruned` has written."""
    devices = list(device_map.values()) if isinstance(device_map, dict) else [device_map or "cpu"]
    if revision is not None or len(devices) != 1 or devices[0] in ("auto", "balanced", "sequential"):
        raise InputError(f"{folder} holds a pruned model: expected no revision, and one device as device_map")
    config = configuration(folder)
    hf = _empty(str(folder), config)
    note = saved.read(folder, hf, wanted if isinstance(wanted := as_dtype(dtype), torch.dtype) else None)
    tokenizer = read_tokenizer(folder) if (folder / "tokenizer_config.json").is_file() else None
    return hf.to(devices[0]), note.name, note.revision, tokenizer


def as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | str:
    """A number format of weights; "auto" is the checkpoint's own.

    Raises:
        InputError: It is none.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) and dtype != "auto" else dtype or "auto"
    if found != "auto" and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise InputError(f"dtype must be float32, bfloat16, float16 or float64, not {dtype!r}")
    return found


def _resolved(source: str | Path | None, revision: str | None) -> tuple[str, str]:
    """What `resolve` says of a source, which only on the Hub has revisions.

    Raises:
        InputError: There is no such model, or no such revision of it.
    """
    where, name = resolve(source)
    if revision is not None and os.path.isdir(where):
        raise InputError(f"{name} is in a folder, which has no revision {revision!r:.80}: leave revision out")
    return where, name


def resolve(source: str | Path | None) -> tuple[str, str]:
    """Where to read from (a folder or a Hub name), and what to call it.

    Raises:
        InputError: It is neither.
    """
    if source is None or source == default_model.NAME:
        folder, title = default_model.fetch()
        return str(folder), title
    if source == "tiny-opt":
        return str(TINY_OPT), "tiny-opt"
    path = Path(os.path.expanduser(source))
    if os.path.isdir(path):
        if not (path / "config.json").is_file():
            raise InputError(f"{path} holds no model: expected a folder with config.json and weights")
        return str(path), path.resolve().name
    if isinstance(source, Path) or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", source):
        raise InputError(
            f"no model at {source}: expected a folder, a name on the Hub, {default_model.NAME} or tiny-opt"
        )
    return source, source


def opened(hf: Any, tokenizer: Any, name: str, revision: str | None, nnsight_model: Any = None) -> Model:
    """Return a `Model` around a transformers model, its hook map checked against it.

    Raises:
        InputError: The architecture is not supported, or a hook does not show what it should.
    """
    model = Model(hf, tokenizer, name=name, revision=revision, nnsight_model=nnsight_model)
    self_check.check_operations(model)
    self_check.self_check(model)
    return model

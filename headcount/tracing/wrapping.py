"""nnsight models of transformers models, the check that all weights can be read, and what other checks found."""

import copy
from typing import Any

from headcount.results import InputError


def wrap_for_nnsight(hf: Any, tokenizer: Any) -> Any:
    """Return an nnsight model of a transformers model, with a copy of the tokenizer."""
    import nnsight
    from nnsight.modeling.transformers import TransformersModel

    from headcount.tracing.sources.text_part import TextDecoder

    # TransformersModel moves weights, and on meta there are none; and its pipeline knows no classes but transformers'.
    if tokenizer is None or next(hf.parameters()).is_meta or isinstance(hf, TextDecoder):
        return nnsight.NNsight(hf)
    # nnsight sets the padding side and token of its tokenizer; the caller's must not change. Both share the vocabulary.
    engine = getattr(tokenizer, "_tokenizer", None)
    tokenizer = copy.deepcopy(tokenizer, {id(engine): engine})
    # Without a device it moves a model to the first GPU; one that accelerate has placed stays, and takes no device.
    device = {} if hasattr(hf, "hf_device_map") else {"device": hf.device}
    return TransformersModel(hf, tokenizer=tokenizer, **device)


def check_readable(hf: Any) -> None:
    """Refuse a model that does not predict tokens, or some of whose weights no hook can read."""
    if hf.get_output_embeddings() is None:
        raise InputError(f"{type(hf).__name__} has no unembedding: expected what AutoModelForCausalLM loads")
    absent = [name for name, parameter in hf.named_parameters() if parameter.is_meta]
    if absent and len(absent) < len(list(hf.parameters())):
        raise InputError(
            f"{len(absent)} weights are not in memory, first {absent[0]}: leave disk out of device_map, and cpu beside "
            "GPUs"
        )


def take_limits(model: Any, checked: Any) -> None:
    """Note on a model what the check at load found on another one of its type and flags."""
    for fact in ("shares_rows", "reads_embedding", "padding"):
        setattr(model, fact, getattr(checked, fact))

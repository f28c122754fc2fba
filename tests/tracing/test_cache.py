"""The cache's keys, as in TransformerLens."""

import pytest
import torch
from reference.models import BUILDERS
from torch import Tensor
from transformer_lens.utilities import get_act_name

from headcount.results import InputError
from headcount.tracing import Cache, load_model


@pytest.fixture(scope="module")
def cache() -> Cache:
    return load_model(BUILDERS["llama"]()).run_with_cache(torch.arange(8)[None])[1]


@pytest.mark.parametrize(
    "key",
    [
        ("embed",),
        *((name, 1) for name in ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")),
        *((name, 1) for name in ("q", "k", "v", "z", "result", "pattern", "attn_scores", "rot_q", "rot_k")),
        *((name, 1) for name in ("pre", "post", "pre_linear")),
        *((name, 1) for name in ("attn", "attn_logits", "query", "key", "value", "mlp_pre", "mlp_post")),
        ("k", 2, "attn"),
        ("k", 2, "a"),
        ("pre", 2, "m"),
        ("pre", 2, "mlp"),
        ("pattern", 0, "attention"),
        ("resid_pre", 1, "b"),
        ("resid_pre", 1, "block"),
        ("resid_pre", 1, "blocks"),
        ("normalized", 1, "ln1"),
        ("normalized", 0, "ln2"),
        ("normalized",),
        ("k2",),
        ("pattern0",),
        ("k2a",),
        ("pre1m",),
        ("normalized1ln2",),
        ("blocks.2.attn.hook_k",),
        ("hook_embed",),
    ],
)
def test_keys_stand_for_what_they_do_there(cache: Cache, key: tuple) -> None:
    full = get_act_name(*key)
    short = key[0] if len(key) == 1 else key
    assert full in set(cache)
    assert cache[short] is cache[full]
    assert short in cache
    assert cache.get(short) is cache[full]


def test_layers_from_the_end(cache: Cache) -> None:
    for layer in (-1, -2, -3):
        assert cache["pattern", layer] is cache["pattern", 3 + layer]
    assert ("pattern", -4) not in cache


def test_the_end_is_the_models_not_the_caches() -> None:
    model = load_model(BUILDERS["llama"]())
    _, cached = model.run_with_cache(torch.arange(8)[None], ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"])
    assert cached["z", -2] is cached["z", 1]
    assert ("z", -1) not in cached


def test_it_is_a_mapping(cache: Cache) -> None:
    names = list(cache)
    assert names[:2] == ["hook_embed", "blocks.0.hook_resid_pre"]
    assert names[-1] == "ln_final.hook_normalized"
    assert len(cache) == len(names) == len(cache.keys()) == len(cache.values()) == len(dict(cache))
    assert all(isinstance(value, Tensor) and cache[name] is value for name, value in cache.items())
    assert repr(cache).startswith(f"Cache of {len(cache)} activations: hook_embed, ")


@pytest.mark.parametrize(
    "key", ["nothing", "blocks.9.attn.hook_z", ("z", 9), ("z", 1, "ln1"), ("z",), (), 3, None, ("z", None), ("z", 1.0)]
)
def test_what_is_not_there(cache: Cache, key: object) -> None:
    assert key not in cache
    assert cache.get(key) is None
    assert cache.get(key, 5) == 5
    with pytest.raises(InputError, match="is not in the cache, which holds hook_embed, ") as error:
        cache[key]
    assert "\n" not in str(error.value)


def test_an_empty_one() -> None:
    empty = Cache({}, 3)
    assert list(empty) == []
    with pytest.raises(InputError, match="which holds nothing"):
        empty["embed"]

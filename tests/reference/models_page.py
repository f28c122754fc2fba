"""The page of models: what opens, what does not, and why; `python -m reference.models_page` in `tests` writes it."""

from pathlib import Path

import torch
from reference import zoo

from headcount.results import InputError
from headcount.tracing import Model, load_model, masked, pruned, removed_parameters

TOKENS = torch.arange(4, 24)[None]
PAGE = Path(__file__).parents[2] / "docs" / "models.md"
HEAD = """# Models

Every type of decoder in transformers {version}, tried as a tiny model with random weights, with sliding windows and
mixtures of experts where the type has them. One that opens has every hook of [hooks.md](hooks.md) but those named here,
and each was checked as the test does it: logits, patterns, W_O's input, what heads, attention and feed-forward network
add, removal of a head, a network and an expert, padding and gradients against raw PyTorch. Published models may have
settings that these lack: the check at load decides. [sources.md](sources.md) says where models may come from,
multimodal ones and adapters included.

A test compares each row with what happens. To write the page again, in `tests`: `python -m reference.models_page`.

Each that opens does so without its weights in memory too (streamed, on a server, planned), where a narrow stand-in of
its class, with random weights, is probed in its place.

* *described*: its parts are written down; those of the others are found by running it.
* *heads not cut*, *networks not cut*: `pruned` refuses them, `masked` removes them; of the others, what is cut equals
  that.
* *no heads, no feed-forward network*: in these layers; their importance is n/a.
* *gated*: what heads give is multiplied by a gate that depends on the text; eigenvalue copying is refused.
* `mlp.*`: no `mlp.hook_pre`, `hook_pre_linear` and `hook_post` in some layers (mixtures of experts, mostly).
* *experts*: `mlp.hook_router`, `hook_expert_out` and `masked(experts=)` are there, in layers that are mixtures.
* *embedding changed*: by a norm, say, before block 0 reads it; eigenvalue copying is refused.
* *rows apart*: of requests that begin alike each has its own row, since one row for all would change the numbers.
* *no padding on the left*: batches padded there are refused.

| type | opens | without, or why not |
|---|---|---|
"""


def row_of_model(model_type: str, model: Model) -> str:
    """Return the row of a type that opens."""
    return f"| {model_type} | yes | {'; '.join(_notes(model))} |"


def row_of_error(model_type: str, error: InputError) -> str:
    """Return the row of a type that is refused."""
    reason = (str(error).partition("here: ")[2] or str(error)).partition("; the difference is")[0]
    return f"| {model_type} | no | {reason} |"


def _notes(model: Model) -> list[str]:
    notes = [] if model.derived else ["described"]
    with_heads = model.layers_with_heads
    if without := sorted(set(range(model.sizes.n_layers)) - set(with_heads)):
        notes.append(f"no heads in layers {', '.join(map(str, without))} of {model.sizes.n_layers}")
    if without := sorted(set(range(model.sizes.n_layers)) - set(model.anatomy.layers_with_ffns())):
        notes.append(f"no feed-forward network in layers {', '.join(map(str, without))}")
    absent = dict.fromkeys(
        name.split(".", 2)[-1] if name.startswith("blocks.") else name
        for name in model.hooks.lost
        if not name.endswith(("hook_router", "hook_expert_out"))
        if not name.startswith("blocks.") or _could_be_there(model, name)
    )
    if absent:
        inside = [name for name in absent if name.startswith("mlp.")]
        names = [f"`{name}`" for name in absent if name not in inside] + ["`mlp.*`"] * bool(inside)
        notes.append("without " + ", ".join(names))
    if model.anatomy.layers_with_experts():
        notes.append("experts")
    if any(model.paths(layer).gated for layer in with_heads):
        notes.append("gated")
    if not model.reads_embedding:
        notes.append("embedding changed")
    if not model.shares_rows:
        notes.append("rows apart")
    notes += _not_cut(model)
    notes += [f"no padding on the {side}" for side in sorted({"left", "right"} - model.padding)]
    return notes


def _not_cut(model: Model) -> list[str]:
    """Return the parts that cannot be cut: the heads of a KV group, and a network."""
    layer, in_group = model.layers_with_heads[-1], model.sizes.n_heads // model.sizes.n_kv_heads
    heads = (
        {"heads": [(layer, head) for head in range(in_group)]}
        if in_group < model.sizes.n_heads
        else {"heads": [(layer, 0)]}
    )
    notes = []
    for part, removed in {"heads": heads, "networks": {"ffns": [layer]}}.items():
        try:
            small = pruned(model, **removed)
        except InputError:
            notes.append(f"{part} not cut")
            continue
        with masked(model, **removed):
            expected = model(TOKENS)
        assert (small(TOKENS) - expected).abs().max() <= 1e-4 * expected.abs().max()
        gone = sum(weight.numel() for weight in model.hf.parameters()) - sum(w.numel() for w in small.hf.parameters())
        assert removed_parameters(model, **removed).removed == gone > 0
    return notes


def _could_be_there(model: Model, name: str) -> bool:
    """Return True if a block has the part, attention or feed-forward network, that a hook would show."""
    _, layer, part, *_ = name.split(".")
    with_part = {"attn": model.layers_with_heads, "ln1": model.layers_with_heads}
    with_part |= dict.fromkeys(("mlp", "ln2"), model.anatomy.layers_with_ffns())
    return int(layer) in with_part.get(part, ())


def main() -> None:
    from transformers import __version__

    rows = []
    for model_type in zoo.DECODERS:
        try:
            rows.append(row_of_model(model_type, load_model(zoo.tiny(model_type))))
        except InputError as error:
            rows.append(row_of_error(model_type, error))
    PAGE.write_text(HEAD.format(version=__version__) + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()

"""Train the tiny OPT and write its folder: `python -m headcount.tracing.tiny_opt.train --out FOLDER`.

There are three stages: short sequences form the induction heads; a strong penalty on heads removes those that are not
needed; sequences as long as those of the measurements make the rest reliable over the whole context.
"""

import argparse
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import OPTConfig, OPTForCausalLM

from headcount.tracing.tiny_opt import measure
from headcount.tracing.tiny_opt.spelling import build_tokenizer
from headcount.tracing.tiny_opt.walks import VOCABULARY, Walks, draw_walks

CONTEXT = 512
D_HEAD = 32
LEARNING_RATE = 2e-3
HELD = 500  # steps for which the first head is frozen at its start: the first stage, in which the phase change comes
# Of 300 seeds, the one whose 16 frequencies best distinguish neighbouring positions (largest side lobe 0.41).
FREQUENCY_SEED = 95


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        steps: The number of optimiser steps.
        batch: The number of sequences a step.
        length: The number of tokens a sequence, BOS not counted.
        sizes: The smallest and largest number of distinct tokens of a sequence.
        penalty: The weight of the heads' norms in the loss.
    """

    steps: int
    batch: int
    length: int
    sizes: tuple[int, int]
    penalty: float


STAGES = (
    Stage(steps=500, batch=48, length=48, sizes=(8, 30), penalty=0.002),
    Stage(steps=600, batch=16, length=128, sizes=(10, 80), penalty=0.04),
    Stage(steps=400, batch=6, length=400, sizes=(10, 100), penalty=0.005),
)


def build_model(seed: int) -> OPTForCausalLM:
    """Build the untrained model; `seed` decides its random weights."""
    torch.manual_seed(seed)
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=4 * D_HEAD,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=512,
        max_position_embeddings=CONTEXT,
        dropout=0.0,
        init_std=0.08,
    )
    model = OPTForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            # Small outputs at first: a token's own embedding must not drown in what random layers add to it.
            layer.self_attn.out_proj.weight.mul_(0.2)
            layer.fc2.weight.mul_(0.05)
        _start_previous_token_head(model)
    return model


def _start_previous_token_head(model: OPTForCausalLM) -> None:
    """Make layer 0's head 0 attend to the token before, at every position.

    Positions start as 16 sines and cosines in the first 32 dimensions, which token embeddings leave free; the head's
    keys read them, and its queries read them rotated back by one position. Without this start the first layer attended
    to the third or fourth token back, and the phase change came after 2,700 steps in place of 250.
    """
    generator = torch.Generator().manual_seed(FREQUENCY_SEED)
    frequency = torch.rand(D_HEAD // 2, generator=generator) * torch.pi
    decoder = model.model.decoder
    positions = decoder.embed_positions.weight
    angle = torch.arange(len(positions))[:, None] * frequency
    positions.zero_()
    positions[:, :D_HEAD] = 0.11 * torch.cat([angle.sin(), angle.cos()], dim=1)
    decoder.embed_tokens.weight[:, :D_HEAD] = 0.0
    cos, sin = frequency.cos().diag(), frequency.sin().diag()
    one_back = torch.cat([torch.cat([cos, -sin], dim=1), torch.cat([sin, cos], dim=1)])
    attention = decoder.layers[0].self_attn
    for projection, block in ((attention.k_proj, torch.eye(D_HEAD)), (attention.q_proj, one_back)):
        projection.weight[:D_HEAD] = 0.0
        projection.weight[:D_HEAD, :D_HEAD] = 2.0 * block


def head_norms(model: OPTForCausalLM) -> Float[Tensor, "layer head"]:
    """Return the norm of each head's four matrices together.

    As a penalty (a group lasso) it removes whole heads, whereas weight decay would make all of them smaller.
    """
    norms = []
    for layer in model.model.decoder.layers:
        attention = layer.self_attn
        readers = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        matrices = torch.stack([*readers, attention.out_proj.weight.T])
        by_head = rearrange(matrices, "matrix (head d_head) d_model -> head (matrix d_head d_model)", d_head=D_HEAD)
        norms.append(by_head.norm(dim=1))
    return torch.stack(norms)


def draw_positions(batch: int, length: int, generator: torch.Generator) -> Int[Tensor, "batch pos"]:
    """Place each walk at random in the context, BOS always at 0, so that short sequences train every position."""
    shift = torch.randint(0, CONTEXT - length, (batch, 1), generator=generator)
    position = torch.arange(length + 1)
    return torch.where(position > 0, position + shift, 0)


def walk_loss(model: OPTForCausalLM, walks: Walks, positions: Int[Tensor, "batch pos"]) -> Float[Tensor, ""]:
    """Return the mean −log p of the next token over the positions where it can be known."""
    hidden = model.model(walks.tokens, position_ids=positions, use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[walks.taught])
    return cross_entropy(logits, walks.tokens.roll(-1, dims=1)[walks.taught])


def learning_rate(step: int, steps: int) -> float:
    """Return the learning rate: it rises for 100 steps, stays, and falls to a twentieth over the last 30 %."""
    rise = min(1.0, (step + 1) / 100)
    fall = min(1.0, max(0.05, (1 - step / steps) / 0.3))
    return LEARNING_RATE * rise * fall


def train(
    model: OPTForCausalLM,
    stages: tuple[Stage, ...],
    seed: int,
    after_step: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """Train the model in place.

    Args:
        model: A model from `build_model`.
        stages: The stages, in order.
        seed: The seed of the sequences.
        after_step: Called with the number of steps done, after each.

    Returns:
        The loss, without the penalty, at every step.

    Raises:
        RuntimeError: There is no induction when the first head begins to learn; some seeds never get there.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01, betas=(0.9, 0.98))
    plan = [stage for stage in stages for _ in range(stage.steps)]
    losses = []
    for step, stage in enumerate(plan):
        _hold_first_head(model, hold=step < HELD)
        walks = draw_walks(stage.batch, stage.length, stage.sizes, generator)
        loss = walk_loss(model, walks, draw_positions(stage.batch, stage.length, generator))
        optimizer.zero_grad()
        torch.autograd.backward(loss + stage.penalty * head_norms(model).sum())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = learning_rate(step, len(plan))
        optimizer.step()
        losses.append(loss.item())
        after_step(step + 1)
        if step + 1 == HELD:
            _check_induction(sum(losses[-50:]) / 50)
    return losses


def _check_induction(loss: float) -> None:
    """Stop a training without phase change: the penalty of the next stage would remove every head."""
    if loss > 1.0:
        raise RuntimeError(f"no induction after {HELD} steps: loss {loss:.2f}, expected below 1; try another --seed")


def _hold_first_head(model: OPTForCausalLM, hold: bool) -> None:
    """Freeze positions and layer 0's queries and keys, or let them learn."""
    decoder = model.model.decoder
    attention = decoder.layers[0].self_attn
    for module in (decoder.embed_positions, attention.q_proj, attention.k_proj):
        module.requires_grad_(not hold)


def save_checkpoint(model: OPTForCausalLM, folder: pathlib.Path, steps: Collection[int], step: int) -> None:
    """Save model and tokenizer to `stepN` in a folder, if N is among some steps."""
    if step in steps:
        model.save_pretrained(folder / f"step{step}")
        build_tokenizer(VOCABULARY, CONTEXT).save_pretrained(folder / f"step{step}")


def measurements(model: OPTForCausalLM, seed: int) -> dict[str, Any]:
    """Measure heads and accuracies for record.json; `seed` decides the sequences."""
    generator = torch.Generator().manual_seed(seed)
    model.set_attn_implementation("eager")
    periods = (25, 50, 100)
    prefix = {period: measure.prefix_matching(model, period, generator) for period in periods}
    induction = [(layer, head) for layer, head in (prefix[50] > 0.5).nonzero().tolist()]
    remaining = [(layer, head) for layer in range(2) for head in range(4) if (layer, head) not in induction]
    removals: dict[str, list[tuple[int, int]]] = {"none": [], "induction heads": induction}
    removals |= {f"layer {layer} head {head}": [(layer, head)] for layer in range(2) for head in range(4)}
    removals |= {"all but induction heads and layer 0 head 0": [head for head in remaining if head != (0, 0)]}
    return {
        "prefix_matching": {period: _rounded(scores) for period, scores in prefix.items()},
        "previous_token": {period: _rounded(measure.previous_token(model, period, generator)) for period in periods},
        "head_norms": _rounded(head_norms(model)),
        "repeat_accuracy": {period: _rounded(measure.repeat_accuracy(model, period, generator)) for period in periods},
        "accuracy_without": _accuracies(model, removals, generator),
    }


def _accuracies(
    model: OPTForCausalLM, removals: dict[str, list[tuple[int, int]]], generator: torch.Generator
) -> dict[str, dict[str, float]]:
    """Return the accuracy on each task of 200 questions, for each set of removed heads."""
    tasks = {f"lookup of {shown}": measure.draw_lookup(200, shown, generator) for shown in (10, 40, 100, 300)}
    for pairs, times in ((5, 1), (10, 3), (50, 1)):
        tasks[f"recall of {pairs} pairs x {times}"] = measure.draw_recall(200, pairs, times, generator)
    table = {}
    for name, heads in removals.items():
        with measure.without(model, heads):
            table[name] = {task: round(measure.accuracy(model, question), 3) for task, question in tasks.items()}
    return table


def _rounded(values: Tensor) -> Any:
    """Return nested lists of three decimals."""
    return (values.detach().double() * 1000).round().div(1000).tolist()


def main() -> None:
    """Train, measure, and write model, tokenizer and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=int, nargs="*", default=[], help="steps after which to save a stepN too")
    parser.add_argument("--threads", type=int, default=1, help="another number may round differently")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = build_model(options.seed)
    start = time.perf_counter()
    losses = train(model, STAGES, options.seed, partial(save_checkpoint, model, options.out, options.checkpoints))
    seconds = time.perf_counter() - start
    interval = len(losses) // 20
    record = {
        "seed": options.seed,
        "threads": options.threads,
        "torch": torch.__version__,
        "stages": [dataclasses.asdict(stage) for stage in STAGES],
        "steps": len(losses),
        "seconds": round(seconds),
        "loss": {step + 1: round(losses[step], 4) for step in range(interval - 1, len(losses), interval)},
        "final_loss": round(sum(losses[-50:]) / 50, 4),
        **measurements(model.eval(), options.seed + 1),
    }
    model.save_pretrained(options.out)
    build_tokenizer(VOCABULARY, CONTEXT).save_pretrained(options.out)
    (options.out / "record.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

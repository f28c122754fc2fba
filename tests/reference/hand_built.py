"""Two-layer Llamas whose weights are set by hand, so that it is known what every head does.

Norms do next to nothing (their epsilon is so large that they divide by a constant), all weights are 0 but those that
are set, and embeddings hold the number of a word in the space WORD, and 1 in the dimension ONE. Words are those of
`word_tokenizer`; w0 to w11 have numbers.
"""

import torch
from reference.models import BOS, word_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

WORDS = 12
WORD, EARLIER, QUESTION, ANSWER = (range(start, start + WORDS) for start in range(0, 4 * WORDS, WORDS))
ONE, SAME, TASK = 48, 49, 50
D_MODEL, D_HEAD, HEADS, D_MLP = 64, 16, 4, 16
EPSILON = 1e8


def empty_llama() -> LlamaForCausalLM:
    """Return a model with embeddings and norms, in which no head and no network does anything."""
    config = LlamaConfig(
        hidden_size=D_MODEL,
        intermediate_size=D_MLP,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        head_dim=D_HEAD,
        vocab_size=133,
        max_position_embeddings=256,
        rms_norm_eps=EPSILON,
        bos_token_id=BOS,
        eos_token_id=BOS,
    )
    with torch.random.fork_rng():
        model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(EPSILON**0.5)
    model.model.embed_tokens.weight[:, ONE] = 1
    for number, token in enumerate(word_tokens()):
        model.model.embed_tokens.weight[token, WORD[number]] = 1
        model.lm_head.weight[token, ANSWER[number]] = 1
    return model


def word_tokens() -> list[int]:
    tokenizer = word_tokenizer()
    return [tokenizer.convert_tokens_to_ids(f"w{number}") for number in range(WORDS)]


def set_head(
    model: LlamaForCausalLM,
    layer: int,
    head: int,
    back: int | None,
    reads: range | list[int],
    writes: list[int],
    by: float,
) -> None:
    """Let a head attend to the token so many positions back (None: to all alike), and copy a space into another."""
    attention, rows = model.model.layers[layer].self_attn, slice(head * D_HEAD, (head + 1) * D_HEAD)
    if back is not None:
        half = D_HEAD // 2
        frequency = 10_000.0 ** (-torch.arange(half) / half)
        attention.k_proj.weight[rows, ONE] = torch.cat([torch.ones(half), torch.zeros(half)])
        angle = (
            -back * frequency
        )  # rotation of the query: the scores Σ cos((distance - back) · frequency) are highest there
        attention.q_proj.weight[rows, ONE] = 400 * torch.cat([angle.cos(), angle.sin()])
    for place, (source, target) in enumerate(zip(reads, writes, strict=True)):
        attention.v_proj.weight[head * D_HEAD + place, source] = 1
        attention.o_proj.weight[target, head * D_HEAD + place] = by


def set_unit(
    model: LlamaForCausalLM, layer: int, unit: int, gate: dict[int, float], up: dict[int, float], writes: int, by: float
) -> None:
    """Let one unit of a feed-forward network add by · silu(gate · x) · (up · x) to a dimension."""
    mlp = model.model.layers[layer].mlp
    for weights, values in ((mlp.gate_proj.weight, gate), (mlp.up_proj.weight, up)):
        for dimension, value in values.items():
            weights[unit, dimension] = value
    mlp.down_proj.weight[writes, unit] = by


def copy_task_model() -> LlamaForCausalLM:
    """Return a model that repeats a word, w3 -> w3, if the shots do, and says nothing else.

    L0H0 brings the token two positions back, and the network after it marks words that equal it. L1H1 averages the
    marks: it holds the task at every position. L1H0 brings the question, and the last network answers with it if the
    task is there. L0H1 writes the same everywhere, and L1H3 reads what nobody writes.
    """
    model = empty_llama()
    set_head(model, 0, 0, 2, WORD, list(EARLIER), 1.0)
    set_head(model, 0, 1, None, [ONE], [ANSWER[0]], 0.5)
    for number in range(WORDS):
        gate = {WORD[number]: 40.0, EARLIER[number]: 40.0, ONE: -60.0}
        set_unit(model, 0, number, gate, {ONE: 1.0}, SAME, 1 / 20)
        set_unit(model, 1, number, {TASK: 1.0}, {QUESTION[number]: 1.0}, ANSWER[number], 4.0)
    set_head(model, 1, 0, 1, WORD, list(QUESTION), 1.0)
    set_head(model, 1, 1, None, [SAME], [TASK], 10.0)
    set_head(model, 1, 3, None, [D_MODEL - 1], [ANSWER[1]], 3.0)
    return model


def needed_and_harmful_model() -> LlamaForCausalLM:
    """Return a model that repeats the word before the last token: L1H0 does, L0H2 writes other words' neighbours.

    No other head writes anything.
    """
    model = empty_llama()
    set_head(model, 1, 0, 1, WORD, list(ANSWER), 4.0)
    set_head(model, 0, 2, None, WORD, [ANSWER[(number + 1) % WORDS] for number in range(WORDS)], 12.0)
    return model


def repeating_model() -> LlamaForCausalLM:
    """Return a model that continues repeats of all twelve words without an induction head.

    L0H0 attends to every token, less to those further back, and lowers the words that it sees: the word that was seen
    least recently stands out. Its scores are -8 sin(distance / 31.6), which fall up to distance 49.
    """
    model = empty_llama()
    set_head(model, 0, 0, None, WORD, list(ANSWER), -3000.0)
    model.model.embed_tokens.weight[:, list(ANSWER)] = 100  # words are likelier than other tokens
    attention, half, slow = model.model.layers[0].self_attn, D_HEAD // 2, 3
    attention.k_proj.weight[slow, ONE] = 1
    attention.q_proj.weight[half + slow, ONE] = 8 * D_HEAD**0.5
    return model

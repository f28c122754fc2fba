"""Padded batches equal single runs; without a mask, padding is refused."""

from typing import Any

import pytest
import torch
from reference.bridges import bridge
from reference.models import BUILDERS, VOCAB, bpe_tokenizer, opt
from torch import Tensor

from headcount.results import InputError
from headcount.tracing import Model, load_model, masked

PAD = 1
LENGTHS = (9, 4, 6)
NAMES = ("pattern", "z", "mlp_out", "resid_post")

models = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
sides = pytest.mark.parametrize("side", ["left", "right"])


def rows() -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randint(3, VOCAB, (length,), generator=draw) for length in LENGTHS]


def padded(side: str) -> tuple[Tensor, Tensor]:
    """Tokens and mask of all rows."""
    longest = max(LENGTHS)
    tokens, mask = torch.full((len(LENGTHS), longest), PAD), torch.zeros(len(LENGTHS), longest, dtype=torch.long)
    for number, row in enumerate(rows()):
        tokens[number, place(side, len(row))], mask[number, place(side, len(row))] = row, 1
    return tokens, mask


def place(side: str, length: int) -> slice:
    return slice(0, length) if side == "right" else slice(max(LENGTHS) - length, None)


def check_equal_to_single_runs(model: Model, side: str, **options: Any) -> None:
    tokens, mask = padded(side)
    logits, cache = model.run_with_cache(tokens, attention_mask=mask, **options)
    plain = model(tokens, attention_mask=mask)
    for number, row in enumerate(rows()):
        where = place(side, len(row))
        alone, alone_cache = model.run_with_cache(row[None], **options)
        torch.testing.assert_close(logits[number, where], alone[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(plain[number, where], model(row[None])[0], atol=1e-5, rtol=1e-4)
        for layer in range(model.sizes.n_layers):
            for name in NAMES:
                value = cache[name, layer][number]
                value = value[:, where, where] if name == "pattern" else value[where]
                torch.testing.assert_close(value, alone_cache[name, layer][0], atol=1e-5, rtol=1e-4)


@models
@sides
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_every_architecture(build: Any, side: str, implementation: str) -> None:
    hf = build()
    hf.set_attn_implementation(implementation)
    check_equal_to_single_runs(load_model(hf), side)


@sides
def test_streamed(tmp_path: Any, side: str) -> None:
    opt().save_pretrained(tmp_path)
    bpe_tokenizer().save_pretrained(tmp_path)
    check_equal_to_single_runs(load_model(tmp_path, stream=True, memory="4GiB"), side)


@sides
def test_with_parts_removed_and_with_hooks(side: str) -> None:
    model = load_model(opt())
    with masked(model, heads=[(1, 2)], ffns=[0]):
        check_equal_to_single_runs(model, side, fwd_hooks=[("blocks.2.attn.hook_z", lambda z, hook: 2 * z)])


@sides
def test_a_whole_encoding_is_taken(side: str) -> None:
    tokenizer = bpe_tokenizer()
    tokenizer.padding_side = side
    model = load_model(opt(), tokenizer=tokenizer)
    texts = ["bababa", "ca be"]
    encoding = tokenizer(texts, padding=True, return_tensors="pt")
    logits = model(encoding)
    for number, text in enumerate(texts):
        alone = model(text)
        where = encoding["attention_mask"][number].bool()
        torch.testing.assert_close(logits[number, where], alone[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(InputError, match="has an attention_mask of its own"):
        model(encoding, attention_mask=encoding["attention_mask"])
    with pytest.raises(InputError, match=r'tokenizer\(texts, padding=True, return_tensors="pt"\)'):
        model(["ba", "be ca bu"])


@sides
def test_the_loss_leaves_padding_out(side: str) -> None:
    model = load_model(opt())
    tokens, mask = padded(side)
    losses = [model(row[None], return_type="loss") * (len(row) - 1) for row in rows()]
    expected = torch.stack(losses).sum() / sum(length - 1 for length in LENGTHS)
    torch.testing.assert_close(model(tokens, attention_mask=mask, return_type="loss"), expected, atol=1e-5, rtol=1e-5)
    (row, *_) = rows()
    logits = model.hf(row[None]).logits[0, :-1]
    plain = torch.nn.functional.cross_entropy(logits, row[1:])
    torch.testing.assert_close(model(row[None], return_type="loss"), plain)


@sides
@pytest.mark.parametrize("call", ["__call__", "run_with_hooks", "run_with_cache"])
def test_padding_without_a_mask_is_refused(side: str, call: str) -> None:
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    with pytest.raises(InputError, match="the padding token 1, which would be read as text: pass the tokenizer's"):
        getattr(model, call)(padded(side)[0])
    with pytest.raises(InputError, match="padding token"):
        getattr(model, call)(padded(side)[0][1:2])
    getattr(model, call)(padded(side)[0], attention_mask=torch.ones(3, 9))  # they are text, if the caller says so


def test_an_end_token_that_also_pads_may_end_all_rows() -> None:
    tokenizer = bpe_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = load_model(opt(), tokenizer=tokenizer)
    model(torch.tensor([[5, 6, 2], [7, 8, 2]]))
    with pytest.raises(InputError, match="the padding token 2"):
        model(torch.tensor([[5, 6, 2], [7, 2, 2]]))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(3, 8), r"of shape \[3, 9\], got \[3, 8\]"),
        (torch.full((3, 9), 2), "expected 1 for each token and 0 for padding"),
        (torch.zeros(3, 9), "one token or more"),
        (torch.tensor([[1, 0, 1, 1, 1, 1, 1, 1, 1]] * 3), "padding before or after the tokens"),
    ],
)
def test_other_masks_are_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(opt())(padded("left")[0], attention_mask=mask)


def test_several_end_tokens_and_one_text() -> None:
    hf = BUILDERS["llama"]()
    hf.config.eos_token_id = [2, 3]
    assert load_model(hf)(torch.tensor([[5, 6, 3], [7, 8, 3]])).shape == (2, 3, VOCAB)
    tokenizer = bpe_tokenizer()
    model = load_model(opt(), tokenizer=tokenizer)
    torch.testing.assert_close(model(tokenizer("ba be")), model("ba be"))


def test_padding_on_both_sides() -> None:
    model = load_model(opt())
    row = rows()[1]
    tokens, mask = torch.full((2, 9), PAD), torch.zeros(2, 9)
    tokens[0, 2:6], mask[0, 2:6] = row, 1
    tokens[1], mask[1] = rows()[0], 1
    torch.testing.assert_close(model(tokens, attention_mask=mask)[0, 2:6], model(row[None])[0], atol=1e-5, rtol=1e-4)


@sides
def test_a_bridge_of_transformer_lens(side: str) -> None:
    check_equal_to_single_runs(load_model(bridge(BUILDERS["llama"]())), side)

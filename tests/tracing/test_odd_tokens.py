"""Texts and tokens that no model takes, tokenizers that do not fit, and attention that hooks do not know."""

import pytest
import torch
from reference.models import BOS, VOCAB, bpe_tokenizer, llama, word_tokenizer

from headcount.induction import repeated_tokens
from headcount.results import InputError
from headcount.tracing import Model, load_model


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(llama(), tokenizer=bpe_tokenizer())


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[VOCAB]]), f"token {VOCAB} is outside .*vocabulary of {VOCAB} tokens"),
        (torch.tensor([[-1]]), "token -1 is outside"),
        (torch.tensor([[2**40]]), "token 1099511627776 is outside"),
        (torch.zeros(1, 4), "must be whole numbers, not torch.float32"),
        (torch.ones(1, 4, dtype=torch.bool), "must be whole numbers, not torch.bool"),
        (torch.tensor([1, 2]), r"shape \[batch, pos\], not \[2\]"),
        (torch.ones(1, 2, 3, dtype=torch.long), r"shape \[batch, pos\], not \[1, 2, 3\]"),
        (torch.ones(1, 0, dtype=torch.long), r"shape \[batch, pos\], not \[1, 0\]"),
        (torch.ones(0, 3, dtype=torch.long), r"shape \[batch, pos\], not \[0, 3\]"),
        (torch.ones(1, 257, dtype=torch.long), "257 tokens do not fit"),
        ([[1, 2], [3]], "tokens must be a tensor of whole numbers"),
        ([["a", 3]], "tokens must be a tensor of whole numbers"),
        ({"input_ids": [["a"]]}, "tokens must be a tensor of whole numbers"),
        (None, "tokens must be a tensor of whole numbers"),
        (["a", "b a b a"], "equally many tokens"),
        ("ab" * 400, "do not fit"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(model: Model, tokens: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model(tokens)


@pytest.mark.parametrize("text", [None, 5, [], [None], [["a"]], b"a", [1, 2]])
def test_what_is_no_text_has_no_tokens(model: Model, text: object) -> None:
    with pytest.raises(InputError, match="expected a text, or a list of texts, got"):
        model.to_tokens(text)


@pytest.mark.parametrize("tokens", [torch.tensor([-1]), torch.tensor([VOCAB]), torch.tensor([0.5]), [[1], [2]]])
def test_what_is_no_token_has_no_text(model: Model, tokens: object) -> None:
    with pytest.raises(InputError, match=r"is outside|whole numbers|one sequence"):
        model.to_str_tokens(tokens)


def test_an_empty_text_is_its_bos_or_nothing(model: Model) -> None:
    assert model.to_tokens("").tolist() == [[BOS]]
    bare = load_model(llama(), tokenizer=bpe_tokenizer(bos=False))
    with pytest.raises(InputError, match="at least one"):
        bare.to_tokens("")


def test_a_tokenizer_of_more_tokens_than_the_model_is_drawn_from_within_the_model(model: Model) -> None:
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([f"more{number}" for number in range(100)])
    larger = load_model(llama(), tokenizer=tokenizer)
    assert len(tokenizer) > VOCAB
    assert int(repeated_tokens(larger, 20, 3).max()) < VOCAB
    with pytest.raises(InputError, match=f"outside .*vocabulary of {VOCAB} tokens"):
        larger("more99")


def test_attention_that_does_not_sum_to_one_is_refused_by_the_models_and_the_hooks_name() -> None:
    hf = llama()

    def with_sink(module: torch.nn.Module, *args: object, **kwargs: object) -> tuple[torch.Tensor, None]:
        query, key, value = args[:3]
        groups = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(groups, 1).mT * kwargs["scaling"]
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
        sink = torch.zeros_like(scores[..., :1])
        pattern = torch.cat([scores, sink], -1).softmax(-1)[..., :-1]
        return (pattern @ value.repeat_interleave(groups, 1)).transpose(1, 2).contiguous(), None

    from transformers import AttentionInterface

    AttentionInterface.register("with_sink", with_sink)
    hf.config._attn_implementation = "with_sink"
    with pytest.raises(InputError, match=r"LlamaForCausalLM: .*attn.hook_pattern"):
        load_model(hf, tokenizer=bpe_tokenizer())

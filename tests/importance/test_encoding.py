"""Requests as tokens: what tokenizers append, what joins merge, what a cut leaves, and exact ties."""

import json

import pytest
import torch
from reference.models import BOS, SPECIAL, bpe_tokenizer, opt
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from headcount.importance import Example, accuracy, head_importance, load_task
from headcount.importance.likelihoods.encoding import encode, encode_with_special_tokens
from headcount.results import Accuracy, InputError
from headcount.tracing import load_model

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def appending() -> PreTrainedTokenizerFast:
    """OPT's tokenizer, which also ends every text with its end token."""
    tokenizer = bpe_tokenizer()
    template = processors.TemplateProcessing(single="</s> $A </s>", special_tokens=[("</s>", BOS)])
    tokenizer.backend_tokenizer.post_processor = template
    return tokenizer


def merging() -> PreTrainedTokenizerFast:
    """A tokenizer that joins a and b, wherever they meet."""
    symbols = [*SPECIAL, "Ġ", *LETTERS, "ab"]
    backend = Tokenizer(BPE(vocab={symbol: place for place, symbol in enumerate(symbols)}, merges=[("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    names = {"eos_token": "</s>", "bos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


@pytest.mark.parametrize(("context", "continuation"), [("ba be", " ca"), ("ba be ", "ca"), ("", "ca"), ("ba", "be")])
def test_an_appended_end_token_is_left_out(context: str, continuation: str) -> None:
    tokenizer = appending()
    assert tokenizer.encode("ba")[-1] == BOS
    found = encode(tokenizer, context, continuation, longest=99)
    assert found == encode(bpe_tokenizer(), context, continuation, longest=99)
    assert found.ids.count(BOS) == 1
    assert tokenizer.decode(found.ids[found.start :]).strip() == continuation.strip()


def test_an_end_token_that_the_text_ends_with_stays() -> None:
    assert encode_with_special_tokens(appending(), "ba</s>") == [BOS, *bpe_tokenizer().encode("ba")[1:], BOS]


def test_a_join_that_merges_is_said() -> None:
    tokenizer = merging()
    request = encode(tokenizer, "ca", "bac", longest=99)
    assert request.merged
    assert tokenizer.decode(request.ids[request.start :]) == "ac"  # without b, which went to the token before
    assert not encode(tokenizer, "cb", "bac", longest=99).merged


@pytest.mark.parametrize("encoding", ["joint", "joint-keep-bos", "apart"])
def test_a_cut_keeps_bos_if_it_is_asked_to(encoding: str) -> None:
    tokenizer = bpe_tokenizer()
    long = encode(tokenizer, "ba " * 19 + "ba", " ca", longest=10, encoding=encoding)
    assert len(long.ids) == 11
    assert long.cut > 0
    assert (long.ids[0] == BOS) == (encoding == "joint-keep-bos")
    assert tokenizer.decode(long.ids[long.start :]) == " ca"
    short = encode(tokenizer, "ba", " ca", longest=10, encoding="joint-keep-bos")
    assert short == encode(tokenizer, "ba", " ca", longest=10)


def test_bos_is_kept_in_front_of_the_longest_continuation() -> None:
    tokenizer = bpe_tokenizer()
    tail = tokenizer.encode(" ca be bu", add_special_tokens=False)
    found = encode(tokenizer, "ba be", " ca be bu", longest=len(tail), encoding="joint-keep-bos")
    assert found.ids == (BOS, *tail)
    assert (found.start, found.cut) == (1, len(tokenizer.encode("ba be")) - 1)


def test_an_unknown_encoding_is_refused() -> None:
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    with pytest.raises(InputError, match="encoding: expected one of joint, joint-keep-bos, apart, got"):
        head_importance(model, [Example("ba", " ca")], encoding="joint_keep_bos")


ROWS = [
    {"premise": "ab", "choice1": "ba", "choice2": "be", "question": "cause", "idx": 0, "label": 0},
    {"premise": "ba", "choice1": "ca", "choice2": "ce", "question": "cause", "idx": 1, "label": 1},
]


@pytest.fixture
def rows(tmp_path):
    (tmp_path / "copa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS * 2))
    return tmp_path


def constant():
    """A model whose logits are all equal, whatever it reads."""
    hf = opt()
    with torch.no_grad():
        hf.get_output_embeddings().weight.zero_()
    return hf


def test_exact_ties_are_counted_and_said(rows) -> None:
    result = accuracy(load_model(constant(), tokenizer=bpe_tokenizer()), load_task("copa", data=rows))
    assert (result.value, result.ties) == (0.5, 4)
    assert "4 exact ties" in repr(result)
    usual = accuracy(load_model(opt(), tokenizer=bpe_tokenizer()), load_task("copa", data=rows))
    assert usual.ties == 0
    assert "ties" not in repr(usual)


def test_rows_that_are_scored_in_part_are_counted_with_the_first(tmp_path) -> None:
    lines = [{"context": context, "choices": ["bc", "c"], "gold": 1} for context in ("cb", "ca", "ca")]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    task = load_task("mine", data=tmp_path)
    requests = [request for document in task.documents() for request in document.requests]
    tokenizer = merging()
    expected = [encode(tokenizer, each.context, each.continuation, longest=99).merged for each in requests]
    result = accuracy(load_model(opt(), tokenizer=tokenizer), task)
    assert result.merged == sum(a or b for a, b in zip(expected[::2], expected[1::2], strict=True))
    assert result.provenance["bos_in_front"] is False


def test_a_model_whose_tokenizer_appends_an_end_token_is_as_accurate_as_without(rows) -> None:
    plain, other = (
        accuracy(load_model(opt(), tokenizer=tokenizer), load_task("copa", data=rows))
        for tokenizer in (bpe_tokenizer(), appending())
    )
    assert torch.equal(plain.gold_log_p, other.gold_log_p)
    assert (plain.value, plain.ties) == (other.value, other.ties)
    assert other.provenance["bos"] == BOS
    assert other.provenance["bos_in_front"] is True


def test_remarks_are_in_the_order_of_their_weight() -> None:
    one = torch.ones(4)
    result = Accuracy(1.0, 0.0, 4, 0.5, 0.5, one, one, one, one, cut=1, ties=2, merged=3, first_merged=7)
    assert result.remarks == [
        "1 cut",
        "2 exact ties",
        "3 scored in part (first row 7, joined with its context)",
    ]


def test_a_task_keeps_bos_if_it_is_asked_to_and_records_it(rows) -> None:
    task = load_task("copa", data=rows, keep_bos=True)
    assert task.encoding == "joint-keep-bos"
    model = load_model(opt(), tokenizer=bpe_tokenizer())
    assert accuracy(model, task).provenance["encoding"] == "joint-keep-bos"
    with pytest.raises(InputError, match="the paper's profile encodes without BOS"):
        load_task("copa", "paper", rows, keep_bos=True)


def test_a_tokenizer_without_special_tokens_encodes_what_has_a_context() -> None:
    tokenizer = bpe_tokenizer(bos=False)
    tokenizer.eos_token = tokenizer.bos_token = None
    assert encode(tokenizer, "ba", " ca", longest=99).start == 1
    with pytest.raises(InputError, match="an empty context needs a tokenizer with"):
        encode(tokenizer, "", " ca", longest=99)

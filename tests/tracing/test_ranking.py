import json
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from reference.models import UNKNOWN, bpe_merges, bpe_tokenizer, word_tokenizer
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE, Unigram
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from headcount.results import InputError
from headcount.tracing.text.token_pool import token_pool

MERGES = list(product("abcdefgh", repeat=2))  # 64 of them
PAIRS = [left + right for left, right in MERGES]


def merging(merges: list[tuple[str, str]], **special: str) -> PreTrainedTokenizerFast:
    """A tokenizer with these merges: letters first, then each merged token at its first appearance."""
    symbols = [*"abcdefgh", *dict.fromkeys(left + right for left, right in merges)]
    vocab = {symbol: token for token, symbol in enumerate(symbols)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab=vocab, merges=merges)), **special)


def names(tokenizer: PreTrainedTokenizerFast, ids: torch.Tensor) -> list[str]:
    return tokenizer.convert_ids_to_tokens(ids.tolist())


def test_the_middle_of_the_merges() -> None:
    tokenizer = bpe_tokenizer()
    pool = token_pool(tokenizer)
    merged = [left + right for left, right in bpe_merges()]
    assert len(merged) == 131  # 4 % of it is 5.24
    assert pool.source == "merges"
    assert pool.ids.dtype == torch.int64
    assert names(tokenizer, pool.ids) == merged[5:126]


def test_bos_makes_no_difference() -> None:
    assert torch.equal(token_pool(bpe_tokenizer(bos=False)).ids, token_pool(bpe_tokenizer()).ids)


@pytest.mark.parametrize("written", [lambda pair: " ".join(pair), list])
def test_opts_fifty_thousand_ranks_in_both_spellings(written, monkeypatch: pytest.MonkeyPatch) -> None:
    merges = [(f"l{number}", f"r{number}") for number in range(50_000)]
    vocab = {left + right: 4 + number for number, (left, right) in enumerate(merges)}
    file = json.dumps({"model": {"type": "BPE", "vocab": vocab, "merges": [written(pair) for pair in merges]}})
    backend = property(lambda _: SimpleNamespace(to_str=lambda: file))
    tokenizer = bpe_tokenizer()
    monkeypatch.setattr(PreTrainedTokenizerFast, "backend_tokenizer", backend)
    monkeypatch.setattr(PreTrainedTokenizerFast, "added_tokens_decoder", {})
    monkeypatch.setattr(PreTrainedTokenizerFast, "all_special_ids", [])
    assert torch.equal(token_pool(tokenizer).ids, 4 + torch.arange(2_000, 48_000))


def test_a_token_that_several_merges_make_counts_once_and_keeps_its_first_rank() -> None:
    twice = [("a", "bc"), ("b", "de"), ("ab", "c"), ("bd", "e")]  # abc and bde
    tokenizer = merging(MERGES[:46] + twice)
    left = names(tokenizer, token_pool(tokenizer).ids)
    assert left == [*PAIRS[1:46], "abc"]  # int(0.04·48) = 1 is cut, not int(0.04·50) = 2


def test_special_and_added_tokens_are_no_part_of_the_ranking() -> None:
    tokenizer = merging(MERGES, bos_token=PAIRS[2])
    tokenizer.add_tokens([AddedToken(PAIRS[3]), AddedToken("never seen")])
    left = names(tokenizer, token_pool(tokenizer).ids)
    assert left == PAIRS[4:62]  # of the 62 that remain, the first two and the last two are cut


def test_ids_beyond_the_embedding_are_dropped_first() -> None:
    tokenizer = merging(MERGES)
    pool = token_pool(tokenizer, vocab=8 + 25)
    assert names(tokenizer, pool.ids) == PAIRS[1:24]


def test_subword_prefixes_are_taken_off_where_two_tokens_meet() -> None:
    vocab = {"a": 0, "##b": 1, "ab": 2}
    backend = Tokenizer(BPE(vocab=vocab, merges=[("a", "##b")], continuing_subword_prefix="##"))
    assert token_pool(PreTrainedTokenizerFast(tokenizer_object=backend)).ids.tolist() == [2]


def test_scores_rank_where_there_are_no_merges() -> None:
    pieces = [(UNKNOWN, 0.0), *((f"p{number}", -float(number * 7 % 50)) for number in range(50))]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(Unigram(pieces, unk_id=0)), unk_token=UNKNOWN)
    pool = token_pool(tokenizer)
    assert pool.source == "scores"
    by_score = sorted(range(50), key=lambda number: number * 7 % 50)
    assert names(tokenizer, pool.ids) == [f"p{number}" for number in by_score[2:48]]


def test_ids_stand_in_where_nothing_is_ranked() -> None:
    pool = token_pool(word_tokenizer())
    assert pool.source == "ids"
    assert pool.ids.tolist() == list(range(3 + 5, 3 + 125))


def test_ids_stand_in_for_a_tokenizer_without_a_file() -> None:
    pool = token_pool(ByT5Tokenizer())
    assert pool.source == "ids"
    assert pool.ids.tolist() == list(range(3 + 10, 3 + 246))


def test_a_tokenizer_of_special_tokens_only_is_refused() -> None:
    with pytest.raises(InputError, match="expected a tokenizer with ordinary tokens below 3"):
        token_pool(word_tokenizer(), vocab=3)

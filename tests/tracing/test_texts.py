"""Texts and tokens: they join back, and a text has one BOS."""

import pytest
from reference.models import BOS, bpe_tokenizer, opt
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from headcount.results import InputError
from headcount.tracing import Model, load_model
from headcount.tracing.text.texts import token_texts

WORDS = ["▁the", "▁door", "▁is", "blue", "▁", "s", "."]


def sentencepiece() -> PreTrainedTokenizerFast:
    """A tokenizer that marks the beginnings of words, as SentencePiece does."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), *((word, -float(place)) for place, word in enumerate(WORDS, 1))]
    backend = Tokenizer(Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"bos_token": "<s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def byte_level() -> PreTrainedTokenizerFast:
    """A tokenizer that has a token for each byte and no others."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(BPE(vocab={symbol: place for place, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize("text", ["the door is blue.", "the  doors", "blue"])
def test_pieces_keep_their_spaces(text: str) -> None:
    tokenizer = sentencepiece()
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "".join(token_texts(tokenizer, ids)) == tokenizer.decode(ids) == text
    assert token_texts(tokenizer, tokenizer.encode("the door"))[2] == " door"


@pytest.mark.parametrize("text", ["naïve", "日本語", "a 😀 b", "e\u0301", "plain"])
def test_characters_of_several_bytes_are_whole(text: str) -> None:
    tokenizer = byte_level()
    texts = token_texts(tokenizer, tokenizer.encode(text))
    assert len(texts) == len(text.encode())
    assert "".join(texts) == text
    assert not any("\ufffd" in part for part in texts)


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    tokenizer = byte_level()
    assert token_texts(tokenizer, tokenizer.encode("aé")[:-1]) == ["a", "\ufffd"]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(opt(), tokenizer=bpe_tokenizer())


def test_a_text_that_begins_with_bos_gets_no_second_one(model: Model) -> None:
    plain = model.to_tokens("ba be").tolist()
    assert plain[0][0] == BOS
    assert model.to_tokens("</s>ba be").tolist() == plain
    assert model.to_tokens("</s>ba be", prepend_bos=True).tolist() == plain
    assert model.to_tokens("</s>ba be", prepend_bos=False).tolist() == plain
    assert model.to_tokens("</s></s>ba be").tolist()[0][:2] == [BOS, BOS]
    assert model.to_str_tokens("</s>ba be")[0] == "</s>"


def test_tokens_become_text_again(model: Model) -> None:
    ids = model.to_tokens("ba be")
    assert model.to_string(ids[0, 1:]) == "ba be"
    assert model.to_string(ids) == ["</s>ba be"]
    assert model.to_string(model.to_single_token("ba") * ids.new_ones(1)) == "ba"


@pytest.mark.parametrize("text", ["ba be", "", 3])
def test_a_single_token_is_one(model: Model, text: object) -> None:
    with pytest.raises(InputError, match="expected a text of one token, got"):
        model.to_single_token(text)

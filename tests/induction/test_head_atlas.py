"""The head atlas of whole models: equal to the plain loops on any batch; controls, texts, examples and detectors."""

import pytest
import torch
from reference import atlas as reference
from reference.models import BOS, BUILDERS, VOCAB, bpe_tokenizer, gemma3, opt
from torch.utils._python_dispatch import TorchDispatchMode

from headcount import induction
from headcount.induction import forget_detector, head_atlas, register_detector
from headcount.induction.atlas.detectors import every_detector
from headcount.induction.atlas.examples import sequences_at_levels
from headcount.induction.passes.atlas import RecordDetectors
from headcount.induction.tokens.texts import read_texts, text_rows
from headcount.results import HeadAtlas, InputError
from headcount.tracing import AttentionCall, load_model, masked, pruned

LENGTHS = (70, 23, 64)  # more than a block of rows, less, and as many
WORDS = "do re mi fa so la ti do re mi so fa la mi re do ti la so fa mi re do "


def rows(seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 40, (length,), generator=draw) for length in LENGTHS]


@pytest.fixture(scope="module")
def model():
    return load_model(opt(), tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def atlas(model) -> HeadAtlas:
    return head_atlas(model, sequences=2, text=[WORDS * 20, WORDS * 7], seed=3)


def values(atlas: HeadAtlas) -> torch.Tensor:
    return torch.stack([part.values for part in atlas.scores.values()])


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())
def test_every_score_equals_the_plain_loop_on_sequences_of_different_lengths(build):
    hf = build()
    atlas = head_atlas(load_model(hf), sequences=rows()[0][None], text=rows(), control=False, examples=False)
    expected = [reference.scores(hf, row) for row in rows()]
    assert set(atlas.names) == set(reference.SCORES)
    for name, part in atlas.on_text.items():
        by_sequence = torch.stack([scores[name] for scores in expected])
        assert torch.allclose(part.values, by_sequence.mean(0), atol=1e-5, rtol=0), name
        assert torch.allclose(part.variance, by_sequence.var(0), atol=1e-6, rtol=0), name
        assert torch.allclose(getattr(atlas, name).values, expected[0][name], atol=1e-5, rtol=0), name
        assert (part.n, part.measure) == (3, name)


class Largest(TorchDispatchMode):
    """Remembers the most numbers of a tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


def test_memory_is_linear_in_length():
    """No tensor of a layer's scores is as large as a pattern, and the largest grows as the sequence does."""
    sizes = []
    for length in (512, 2048):
        draw = torch.Generator().manual_seed(0)
        query, key, value = (torch.randn(1, 2, length, 8, generator=draw) for _ in range(3))
        tokens = torch.randint(0, 40, (1, length), generator=draw)
        detectors = [(detector.function, detector.of_positions) for detector in every_detector()]
        record = RecordDetectors(detectors, tokens, torch.tensor([length]), examples=True)
        with Largest() as largest:
            record(AttentionCall(query, key, value, None, 0.3), None)
        assert largest.numbers < 2 * length**2 / 4
        sizes.append(largest.numbers)
    assert sizes[1] <= 4 * sizes[0]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_the_attention_implementation_does_not_change_the_scores(implementation):
    hf = gemma3()
    hf.set_attn_implementation(implementation)
    atlas = head_atlas(load_model(hf), sequences=rows()[0][None], text=rows(), control=False)
    expected = head_atlas(load_model(gemma3()), sequences=rows()[0][None], text=rows(), control=False)
    assert torch.allclose(values(atlas), values(expected), atol=1e-6)


def test_batches_and_order_do_not_change_the_scores(model):
    options = {"sequences": rows()[2][None], "control": False}
    expected = head_atlas(model, text=rows(), batch_size=1, **options)
    for texts, batch_size in ((rows(), 3), (rows()[::-1], 2)):
        atlas = head_atlas(model, text=texts, batch_size=batch_size, **options)
        assert torch.allclose(values(atlas), values(expected), atol=1e-6)


def test_induction_on_random_tokens_is_prefix_matching_on_the_same_sequences(model, atlas):
    scores = induction.score_heads(model, 2, seed=3)
    assert torch.allclose(atlas.induction.values, scores.prefix_matching.values, atol=1e-6)
    assert atlas.induction.provenance["periods"] == scores.prefix_matching.provenance["periods"]


def test_the_control_has_other_weights_and_the_same_scores(model, atlas):
    for controls, scores in ((atlas.control, atlas.random), (atlas.control.on_text, atlas.on_text)):
        assert list(controls) == list(scores) == list(reference.SCORES)
        assert not torch.allclose(controls.first_token.values, scores.first_token.values, atol=1e-3)
    without = head_atlas(model, sequences=rows()[0][None], text=rows()[:1], control=False)
    assert (len(without.control), len(without.control.on_text)) == (0, 0)
    assert without.previous_token.variance is None


def test_a_score_that_no_query_of_a_sequence_has_is_over_the_others(model):
    distinct = torch.arange(20, 40)
    text = [distinct, torch.cat([distinct, distinct])]
    atlas = head_atlas(model, sequences=distinct[None], text=text, control=False)
    assert [atlas.on_text[name].n for name in ("duplicate_token", "induction", "previous_token")] == [1, 1, 2]
    assert atlas.duplicate_token.values.isnan().all()
    assert atlas.examples.of("induction", 0, 0)[0].sequence == 1


def test_a_removed_head_changes_the_scores_of_later_layers_only(model):
    options = {"sequences": rows()[0][None], "text": rows()[:1], "control": False}
    before = head_atlas(model, **options)
    with masked(model, heads=[(1, 2)]):
        after = head_atlas(model, **options)
    assert torch.equal(before.entropy.values[:2], after.entropy.values[:2])
    assert not torch.allclose(before.entropy.values[2], after.entropy.values[2], atol=1e-4)


def test_a_pruned_model_has_no_control_and_one_without_heads_is_refused(model):
    options = {"sequences": rows()[0][None], "text": rows()[:1]}
    atlas = head_atlas(pruned(model, ffns=[0]), **options)
    with masked(model, ffns=[0]):
        expected = head_atlas(model, **options, control=False)
    assert torch.allclose(values(atlas), values(expected), atol=1e-5)
    assert (len(atlas.control), atlas.provenance["control"]) == (0, False)
    with pytest.raises(InputError, match="use masked on the whole model"):
        head_atlas(pruned(model, heads=[(0, 1)]), **options)


def test_numbers_that_are_not_finite_are_never_left_out_without_a_word(model):
    hf = opt()
    hf.model.decoder.layers[1].self_attn.q_proj.weight.data[:8] = torch.nan
    atlas = head_atlas(load_model(hf), sequences=rows()[0][None], text=rows(), control=False)
    for name in reference.SCORES:
        assert atlas.on_text[name].values[1, 0].isnan(), name
        assert not atlas.on_text[name].values[0].isnan().any(), name


def test_examples_are_the_sequences_at_levels_with_the_query_and_its_strongest_keys():
    hf, texts = opt(), [*rows(), *rows(1), *rows(2)]
    atlas = head_atlas(load_model(hf), sequences=texts[0][None], text=texts, control=False)
    scores = torch.stack([reference.scores(hf, row)["previous_token"][1, 2] for row in texts])
    order = scores.argsort().tolist()
    examples = atlas.examples.of("previous_token", 1, 2)
    assert [example.level for example in examples] == ["highest", "90 %", "50 %", "10 %"]
    assert [example.sequence for example in examples] == [order[8], order[7], order[4], order[1]]
    for example in examples:
        row = texts[example.sequence]
        pattern = reference.attention_patterns(hf, row)[1, 2]
        assert example.tokens == tuple(str(token) for token in row.tolist())
        assert example.value == pytest.approx(scores[example.sequence].item(), abs=1e-5)
        assert example.query == pattern.diagonal(-1)[1:].argmax().item() + 2
        best = pattern[example.query].topk(3)
        assert [attended.position for attended in example.attended] == best.indices.tolist()
        assert [attended.attention for attended in example.attended] == pytest.approx(best.values.tolist(), abs=1e-5)
        assert all(attended.token == example.tokens[attended.position] for attended in example.attended)


def test_levels_of_few_sequences_and_of_none():
    scores = torch.tensor([3.0, torch.nan, 1, 2])[:, None, None]
    assert sequences_at_levels(scores).flatten().tolist() == [0, 0, 3, 2]
    assert sequences_at_levels(scores[1:2]).flatten().tolist() == [-1] * 4


class TestTexts:
    def test_texts_are_cut_into_sequences_of_128_tokens_with_bos(self, model, atlas):
        tokens = text_rows(model, read_texts([WORDS * 20, "do", WORDS * 7]))
        lengths = [len(row) for row in tokens]
        assert lengths[0] == 128
        assert all(row[0] == BOS for row in tokens)
        pieces = [length for length in lengths if length < 128]
        assert len(pieces) == 2
        assert atlas.previous_token.provenance["tokens"] == "random"
        assert (
            atlas.on_text.previous_token.provenance["text_sequences"] == atlas.on_text.previous_token.n == len(lengths)
        )
        joined = model.to_string(tokens[0][1:]) + model.to_string(tokens[1][1:])
        assert (WORDS * 20).startswith(joined)

    def test_of_many_an_even_choice_is_taken(self, model):
        tokens = text_rows(model, read_texts([f"{WORDS} {'do ' * (place % 30)}" for place in range(1200)]))
        assert len(tokens) == 500

    def test_the_shipped_text_is_read_and_has_a_useful_size(self):
        texts = read_texts()
        assert 12_000 < sum(map(len, texts.texts)) < 20_000
        assert len(texts.texts) > 10

    def test_a_file_and_a_folder(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "b.txt").write_text("second", encoding="utf-8")
        (tmp_path / "in" / "a.md").write_text("first", encoding="utf-8")
        (tmp_path / "c.bin").write_bytes(b"\xff")
        assert read_texts(tmp_path).texts == ("second", "first")
        assert read_texts(str(tmp_path / "b.txt")).texts == ("second",)
        for wrong, message in (
            (tmp_path / "none", "expected a file or folder"),
            (tmp_path / "c.bin", "UTF-8"),
            ([" "], "empty ones"),
            ([], "got list, empty"),
            (3, "got int"),
        ):
            with pytest.raises(InputError, match=message):
                read_texts(wrong)

    def test_bad_text_and_counts_are_refused(self, model):
        for options, message in (
            ({"sequences": 1, "text": ["a b"]}, "no text has 8 tokens"),
            ({"sequences": 1, "text": [torch.tensor([VOCAB + 5])]}, "outside"),
            ({"sequences": 1, "text": [object()]}, "rows of object"),
            ({"sequences": 0, "text": rows()}, "sequences: expected a whole number"),
            ({"seed": -1}, "seed of 0 or more"),
        ):
            with pytest.raises(InputError, match=message):
                head_atlas(model, **options)
        with pytest.raises(InputError, match="without a tokenizer"):
            head_atlas(load_model(opt()), sequences=rows()[0][None])


class TestDetectorsOfAPerson:
    def test_both_forms_appear_by_name(self, model):
        @register_detector
        def three_back(query, key):
            """Attention to the token three positions back."""
            return query - key == 3

        @register_detector
        def strongest(pattern, query, tokens):
            """Attention to the key that is attended to most."""
            return pattern.amax(-1)

        try:
            options = {"sequences": rows()[0][None], "text": rows(), "control": False}
            atlas = head_atlas(model, **options)
        finally:
            forget_detector("three_back")
            forget_detector("strongest")
        assert atlas.names[-2:] == ("three_back", "strongest")
        patterns = reference.attention_patterns(model.hf, rows()[0]).float()
        assert torch.allclose(atlas.three_back.values, patterns.diagonal(-3, -2, -1).mean(-1), atol=1e-5)
        assert torch.allclose(atlas.strongest.values, patterns.amax(-1).mean(-1), atol=1e-5)
        assert atlas.three_back.definition == "Attention to the token three positions back"
        assert len(atlas.examples.of("three_back", 0, 0)) == 4
        assert "three_back" not in head_atlas(model, **options).names

    def test_what_is_no_detector_is_refused(self):
        def other(x, y):
            return x

        def previous_token(query, key):
            return query == key

        def scores(query, key):
            return query == key

        def sums(pattern, query, tokens):
            return pattern.sum()

        def fails(query, key):
            return query @ key.float()

        for function, message in (
            (other, r"a function of \(query, key\) or of \(pattern, query, tokens\), got one of \(x, y\)"),
            (previous_token, "headcount's own"),
            (scores, "own attributes, got 'scores'"),
            (lambda query, key: query == key, "got '<lambda>'"),
            (sums, "expected a number for each row"),
            (fails, "fails fails on a pattern"),
        ):
            with pytest.raises(InputError, match=message):
                register_detector(function)
        with pytest.raises(InputError, match="was registered: there are none"):
            forget_detector("other")

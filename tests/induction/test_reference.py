"""The reference implementations against cases that can be worked out by hand, and against transformers itself."""

from copy import deepcopy

import pytest
import torch
from reference import copying as reference
from reference import parts
from reference.models import BOS, BUILDERS, VOCAB, bpe_tokenizer, word_tokenizer
from reference.patterns import LayerAlone, attention_patterns, layers_alone
from reference.prefix import DEFINITIONS, keys, prefix_matching, prefix_score
from reference.published_copying import published_copying
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

PERIOD = 25


@pytest.fixture(params=BUILDERS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return BUILDERS[request.param]()


def distinct_tokens(count: int, seed: int = 0) -> torch.Tensor:
    drawn = torch.randperm(VOCAB - 3, generator=torch.Generator().manual_seed(seed))[:count] + 3
    return torch.cat([torch.tensor([BOS]), drawn])


def attending_to(positions: dict[int, list[int]], n: int) -> torch.Tensor:
    """Pattern whose queries spread their attention evenly over the given keys; the others attend to key 0."""
    pattern = torch.zeros(n, n)
    for query in range(n):
        chosen = positions.get(query, [0])
        pattern[query, chosen] = 1 / len(chosen)
    return pattern


def induction_pattern(bos: bool, only_last: bool) -> torch.Tensor:
    first = 0 if bos else 1
    tokens = range(PERIOD + 1, 4 * PERIOD + 1)
    wanted = {j - first: [key - first for key in keys(j, PERIOD, "successor")] for j in tokens}
    if only_last:
        wanted = {query: chosen[:1] for query, chosen in wanted.items()}
    return attending_to(wanted, 4 * PERIOD + (1 if bos else 0))


class TestPrefix:
    @pytest.mark.parametrize("bos", [True, False])
    def test_perfect_induction_scores_exactly_one(self, bos: bool) -> None:
        last = induction_pattern(bos, only_last=True)
        assert prefix_score(last, PERIOD, "successor", bos) == 1.0
        assert prefix_score(last, PERIOD, "offset", bos) == 1.0
        assert prefix_score(last, PERIOD, "published", bos) == 1.0
        assert prefix_score(last, PERIOD, "entry-mean", bos) == 0.5  # 3 periods of queries, 6 of entries

    @pytest.mark.parametrize("bos", [True, False])
    def test_attention_spread_over_all_successors_is_perfect_too(self, bos: bool) -> None:
        spread = induction_pattern(bos, only_last=False)
        assert prefix_score(spread, PERIOD, "successor", bos) == pytest.approx(1.0)
        assert prefix_score(spread, PERIOD, "offset", bos) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)

    @pytest.mark.parametrize("bos", [True, False])
    def test_published_counts_three_stray_entries(self, bos: bool) -> None:
        after_bos = 1 if bos else 0
        pattern = attending_to({query: [after_bos] for query in range(1, 4 * PERIOD)}, 4 * PERIOD + after_bos)
        pattern[-1] = torch.eye(len(pattern))[after_bos]
        assert prefix_score(pattern, PERIOD, "successor", bos) == 0.0
        assert prefix_score(pattern, PERIOD, "published", bos) == 3 / (3 * PERIOD)

    def test_keys_of_a_short_period(self) -> None:
        assert keys(4, 3, "successor") == [2]
        assert keys(6, 3, "successor") == [4]
        assert keys(6, 3, "published") == [4, 1]
        assert keys(7, 3, "published") == [5, 2]
        assert keys(12, 3, "entry-mean") == [10, 7, 4]
        assert keys(12, 3, "published") == [10, 7, 4, 1]
        assert keys(12, 3, "offset") == [10]

    def test_without_bos_the_tokens_count_as_before(self) -> None:
        pattern = torch.rand(4 * PERIOD + 1, 4 * PERIOD + 1).tril()
        for definition in DEFINITIONS:
            assert prefix_score(pattern, PERIOD, definition, True) == prefix_score(
                pattern[1:, 1:], PERIOD, definition, False
            )

    def test_a_random_model_scores_between_0_and_1(self) -> None:
        x = distinct_tokens(PERIOD)[1:].repeat(4)
        scores = prefix_matching(BUILDERS["opt"](), torch.stack([x, x.flip(0)]), PERIOD, "successor")
        assert scores.shape == (2, 3, 4)
        assert (scores > 0).all()
        assert (scores < 1).all()


class TestPatterns:
    def test_a_layer_alone_is_that_layer_moved_to_the_front(self, model: PreTrainedModel) -> None:
        tokens = distinct_tokens(60)
        for layer, alone in enumerate(layers_alone(model, tokens)):
            expected = attention_patterns(moved_to_front(model, layer), tokens)[0]
            torch.testing.assert_close(alone.pattern, expected, rtol=0, atol=1e-7)

    def test_z_is_the_pattern_times_the_values(self, model: PreTrainedModel) -> None:
        for alone in layers_alone(model, distinct_tokens(60)):
            torch.testing.assert_close(alone.z, alone.pattern @ alone.values)

    def test_the_output_of_all_heads_is_the_sum_of_each(self, model: PreTrainedModel) -> None:
        exact = parts.eager_copy(model)
        for attention, alone in zip(parts.attentions(exact), layers_alone(model, distinct_tokens(9)), strict=True):
            heads = [parts.head_output(exact, attention, head, z) for head, z in enumerate(alone.z)]
            nothing = parts.head_output(exact, attention, 0, torch.zeros_like(alone.z[0]))  # b_O, counted by each
            together = parts.output_projection(exact, attention)(torch.cat(list(alone.z), dim=-1))
            torch.testing.assert_close(sum(heads) - 3 * nothing, together)

    def test_the_model_is_left_as_it_was(self) -> None:
        model = BUILDERS["opt"]()
        attention_patterns(model, distinct_tokens(9))
        assert model.dtype == torch.float32
        assert model.config._attn_implementation == "sdpa"


class TestCopying:
    @pytest.mark.parametrize("name", ["opt", "opt_350m_style"])
    def test_the_yardstick_of_the_benchmark_computes_the_published_definition(self, name: str) -> None:
        model, tokens = BUILDERS[name](), distinct_tokens(40)
        expected = reference.copying(model, tokens[None], "published", bos=True).scores[0]
        torch.testing.assert_close(published_copying(model, tokens), expected, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("definition", "own", "previous"), [("head-output", 1.0, 1.0), ("olsson", 1.0, 1.0), ("published", 1.0, 0.0)]
    )
    def test_a_head_that_passes_its_tokens_on(self, definition: str, own: float, previous: float) -> None:
        n = 10
        assert identity_score(torch.eye(n), definition) == pytest.approx((own, 1.0, 0.0))
        shares = (0.0, 1 / (n - 1))  # nothing looks at itself, and the first of nine tokens looks at BOS
        assert identity_score(torch.eye(n).roll(-1, dims=1), definition) == pytest.approx((previous, *shares))

    def test_without_bos_nothing_attends_to_it(self) -> None:
        assert identity_score(torch.eye(10).roll(-1, dims=1), "published", bos=False)[2] == 0.0

    def test_share_of_rise(self) -> None:
        assert reference.share_of_rise([1.0, 2.0, 6.0, 4.0], 2) == pytest.approx(2.75 / 3.5)
        assert reference.share_of_rise([1.0, 2.0, 6.0, 4.0], 1) == 0.0
        assert reference.share_of_rise([0.5, 0.5], 0) == 0.0

    def test_shapes_and_ranges(self, model: PreTrainedModel) -> None:
        tokens = torch.stack([distinct_tokens(20, seed) for seed in range(2)])
        for definition in ("head-output", "published"):
            result = reference.copying(model, tokens, definition, bos=True)
            assert all(values.shape == (2, 3, 4) for values in result)
            assert all((values >= 0).all() and (values <= 1).all() for values in result)
        assert (reference.copying(model, tokens, "olsson", bos=True).scores.abs() <= 1).all()

    def test_eigenvalues_of_the_whole_vocabulary_are_the_same(self, model: PreTrainedModel) -> None:
        exact = parts.eager_copy(model)
        attention, embeddings = next(parts.attentions(exact)), parts.token_embeddings(exact)
        with torch.no_grad():
            whole = embeddings @ reference.ov_matrix(exact, attention, 1, embeddings.shape[1])
        eigenvalues = torch.linalg.eigvals(whole)
        expected = (eigenvalues.real.sum() / eigenvalues.abs().sum()).item()
        assert reference.eigenvalue_copying(model)[0, 1].item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("sign", [1.0, -1.0])
    def test_eigenvalues_of_a_head_that_copies_or_suppresses(self, sign: float) -> None:
        model = identity_model()
        model.model.decoder.layers[0].self_attn.out_proj.weight.data *= sign
        assert reference.eigenvalue_copying(model).item() == pytest.approx(sign)


class TestModels:
    @pytest.mark.parametrize("name", BUILDERS)
    def test_the_same_seed_gives_the_same_model(self, name: str) -> None:
        state = torch.get_rng_state()
        first, again, other = BUILDERS[name](), BUILDERS[name](), BUILDERS[name](seed=1)
        assert torch.equal(torch.get_rng_state(), state)
        for weights, same, different in zip(first.parameters(), again.parameters(), other.parameters(), strict=True):
            assert torch.equal(weights, same)
            assert not torch.equal(weights, different)

    def test_its_logits_are_finite_and_vary(self, model: PreTrainedModel) -> None:
        with torch.no_grad():
            logits = model(distinct_tokens(100)[None]).logits
        assert logits.shape == (1, 101, VOCAB)
        assert 0.5 < logits.std() < 5

    def test_tokenizers_fit_the_models(self) -> None:
        for tokenizer in (bpe_tokenizer(), word_tokenizer()):
            assert tokenizer.bos_token_id == BOS
            assert max(tokenizer.get_vocab().values()) < VOCAB
        assert bpe_tokenizer()("the cat")["input_ids"][0] == BOS
        assert bpe_tokenizer(bos=False).bos_token_id is None
        assert bpe_tokenizer().decode(bpe_tokenizer(bos=False)("the cat")["input_ids"]) == "the cat"
        assert word_tokenizer(bos=False)("w0 w129")["input_ids"] == [3, 132]


def moved_to_front(model: PreTrainedModel, layer: int) -> PreTrainedModel:
    copy = deepcopy(model)
    layers, kinds = parts.layers(copy), getattr(copy.config, "layer_types", None)
    layers[0], layers[layer] = layers[layer], layers[0]
    if kinds is not None:
        kinds[0], kinds[layer] = kinds[layer], kinds[0]
    return copy


def identity_model(size: int = 16) -> OPTForCausalLM:
    """Model of one head as wide as the residual stream, which passes a token's unit vector on to that token's logit."""
    config = OPTConfig(
        vocab_size=size, hidden_size=size, word_embed_proj_dim=size, num_attention_heads=1, num_hidden_layers=1
    )
    model = OPTForCausalLM(config)
    attention = model.model.decoder.layers[0].self_attn
    for weights in (model.lm_head.weight, attention.v_proj.weight, attention.out_proj.weight):
        weights.data = torch.eye(size)
    model.model.decoder.embed_tokens.weight = model.lm_head.weight
    return model


def identity_score(pattern: torch.Tensor, definition: str, bos: bool = True) -> tuple[float, float, float]:
    """The copying score, and shares of self- and BOS-attention, of a head with this pattern in `identity_model`."""
    model = parts.eager_copy(identity_model())
    tokens = torch.arange(2, 2 + len(pattern))
    pattern, values = pattern.double(), torch.eye(16).double()[tokens]
    alone = LayerAlone(pattern[None], (pattern @ values)[None], values[None])
    with torch.no_grad():
        return reference.head_copying(model, next(parts.attentions(model)), alone, 0, tokens, definition, bos)

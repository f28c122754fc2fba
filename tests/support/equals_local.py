"""Tests that a model has the same numbers wherever it runs as in memory."""

from dataclasses import replace

import pytest
import torch

from headcount import importance, induction
from headcount.importance import Example, ablated
from headcount.importance.ablation.reference import reference_means
from headcount.importance.evaluation import encode_examples
from headcount.results import InputError
from headcount.tracing import masked

SHUFFLED = [Example("do re mi", " fa", "mi re do"), Example("so la ti", " do", "la so ti")]
TEXT = "do re mi fa do re mi"
EXAMPLES = [Example(context="do re mi", continuation=" fa"), Example(context="so la", continuation=" ti do")]


def close(values, expected, within=1e-5):
    """Assert that values are close, whatever device they are on."""
    torch.testing.assert_close(values, expected, atol=within, rtol=within, check_device=False)


class EqualsLocal:
    """The same model twice: `local` in memory, `far` wherever else it can run.

    Attributes:
        within: The largest difference of numbers, absolute and relative.
    """

    within = 1e-5

    def close(self, values, expected):
        close(values, expected, self.within)

    def test_logits_and_every_activation(self, local, far):
        tokens = torch.randint(0, 100, (2, 9), generator=torch.Generator().manual_seed(0))
        logits, cache = local.run_with_cache(tokens)
        remote_logits, remote_cache = far.run_with_cache(tokens)
        self.close(remote_logits, logits)
        self.close(far(tokens), local(tokens))  # another computation of attention than where all activations are cached
        assert set(remote_cache) == set(cache)
        for name in cache:
            self.close(remote_cache[name], cache[name])

    def test_a_function_of_the_user(self, local, far):
        scale = 3.0

        def louder(z, hook):
            return z * scale if hook.layer() == 1 else None

        hooks = [("blocks.1.attn.hook_z", louder), ("blocks.0.hook_mlp_out", lambda value, hook: 0 * value)]
        logits, expected = (model.run_with_hooks(TEXT, hooks) for model in (far, local))
        self.close(logits, expected)
        assert not torch.allclose(logits.cpu(), local(TEXT))

    def test_parts_removed(self, local, far):
        for parts in ({"heads": [(0, 1), (1, 0)]}, {"ffns": [1]}):
            with masked(far, **parts), masked(local, **parts):
                self.close(far(TEXT), local(TEXT))

    def test_parts_ablated(self, local, far):
        patched = [replace(example, counterfactual=" ".join(example.context.split()[::-1])) for example in EXAMPLES]
        tokens = torch.tensor([encode_examples(local, EXAMPLES, "joint")[0].ids])
        for kind, reference in (("mean", EXAMPLES), ("resample", EXAMPLES), ("patch", patched[:1])):
            parts = {"heads": [(0, 1), (1, 0)], "ffns": [1], "kind": kind, "reference": reference}
            with ablated(far, **parts), ablated(local, **parts):
                self.close(far(tokens), local(tokens))
                on_local, on_far = (importance.head_importance(model, EXAMPLES[:1]) for model in (local, far))
                self.close(on_far.values, on_local.values)
            kinds = {"kind": kind, "reference": reference}
            scores = [importance.head_importance(model, EXAMPLES[:1], "oracle", **kinds) for model in (local, far)]
            self.close(scores[1].values, scores[0].values)
        task, parts = importance.load_task("plural"), {"kind": "resample"}
        networks = [importance.ffn_importance(model, task, 1, 2, **parts).extras["log_p"] for model in (local, far)]
        self.close(networks[1], networks[0])

    def test_means_over_reference_examples(self, local, far):
        on_local, on_far = (reference_means(model, encode_examples(model, EXAMPLES, "joint")) for model in (local, far))
        self.close(on_far.heads, on_local.heads)
        self.close(on_far.ffns, on_local.ffns)

    def test_induction_scores(self, local, far):
        tokens = induction.repeated_tokens(local, 6, 3)
        for definition in ("successor", "published"):
            on_local, on_far = (induction.prefix_matching(model, tokens, 6, definition) for model in (local, far))
            self.close(on_far.values, on_local.values)
            self.close(on_far.variance, on_local.variance)
        distinct = tokens[:, :7]
        for definition in ("head-output", "published", "olsson"):
            on_local, on_far = (induction.copying(model, distinct, definition) for model in (local, far))
            self.close(on_far.values, on_local.values)
            self.close(on_far.extras["self_attention"], on_local.extras["self_attention"])

    def test_head_atlas(self, local, far):
        tokens = induction.repeated_tokens(local, 6, 2)
        options = {"sequences": tokens, "text": [tokens[0, :9], tokens[1]], "control": False}

        @induction.register_detector
        def three_back(query, key):
            return query - key == 3

        try:
            on_local, on_far = (induction.head_atlas(model, **options) for model in (local, far))
        finally:
            induction.forget_detector("three_back")
        for name, scores in on_local.scores.items():
            self.close(on_far.scores[name].values, scores.values)
        self.close(on_far.examples.attention, on_local.examples.attention)

    @pytest.mark.filterwarnings("ignore:.*produces no token of any needle")
    def test_what_heads_write(self, local, far):
        tokens = induction.repeated_tokens(local, 6, 2)
        if local.variant.post_norm:
            for measure in (lambda model: induction.copy_suppression(model, tokens), induction.successor):
                with pytest.raises(InputError, match="in the residual stream itself"):
                    measure(far)
            return
        syllables = {"syllables": ["ba", "ca", "da", "fa", "ga"]}
        for measure in (
            lambda model: induction.copy_suppression(model, [tokens[0], tokens[1, :9]], k=20, n_queries=3),
            lambda model: induction.successor(model, syllables),
            lambda model: induction.retrieval(model, 2, length=20, needle=3),
        ):
            on_local, on_far = (measure(model) for model in (local, far))
            self.close(on_far.values, on_local.values)
            for name, extra in on_local.extras.items():
                self.close(on_far.extras[name], extra)

    def test_composition(self, local, far):
        if far.server is not None:
            with pytest.raises(InputError, match="on a server: open the model here"):
                induction.composition(far)
        elif local.variant.post_norm:
            with pytest.raises(InputError, match="in the residual stream itself"):
                induction.composition(far)
        else:
            on_local, on_far = (induction.composition(model) for model in (local, far))
            self.close(on_far.values.nan_to_num(), on_local.values.nan_to_num())

    def test_loss_by_repeat(self, local, far):
        on_local, on_far = (induction.repeat_loss(model, 3, period=6) for model in (local, far))
        self.close(on_far.loss, on_local.loss)

    @pytest.mark.parametrize(
        "settings",
        [{}, {"method": "oracle"}, {"method": "verified", "kind": "patch"}, {"baseline": "patch", "steps": 2}],
        ids=["gradient", "oracle", "verified", "steps"],
    )
    def test_head_importance(self, local, far, settings):
        on_local, on_far = (importance.head_importance(model, SHUFFLED, **settings) for model in (local, far))
        self.close(on_far.values, on_local.values)
        self.close(on_far.folds, on_local.folds)
        assert on_local.values.any()

    def test_interactions(self, local, far):
        numbers = []
        for model in (local, far):
            rows = importance.interaction(model, EXAMPLES, [((1, 0), (0, 1)), ((0, 1), (0, 0))], "mean").rows
            numbers.append(torch.tensor([row[2:] for row in rows]))  # the first two are the heads' names
        self.close(numbers[1], numbers[0])

    def test_accuracy_and_ffn_importance(self, local, far):
        task = importance.load_task("plural")
        on_local, on_far = (importance.accuracy(model, task, 1, 8) for model in (local, far))
        self.close(on_far.gold_log_p, on_local.gold_log_p)
        assert on_far.value == on_local.value
        on_local, on_far = (importance.ffn_importance(model, task, 1, 8) for model in (local, far))
        self.close(on_far.extras["log_p"], on_local.extras["log_p"])
        estimates = [importance.ffn_importance(model, task, 1, 8, method="gradient") for model in (local, far)]
        self.close(estimates[1].values, estimates[0].values)

    def test_attention_of_every_head(self, local, far):
        on_local, on_far = (induction.record_patterns(model, TEXT) for model in (local, far))
        assert (on_far.weights.int() - on_local.weights.int()).abs().max() <= 1
        assert on_far.tokens == on_local.tokens

    def test_one_head_at_a_glance(self, local, far):
        on_local, on_far = (induction.head_profile(model, 1, 1, TEXT) for model in (local, far))
        self.close(on_far.pattern, on_local.pattern)
        self.close(on_far.raised_logits, on_local.raised_logits)
        assert on_far.raised == on_local.raised

    def test_paths_between_heads(self, local, far):
        for path in ["total"] if local.variant.post_norm else ["direct", "total"]:
            on_local, on_far = (
                induction.feeding_heads(model, (2, 1), path=path, period=5, n_sequences=1) for model in (local, far)
            )
            self.close(on_far.values[:2], on_local.values[:2])
            assert on_local.values[:2].any()

    def test_function_vector_heads(self, local, far):
        task = importance.load_task("plural")
        for method in ("gradient", "patch"):
            on_local, on_far = (importance.function_vector_heads(model, task, 2, method, 2) for model in (local, far))
            scale = float(on_local.values.abs().max())  # probabilities are small: these models know no words
            close(on_far.values / scale, on_local.values / scale, 10 * self.within)

"""What a model must give wherever it runs: the numbers of the same model in memory."""

import pytest
import torch

from headcount import importance, induction
from headcount.importance import Example
from headcount.tracing import masked

TEXT = "do re mi fa do re mi"
EXAMPLES = [Example(context="do re mi", continuation=" fa"), Example(context="so la", continuation=" ti do")]


def close(came, expected, within=1e-5):
    """Wherever the two are."""
    torch.testing.assert_close(came, expected, atol=within, rtol=within, check_device=False)


class EqualsLocal:
    """The same model twice: `local` in memory, `far` wherever else it can run.

    Attributes:
        within: How far numbers may be apart, absolute and relative.
    """

    within = 1e-5

    def close(self, came, expected):
        close(came, expected, self.within)

    def test_logits_and_every_activation(self, local, far):
        tokens = torch.randint(0, 100, (2, 9), generator=torch.Generator().manual_seed(0))
        logits, cache = local.run_with_cache(tokens)
        remote_logits, remote_cache = far.run_with_cache(tokens)
        self.close(remote_logits, logits)
        self.close(far(tokens), local(tokens))  # another computation of attention than where all activations are kept
        assert set(remote_cache) == set(cache)
        for name in cache:
            self.close(remote_cache[name], cache[name])

    def test_a_function_that_a_person_wrote(self, local, far):
        scale = 3.0

        def louder(z, hook):
            return z * scale if hook.layer() == 1 else None

        hooks = [("blocks.1.attn.hook_z", louder), ("blocks.0.hook_mlp_out", lambda value, hook: 0 * value)]
        came, expected = (model.run_with_hooks(TEXT, hooks) for model in (far, local))
        self.close(came, expected)
        assert not torch.allclose(came.cpu(), local(TEXT))

    def test_parts_removed(self, local, far):
        for parts in ({"heads": [(0, 1), (1, 0)]}, {"ffns": [1]}):
            with masked(far, **parts), masked(local, **parts):
                self.close(far(TEXT), local(TEXT))

    def test_induction_scores(self, local, far):
        tokens = induction.repeated_tokens(local, 6, 3)
        for definition in ("successor", "published"):
            ours, theirs = (induction.prefix_matching(model, tokens, 6, definition) for model in (local, far))
            self.close(theirs.values, ours.values)
            self.close(theirs.variance, ours.variance)
        distinct = tokens[:, :7]
        for definition in ("head-output", "published", "olsson"):
            ours, theirs = (induction.copying(model, distinct, definition) for model in (local, far))
            self.close(theirs.values, ours.values)
            self.close(theirs.extras["self_attention"], ours.extras["self_attention"])

    def test_loss_by_repeat(self, local, far):
        ours, theirs = (induction.repeat_loss(model, 3, period=6) for model in (local, far))
        self.close(theirs.loss, ours.loss)

    @pytest.mark.parametrize("method", ["gradient", "oracle"])
    def test_head_importance(self, local, far, method):
        ours, theirs = (importance.head_importance(model, EXAMPLES, method) for model in (local, far))
        self.close(theirs.values, ours.values)
        self.close(theirs.folds, ours.folds)
        assert ours.values.any()

    def test_accuracy_and_ffn_importance(self, local, far):
        task = importance.load_task("plural")
        ours, theirs = (importance.accuracy(model, task, 1, 8) for model in (local, far))
        self.close(theirs.gold_log_p, ours.gold_log_p)
        assert theirs.value == ours.value
        ours, theirs = (importance.ffn_importance(model, task, 1, 8) for model in (local, far))
        self.close(theirs.extras["log_p"], ours.extras["log_p"])

    def test_attention_of_every_head(self, local, far):
        ours, theirs = (induction.record_patterns(model, TEXT) for model in (local, far))
        assert (theirs.weights.int() - ours.weights.int()).abs().max() <= 1
        assert theirs.tokens == ours.tokens

    def test_one_head_at_a_glance(self, local, far):
        ours, theirs = (induction.head_profile(model, 1, 1, TEXT) for model in (local, far))
        self.close(theirs.pattern, ours.pattern)
        self.close(theirs.raised_logits, ours.raised_logits)
        assert theirs.raised == ours.raised

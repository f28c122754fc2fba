"""Head importance equals full autograd, one example at a time, and predicts the effect of scaling a head down."""

import pytest
import torch
from reference.importance import head_sums, log_likelihood
from reference.models import BUILDERS, bpe_tokenizer, opt

from headcount.importance import Example, head_importance
from headcount.importance.attribution import gradient_passes
from headcount.importance.attribution.ablation_path import FROM_ZERO
from headcount.importance.attribution.gradient_passes import gradient_contributions
from headcount.importance.attribution.gradients import layer_contributions
from headcount.importance.likelihoods.encoding import encode
from headcount.results import InputError
from headcount.tracing import load_model

TOKENIZER = bpe_tokenizer()
EXAMPLES = [
    Example("the cat sat on the", " mat and"),
    Example("a b c a b", " c"),
    Example("one two three four five six seven", " eight nine ten"),
    Example("yes", " no"),
]
models = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


def encoded():
    return [encode(TOKENIZER, example.context, example.continuation, longest=256) for example in EXAMPLES]


@models
@pytest.mark.parametrize("reduction", ["token", "example", "signed"])
def test_it_equals_full_autograd_one_example_at_a_time(build, reduction):
    """In float64: single sums of these models nearly cancel, and float32 leaves 1e-4 of them on some processors."""
    hf = build().double()
    absolute, signed = zip(
        *(head_sums(build().double(), list(request.ids), request.start) for request in encoded()), strict=True
    )
    absolute, signed = torch.stack(absolute), torch.stack(signed)
    if reduction == "token":
        read = sum(len(request.ids) - 1 for request in encoded())
        expected = absolute.sum(0) / read
        expected[-1] = absolute[:, -1].sum(0) / sum(len(request.ids) - request.start for request in encoded())
    else:
        expected = (signed.abs() if reduction == "example" else signed).mean(0)
    scores = head_importance(load_model(hf, tokenizer=TOKENIZER), EXAMPLES, reduction=reduction)
    assert torch.allclose(scores.values, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()) + 1e-9)
    assert scores.n == len(EXAMPLES)
    assert torch.isfinite(scores.variance).all()


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
def test_the_batch_size_does_not_matter(batch_size):
    model = load_model(opt(), tokenizer=TOKENIZER)
    expected = head_importance(model, EXAMPLES, batch_size=2).values
    assert torch.allclose(head_importance(model, EXAMPLES, batch_size=batch_size).values, expected, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_tokenizers_padding_side_does_not_matter(side):
    tokenizer = bpe_tokenizer()
    tokenizer.padding_side = side
    expected = head_importance(load_model(opt(), tokenizer=TOKENIZER), EXAMPLES, batch_size=1).values
    scores = head_importance(load_model(opt(), tokenizer=tokenizer), EXAMPLES, batch_size=len(EXAMPLES))
    assert torch.allclose(scores.values, expected, rtol=1e-5)


@models
def test_the_signed_sum_is_the_slope_of_the_loss_as_a_head_fades(build):
    hf = build()
    model, (request, *_) = load_model(hf), encoded()
    signed = gradient_contributions(model, [request], 1.0).signed[0]
    step = 2e-3
    for layer, head in [(0, 1), (2, 3)]:

        def loss(gate, layer=layer, head=head):
            def scale(z, hook):
                z = z.clone()
                z[:, :, head] *= gate
                return z

            ids = torch.tensor([request.ids[:-1]])
            log_p = model.run_with_hooks(ids, [(f"blocks.{layer}.attn.hook_z", scale)])[0].double().log_softmax(-1)
            wanted = [log_p[place - 1, request.ids[place]].item() for place in range(request.start, len(request.ids))]
            return -sum(wanted) / len(wanted)

        slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
        assert slope == pytest.approx(float(signed[layer, head]), rel=2e-2, abs=2e-5)


def test_weights_get_no_gradients_and_keep_their_setting():
    hf = opt()
    head_importance(load_model(hf, tokenizer=TOKENIZER), EXAMPLES)
    assert all(parameter.grad is None for parameter in hf.parameters())
    assert all(parameter.requires_grad for parameter in hf.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_with_float32(dtype):
    exact = head_importance(load_model(opt(), tokenizer=TOKENIZER), EXAMPLES)
    half = head_importance(load_model(opt().to(dtype), tokenizer=TOKENIZER), EXAMPLES)
    assert torch.corrcoef(torch.stack([exact.values.flatten(), half.values.flatten()]))[0, 1] > 0.99
    assert half.provenance["loss_scale"] == (1024 if dtype == torch.float16 else 1)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_gradients_that_become_infinite_are_computed_again_with_less(batch_size):
    model = load_model(opt().half(), tokenizer=TOKENIZER)
    requests = [*encoded(), encode(TOKENIZER, "yes", " yes", longest=256)]
    expected = gradient_contributions(model, requests, 1024.0)
    for scale in (2.0**21, 2.0**40):
        _, finite = (
            torch.stack(
                [
                    example.signed.isfinite().all()
                    for example in gradient_passes._by_example(model, requests, scale / by, 4, None, FROM_ZERO)
                ]
            )
            for by in (32, 1)
        )
        assert not finite.all()
        repeated = gradient_contributions(model, requests, scale, batch_size)
        assert torch.allclose(
            repeated.signed, expected.signed, rtol=0.05, atol=2e-3 * float(expected.signed.abs().max())
        )
        assert torch.allclose(
            repeated.absolute, expected.absolute, rtol=0.05, atol=2e-3 * float(expected.absolute.max())
        )


def test_the_oracle_is_the_drop_of_the_log_probability():
    hf = opt()
    scores = head_importance(load_model(hf, tokenizer=TOKENIZER), EXAMPLES, method="oracle")
    silenced = opt()
    silenced.model.decoder.layers[1].self_attn.out_proj.weight.data[:, 16:24] = 0  # head 2 of 4, 8 wide
    drops = [
        log_likelihood(hf, list(request.ids), request.start)
        - log_likelihood(silenced, list(request.ids), request.start)
        for request in encoded()
    ]
    assert float(scores.values[1, 2]) == pytest.approx(sum(drops) / len(drops), abs=1e-4)


def test_padding_adds_nothing():
    z, gradient = torch.randn(1, 5, 2, 3), torch.randn(1, 5, 2, 3)
    gradient[:, 3:] = 0
    assert torch.equal(layer_contributions(z, gradient)[0], layer_contributions(z[:, :3], gradient[:, :3])[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "at least one example"),
        ((EXAMPLES, "grad"), "method must be gradient, verified or oracle, not 'grad'"),
        ((EXAMPLES, "gradient", "sum"), "reduction must be one of token, example, drop, signed, not 'sum'"),
        (([Example("a", "")],), "has no tokens"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        head_importance(load_model(opt(), tokenizer=TOKENIZER), *arguments)

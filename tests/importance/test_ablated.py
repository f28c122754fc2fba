"""Ablation by zeros, means, other prompts and counterfactual ones equals replacing values by hand."""

from itertools import product

import pytest
import torch
from reference import ablation
from reference.models import BUILDERS, bpe_tokenizer, opt

import headcount as hc
from headcount.importance import Example, ablated, ffn_importance, head_importance, load_task
from headcount.importance.ablation.ablated import replacement_from
from headcount.importance.ablation.reference import resampled
from headcount.importance.evaluation import encode_examples, encode_task
from headcount.importance.likelihoods.encoding import encode
from headcount.importance.likelihoods.log_likelihoods import log_likelihoods
from headcount.results import InputError
from headcount.tracing import load_model, masked, provenance

TOKENIZER = bpe_tokenizer()
REFERENCE = [
    Example("the cat sat on the", " mat and", "the sat cat on the"),
    Example("a b c a b", " c", "a c b a b"),
    Example("one two three four five six seven", " eight nine ten", "one three two five four six seven"),
    Example("d e f d e", " f", "d f e d e"),
]
HEADS, FFNS = [(0, 1), (1, 0), (1, 3), (2, 2)], [1]
two_models = pytest.mark.parametrize("build", [BUILDERS["opt"], BUILDERS["llama_wide_heads"]])


def rows(examples=REFERENCE):
    encoded = [encode(TOKENIZER, example.context, example.continuation, longest=256) for example in examples]
    return [list(request.ids) for request in encoded]


def other_values(hf, kind, ids, heads, ffns, seed=0):
    """The values in the place of some parts' outputs in a run over some tokens, the reference being REFERENCE."""
    if kind == "zero":
        width = ablation.activations(hf, ids)[0][0].shape[-1] // 4
        values = {place: torch.zeros(width) for place in heads} | {
            (layer, None): torch.zeros(hf.config.hidden_size) for layer in ffns
        }
    elif kind == "mean":
        values = ablation.mean_values(hf, [row[:-1] for row in rows()], heads, ffns)
    elif kind == "resample":
        (other,) = resampled([tuple(ids)], [tuple(row[:-1]) for row in rows()], seed)
        values = ablation.values_on(hf, list(other), heads, ffns)
    else:
        shuffled = rows([Example(example.counterfactual, example.continuation) for example in REFERENCE])
        (other,) = [other for row, other in zip(rows(), shuffled, strict=True) if row[: len(ids)] == ids]
        values = ablation.values_on(hf, other[: len(ids)], heads, ffns)
    return values


@two_models
@pytest.mark.parametrize("kind", ["zero", "mean", "resample", "patch"])
def test_it_equals_values_put_in_by_hand(build, kind):
    model = load_model(build(), tokenizer=TOKENIZER)
    ids = rows()[1][:-1]
    reference = None if kind == "zero" else REFERENCE
    for heads, ffns in ((HEADS, FFNS), (HEADS, []), ([], FFNS)):
        expected = ablation.replaced_logits(build(), ids, other_values(build(), kind, ids, heads, ffns))
        with ablated(model, heads, ffns, kind=kind, reference=reference):
            logits = model(torch.tensor([ids]))[0]
        assert torch.allclose(logits, expected, atol=1e-5)
        assert not torch.allclose(logits, model(torch.tensor([ids]))[0], atol=1e-3)


@two_models
@pytest.mark.parametrize("kind", ["mean", "resample", "patch"])
def test_the_oracle_of_heads_ablates_one_at_a_time(build, kind):
    hf, model = build(), load_model(build(), tokenizer=TOKENIZER)
    reference = None if kind == "patch" else REFERENCE
    scores = head_importance(model, REFERENCE, "oracle", kind=kind, reference=reference, seed=2)
    drops, heads = torch.zeros(len(REFERENCE), 3, 4), list(product(range(3), range(4)))
    for number, (ids, request) in enumerate(zip(rows(), encode_examples(model, REFERENCE, "joint"), strict=True)):
        whole = ablation.log_likelihood(ablation.replaced_logits(hf, ids[:-1], {}), ids, request.start)
        values = other_values(hf, kind, ids[:-1], heads, [], 2)
        for layer, head in heads:
            logits = ablation.replaced_logits(hf, ids[:-1], {(layer, head): values[layer, head]})
            drops[number, layer, head] = whole - ablation.log_likelihood(logits, ids, request.start)
    assert torch.allclose(scores.values, drops.mean(0), atol=1e-5)
    assert torch.allclose(scores.variance, drops.var(0), atol=1e-4)
    assert scores.definition == f"oracle, log-probability, {kind} ablation"
    assert scores.provenance["ablation"]["kind"] == kind
    assert scores.provenance["ablation"]["reference"]["also_measured"] == 4
    assert len(torch.unique(scores.values)) == 12


@two_models
@pytest.mark.parametrize("kind", ["mean", "resample", "patch"])
def test_the_oracle_of_networks_ablates_one_at_a_time(build, kind):
    hf, model, task = build(), load_model(build(), tokenizer=TOKENIZER), load_task("plural")
    scores = ffn_importance(model, task, shots=2, limit=3, kind=kind, seed=1)
    encoded = encode_task(model, task, 2, 3, 1)
    reference = [row.ids[:-1] for row in encode_examples(model, task.reference(2, seed=1), task.encoding)]
    drops = torch.zeros(3)
    for document, requests in zip(encoded.documents, encoded.requests, strict=True):
        example, request = document.requests[document.gold[0]], requests[document.gold[0]]
        ids = list(request.ids)
        whole = ablation.log_likelihood(ablation.replaced_logits(hf, ids[:-1], {}), ids, request.start)
        if kind == "mean":
            values = ablation.mean_values(hf, [list(row) for row in reference], [], [0, 1, 2])
        elif kind == "resample":
            values = ablation.values_on(hf, list(resampled([request.ids[:-1]], reference, 1)[0]), [], [0, 1, 2])
        else:
            shuffled = [Example(example.counterfactual, example.continuation)]
            (other,) = encode_examples(model, shuffled, task.encoding)
            values = ablation.values_on(hf, list(other.ids[:-1]), [], [0, 1, 2])
        for layer in range(3):
            logits = ablation.replaced_logits(hf, ids[:-1], {(layer, None): values[layer, None]})
            drops[layer] += (whole - ablation.log_likelihood(logits, ids, request.start)) / 3
    assert torch.allclose(scores.extras["log_p"], drops, atol=1e-4)
    assert scores.definition == f"oracle, accuracy, {kind} ablation"


def test_zero_is_masked_to_the_bit():
    model = load_model(opt(), tokenizer=TOKENIZER)
    tokens = torch.tensor([rows()[0]])
    with masked(model, HEADS, FFNS):
        expected = model(tokens)
    with ablated(model, HEADS, FFNS) as same:
        assert torch.equal(same(tokens), expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["mean", "resample", "patch"])
def test_a_padded_batch_has_the_values_of_its_rows_alone(kind, side):
    model = load_model(opt(), tokenizer=TOKENIZER)
    short, long = rows()[1], rows()[2]
    gap = [0] * (len(long) - len(short))
    tokens = torch.tensor([short + gap if side == "right" else gap + short, long])
    mask = torch.tensor([[1] * len(short) + gap if side == "right" else gap + [1] * len(short), [1] * len(long)])
    with ablated(model, HEADS, FFNS, kind=kind, reference=REFERENCE):
        together = model(tokens, attention_mask=mask)
        alone = [model(torch.tensor([row]))[0] for row in (short, long)]
    assert torch.allclose(together[0][mask[0].bool()], alone[0], atol=1e-5)
    assert torch.allclose(together[1], alone[1], atol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "resample", "patch"])
def test_documents_in_one_row_have_the_log_likelihoods_of_their_requests_alone(kind):
    hf, task = opt(), load_task("plural")
    model = load_model(opt(), tokenizer=TOKENIZER)
    encoded = encode_task(model, task, 2, 3, 0)
    examples = [request for document in encoded.documents for request in document.requests]
    reference = examples if kind == "patch" else task.reference(2, 6)
    ablation_rows = [list(request.ids[:-1]) for request in encode_examples(model, reference, task.encoding)]
    with ablated(model, HEADS, FFNS, kind=kind, reference=reference, seed=3, encoding=task.encoding):
        scores = log_likelihoods(model, encoded.requests)
    for document, requests, values in zip(encoded.documents, encoded.requests, scores, strict=True):
        for example, request, value in zip(document.requests, requests, values, strict=True):
            ids = list(request.ids)
            if kind == "mean":
                put = ablation.mean_values(hf, ablation_rows, HEADS, FFNS)
            elif kind == "resample":
                (other,) = resampled([tuple(ids[:-1])], [tuple(row) for row in ablation_rows], 3)
                put = ablation.values_on(hf, list(other), HEADS, FFNS)
            else:
                shuffled = Example(example.counterfactual, example.continuation)
                (other,) = encode_examples(model, [shuffled], task.encoding)
                put = ablation.values_on(hf, list(other.ids[:-1]), HEADS, FFNS)
            logits = ablation.replaced_logits(hf, ids[:-1], put)
            assert value.log_p == pytest.approx(ablation.log_likelihood(logits, ids, request.start), abs=1e-4)


def test_the_seed_of_resampling_fixes_the_numbers():
    model = load_model(opt(), tokenizer=TOKENIZER)
    tokens = torch.tensor([rows()[1]])
    logits = []
    for seed in (0, 0, *range(1, 8)):
        with ablated(model, HEADS, kind="resample", reference=REFERENCE, seed=seed):
            logits.append(model(tokens))
    assert torch.equal(logits[0], logits[1])
    assert any(not torch.allclose(logits[0], other) for other in logits[2:])


def test_blocks_nest_and_the_inner_value_stands():
    model = load_model(opt(), tokenizer=TOKENIZER)
    ids = rows()[1]
    with masked(model, [(1, 0)]), ablated(model, [(2, 1)], kind="mean", reference=REFERENCE):
        both = model(torch.tensor([ids]))[0]
    hf = opt()
    zero = {(1, 0): torch.zeros(8)}
    total, count = torch.zeros(32), 0
    for row in rows():  # the mean in the model without the outer block's head
        handle = ablation.output_projection(hf, 1).register_forward_pre_hook(
            lambda module, args: (torch.cat([torch.zeros_like(args[0][..., :8]), args[0][..., 8:]], -1),)
        )
        z = ablation.activations(hf, row[:-1])[0][2]
        handle.remove()
        total, count = total + z.sum(0), count + len(z)
    values = zero | {(2, 1): total[8:16] / count}
    assert torch.allclose(both, ablation.replaced_logits(opt(), ids, values), atol=1e-5)
    with ablated(model, [(1, 0)], kind="mean", reference=REFERENCE), masked(model, [(1, 0)]):
        assert torch.allclose(model(torch.tensor([ids]))[0], ablation.replaced_logits(opt(), ids, zero), atol=1e-5)


def test_provenance_holds_the_kind_and_the_reference():
    model = load_model(opt(), tokenizer=TOKENIZER)
    with ablated(model, [(1, 0)], [2], kind="resample", reference=REFERENCE, seed=5):
        (record,) = provenance(model)["ablated"]
    assert record["reference"].pop("digest")
    assert record == {
        "kind": "resample",
        "heads": [[1, 0]],
        "ffns": [2],
        "reference": {"n": 4},
        "seed": 5,
    }
    with ablated(model, [(1, 0)]):
        assert "ablated" not in provenance(model)
    digests = set()
    for reference in (REFERENCE, REFERENCE[::-1], REFERENCE[:3]):
        digests.add(replacement_from(model, "mean", reference).record["reference"]["digest"])
    assert len(digests) == 2


def test_what_has_no_meaning_is_refused():
    model = load_model(opt(), tokenizer=TOKENIZER)
    tokens = torch.tensor([rows()[1]])
    for options, error in [
        ({"kind": "median"}, "median"),
        ({"kind": "mean"}, "needs reference="),
        ({"kind": "zero", "reference": REFERENCE}, "needs no reference"),
        ({"kind": "patch", "reference": [Example("a b", " c")]}, "have no counterfactual"),
        ({"kind": "resample", "reference": replacement_from(model, "mean", REFERENCE)}, "kind='mean', not 'resample'"),
    ]:
        with pytest.raises(InputError, match=error), ablated(model, HEADS, **options):
            pass
    with (
        ablated(model, HEADS, kind="patch", reference=REFERENCE),
        pytest.raises(InputError, match="is not among the 4"),
    ):
        model(tokens.flip(1))
    with ablated(model, HEADS, kind="resample", reference=REFERENCE):
        for measure in (
            lambda: hc.prefix_matching(model, torch.arange(3, 12).repeat(1, 4), 9),
            lambda: hc.copying(model, tokens),
        ):
            with pytest.raises(InputError, match="nothing about scores on random tokens"):
                measure()


def test_the_reference_of_a_task_is_the_end_of_its_pool():
    task = load_task("antonym")
    pool = task.examples(shots=1, limit=None)
    assert task.reference(shots=1, limit=7) == pool[-7:]
    assert task.reference(shots=1) == pool[-100:]

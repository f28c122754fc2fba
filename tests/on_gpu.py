"""Every measurement on a GPU, compared with the same one on the CPU. Run by hand on a machine with a GPU:

python -m pytest tests/on_gpu.py
"""

import copy
import json
from itertools import product

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer, build
from support.equals_local import EXAMPLES, TEXT, EqualsLocal, close
from support.headcount_runs import SMALL_STUDY, run
from transformers import Gemma2Config

import headcount as hc
from headcount import importance, induction
from headcount.planning import Shape, measure_this_machine
from headcount.results import HeadScores, open_run
from headcount.tracing import AttentionCall, load_model, masked, pruned, randomised, save_pruned

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 12}


def gemma2():
    """A cap on attention scores and a sliding window in every other layer."""
    config = Gemma2Config(**SIZES, intermediate_size=48, vocab_size=168, query_pre_attn_scalar=9, sliding_window=30)
    hf = build(config, 0)
    hf.set_attn_implementation("eager")
    return hf


ALL = BUILDERS | {"gemma2": gemma2}


@pytest.fixture(scope="module", params=ALL)
def local(request):
    return load_model(ALL[request.param]().requires_grad_(False), tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def far(local):
    return load_model(copy.deepcopy(local.hf).to("cuda"), tokenizer=local.tokenizer)


@pytest.fixture(scope="module")
def toy():
    return load_model("tiny-opt", device_map="cuda")


class TestEqualsLocal(EqualsLocal):
    within = 5e-5  # a GPU adds in another order, which logits of the order of 10 show

    def test_where_they_run(self, local, far):
        """Also with a tokenizer, for which nnsight opens a pipeline, which would move a model to the GPU."""
        assert (local.runs_on, local(TEXT).device.type) == ("cpu", "cpu")
        assert (far.runs_on, far(TEXT).device.type) == ("cuda", "cuda")
        assert load_model("tiny-opt").runs_on == "cpu"

    def test_results_are_on_the_cpu(self, far):
        tokens = induction.repeated_tokens(far, 6, 3)
        for scores in (induction.prefix_matching(far, tokens, 6), importance.head_importance(far, EXAMPLES)):
            assert scores.values.device.type == scores.variance.device.type == "cpu"

    def test_long_sequences_with_windows(self, local, far):
        tokens = torch.randint(3, 160, (3, 1, 30)).repeat(1, 1, 4).flatten(1)
        expected, scores = (induction.prefix_matching(model, tokens, 30) for model in (local, far))
        self.close(scores.values, expected.values)

    def test_copying_by_eigenvalues(self, local, far):
        expected, scores = (induction.copying(model, torch.arange(2, 9)[None], "eigenvalue") for model in (local, far))
        self.close(scores.values, expected.values)

    def test_pruned_parts(self, local, far, tmp_path):
        removed = torch.rand(3, 4, generator=torch.Generator().manual_seed(0)) < 0.5
        small = pruned(far, removed, [1])
        with masked(local, removed, [1]):
            self.close(small(TEXT), local(TEXT))
        save_pruned(small, tmp_path / "small")
        self.close(load_model(tmp_path / "small", device_map="cuda")(TEXT), small(TEXT))

    def test_random_weights(self, local, far):
        self.close(randomised(far)(TEXT), randomised(local)(TEXT))

    def test_fingerprints_are_equal(self, local, far):
        assert far.fingerprint() == local.fingerprint()


GROUPED = (1, 2, 4)
DTYPES = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


@pytest.mark.parametrize(("dtype", "within"), DTYPES.items(), ids=str)
@pytest.mark.parametrize("window", [None, 9])
@pytest.mark.parametrize("pos", [1, 37, 401])
def test_attention_of_any_width(dtype, within, window, pos):
    """Also of widths and lengths that fused kernels need padded or aligned."""
    for d_head, kv_heads in product((1, 6, 12, 64, 80, 128), GROUPED):
        q, k, v = (torch.randn(2, heads, pos, d_head, device="cuda", dtype=dtype) for heads in (4, kv_heads, kv_heads))
        call = AttentionCall.of((torch.nn.Module(), q, k, v, None), {"sliding_window": window})
        exact = AttentionCall.of(
            (torch.nn.Module(), *(x.double().cpu() for x in (q, k, v)), None), {"sliding_window": window}
        )
        output, log_sum_exp = call.attend()
        expected = exact.scores().logsumexp(-1)
        torch.testing.assert_close(log_sum_exp.double().cpu(), expected, atol=within, rtol=within)
        torch.testing.assert_close(
            output.double().cpu(), exact.apply(exact.scores().softmax(-1)), atol=within, rtol=within
        )


def test_batches_that_do_not_fit_are_halved(toy):
    """Batches that need more than the free memory."""
    tokens = induction.repeated_tokens(toy, 60, 400)
    expected = induction.prefix_matching(toy, tokens, 60, batch_size=8)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + (64 << 20)) / total)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            toy(tokens)
        scores = induction.prefix_matching(toy, tokens, 60, batch_size=400)
        importances = importance.head_importance(toy, EXAMPLES * 300, batch_size=600)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    close(scores.values, expected.values)
    close(importances.values, importance.head_importance(toy, EXAMPLES * 300, batch_size=20).values)


def test_memory_is_linear_in_length(toy):
    def peak(period):
        tokens = torch.arange(3, 3 + period).repeat(4)[None]
        induction.prefix_matching(toy, tokens, period)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        induction.prefix_matching(toy, tokens, period)
        return torch.cuda.max_memory_allocated() - before

    context = toy.sizes.context // 4 - 1
    assert peak(context) <= 4.6 * peak(context // 4)


def all_scores(device, dtype="float32"):
    model, task = load_model("tiny-opt", dtype=dtype, device_map=device), importance.load_task("key_value")
    tokens = induction.repeated_tokens(model, period=25, n_sequences=3)
    return {
        "prefix": induction.prefix_matching(model, tokens, period=25).values,
        "copying": induction.copying(model, tokens).values,
        "heads": importance.head_importance(model, task.examples(shots=2, limit=12)).values,
        "oracle": importance.head_importance(model, task.examples(shots=2, limit=12), "oracle").values,
        "ffns": importance.ffn_importance(model, task, shots=2, limit=12).values,
        "log p": importance.accuracy(model, task, shots=2, limit=12).gold_log_p,
    }


def test_the_same_again_is_the_same_to_the_bit():
    first, again = all_scores("cuda"), all_scores("cuda")
    assert {name: bool(torch.equal(first[name], again[name])) for name in first} == dict.fromkeys(first, True)


@pytest.mark.parametrize(("dtype", "within"), [("bfloat16", 1.0), ("float16", 0.25)])
def test_16_bits_stay_near_float32(dtype, within):
    exact, rounded = all_scores("cuda"), all_scores("cuda", dtype)
    for name, most in (("prefix", 2e-3), ("copying", 4e-2), ("heads", 3e-2), ("oracle", 0.3), ("log p", 0.3)):
        assert rounded[name].dtype == torch.float32
        assert (exact[name] - rounded[name]).abs().max() <= most * within, name
    assert (exact["ffns"] - rounded["ffns"]).abs().max() <= 1.5 / 12  # one document in twelve


def test_device_maps():
    whole = load_model("tiny-opt")
    tokens = induction.repeated_tokens(whole, 25, 3)
    task = importance.load_task("key_value")
    order = HeadScores(torch.arange(float(whole.sizes.n_layers * whole.sizes.n_heads)).view(whole.sizes.n_layers, -1))
    for device_map in ("auto", {"": 0}):
        model = load_model("tiny-opt", device_map=device_map)
        assert model.runs_on == "cuda"
        for measure in (
            lambda m: induction.prefix_matching(m, tokens, 25).values,
            lambda m: induction.copying(m, tokens).values,
            lambda m: induction.copying(m, tokens, "eigenvalue").values,
            lambda m: importance.head_importance(m, EXAMPLES).values,
            lambda m: importance.ffn_importance(m, task, 1, 6).extras["log_p"],
            lambda m: importance.prune(m, task, order, percents=(50,), shots=1, limit=6).gold_log_p,
            lambda m: randomised(m)(TEXT),
        ):
            close(measure(model), measure(whole))


def test_a_study(tmp_path, capsys):
    """Every kind of unit, with its report; the same study again has nothing to do."""
    config = tmp_path / "study.toml"
    config.write_text(SMALL_STUDY)
    for device in ("cpu", "cuda"):
        status, _, err = run(capsys, "study", config, "--device", device, "--out", tmp_path / device)
        assert status == 0, err
    on_cpu, on_gpu = (open_run(tmp_path / device) for device in ("cpu", "cuda"))
    contents = [{name: result.to_content() for name, result in results.items()} for results in (on_cpu, on_gpu)]
    assert set(contents[0]) == set(contents[1])
    for name, content in contents[1].items():
        for key, values in {} if name.startswith("analyses/") else content.tensors.items():
            expected = contents[0][name].tensors[key]
            within = 1e-5 if values.is_floating_point() else 1  # the levels of attention patterns
            torch.testing.assert_close(values.float(), expected.float(), rtol=1e-4, atol=within, equal_nan=True)
    status, _, err = run(capsys, "report", tmp_path / "cuda", "--output", tmp_path / "report.html")
    assert status == 0, err
    again, out, err = run(
        capsys, "study", config, "--device", "cuda", "--out", tmp_path / "cuda", "--dry-run", "--json"
    )
    assert again == 0, err
    assert all(unit["done"] for unit in json.loads(out))


def test_commands_describe_the_machine(capsys):
    status, out, err = run(capsys, "doctor", "--model", "tiny-opt")
    assert status == 0, err
    assert "hooks show what they should" in " ".join(out.split())
    status, out, err = run(
        capsys, "plan", "--model", "tiny-opt", "--preset", "quick", "--hardware", "this", "--device", "cuda", "--json"
    )
    assert status == 0, err
    on = measure_this_machine(Shape.of(load_model("tiny-opt")), torch.float32, "cuda")
    assert (on.kind, on.memory) == ("cuda", torch.cuda.get_device_properties(0).total_memory)
    assert on.flops > 1e9 < on.bandwidth


def test_views(toy):
    hc.viz.attention(induction.record_patterns(toy, TEXT), layer=1, head=1)
    profile = induction.head_profile(toy, 1, 1, TEXT)
    assert profile.pattern.device.type == "cpu"

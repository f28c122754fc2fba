"""Experts and KV groups in curves, runs, studies and the report."""

import json
from math import floor

import pytest
import torch
from reference import zoo
from reference.models import bpe_tokenizer, llama

from headcount import viz
from headcount.cli import main
from headcount.importance import Example, accuracy, expert_importance, head_importance, load_task, prune
from headcount.results import ExpertScores, HeadScores, InputError, PruningCurve, open_run
from headcount.tracing import Model, load_model, masked, pruned, removed_parameters
from headcount.viz.html_report.page import study_sections

LIMIT = 4
PERCENTS = (0, 30, 60, 100)
EXAMPLES = [Example("the cat sat on the", " mat and"), Example("a dog", " to me")]


@pytest.fixture(scope="module")
def mixture() -> Model:
    return load_model(zoo.tiny("qwen3_moe", mlp_only_layers=[1]), tokenizer=bpe_tokenizer())


@pytest.fixture(scope="module")
def task():
    return load_task("plural")


def test_routed_shares_count_what_the_router_gives(mixture: Model) -> None:
    scores = expert_importance(mixture, EXAMPLES)
    counts, read = torch.zeros(3, 4), 0
    for example in EXAMPLES:
        ids = mixture.to_tokens(example.context + example.continuation)[:, :-1]
        read += ids.shape[1]
        for layer in (0, 2):
            given: list[torch.Tensor] = []
            handle = mixture.hf.model.layers[layer].mlp.experts.register_forward_pre_hook(
                lambda module, args, given=given: given.append(args[1])
            )
            mixture.hf(ids, use_cache=False)
            handle.remove()
            for expert in given[0].flatten().tolist():
                counts[layer, expert] += 1
    torch.testing.assert_close(scores.extras["routed"][[0, 2]], (counts / read)[[0, 2]])
    torch.testing.assert_close(scores.extras["routed"][[0, 2]].sum(1), torch.tensor([2.0, 2.0]))  # two for each token
    assert scores.extras["routed"][1].isnan().all()
    one_by_one = expert_importance(mixture, EXAMPLES, batch_size=1).extras["routed"]
    assert torch.equal(one_by_one.nan_to_num(), scores.extras["routed"].nan_to_num())
    with masked(mixture, experts=[(0, 1)]):
        assert float(expert_importance(mixture, EXAMPLES).extras["routed"][0, 1]) == 0


def test_a_curve_over_experts_is_a_loop_over_masked_models(mixture: Model, task) -> None:
    values = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    values[1] = torch.nan
    scores = ExpertScores(values)
    curve = prune(mixture, task, scores, "experts", PERCENTS, limit=LIMIT)
    order = [index for index in values.flatten().nan_to_num(9).argsort().tolist() if index // 4 != 1]
    assert curve.order.tolist() == [order]
    for step, percent in enumerate(PERCENTS):
        gone = [divmod(index, 4) for index in order[: floor(percent * 8 / 100)]]
        with masked(mixture, experts=gone):
            expected = accuracy(mixture, task, 0, LIMIT)
        assert curve.removed[step] == len(gone)
        torch.testing.assert_close(curve.gold_log_p[0, step], expected.gold_log_p, atol=1e-5, rtol=1e-5)
        assert torch.equal(curve.correct[0, step], expected.correct)
    expert = mixture.hf.model.layers[0].mlp.experts
    assert curve.parameters[1] == 2 * sum(weight[0].numel() for weight in expert.parameters())
    with pytest.raises(InputError, match="to remove experts expected ExpertScores of shape"):
        prune(mixture, task, HeadScores(values), "experts", PERCENTS, limit=LIMIT)


def test_a_curve_over_kv_groups_is_a_loop_over_masked_models(task) -> None:
    model = load_model(llama(0), tokenizer=bpe_tokenizer())
    size = model.sizes.n_heads // model.sizes.n_kv_heads
    assert size > 1
    scores = head_importance(model, EXAMPLES)
    groups = scores.values.unflatten(1, (-1, size)).mean(-1)
    curve = prune(model, task, scores, "kv_groups", PERCENTS, limit=LIMIT)
    order = groups.flatten().argsort().tolist()
    assert curve.order.tolist() == [order]
    for step, percent in enumerate(PERCENTS):
        gone = [divmod(index, model.sizes.n_kv_heads) for index in order[: floor(percent * len(order) / 100)]]
        with masked(model, kv_groups=gone):
            expected = accuracy(model, task, 0, LIMIT)
        torch.testing.assert_close(curve.gold_log_p[0, step], expected.gold_log_p, atol=1e-4, rtol=1e-5)
        assert curve.parameters[step] == removed_parameters(model, kv_groups=gone).removed
    cut = pruned(model, kv_groups=[divmod(order[0], model.sizes.n_kv_heads)])
    whole, small = (sum(weight.numel() for weight in hf.parameters()) for hf in (model.hf, cut.hf))
    assert removed_parameters(model, kv_groups=[divmod(order[0], model.sizes.n_kv_heads)]).removed == whole - small


@pytest.mark.parametrize("component", ["experts", "kv_groups"])
def test_recomputed_and_random_orders_are_of_parts_that_are_there(mixture: Model, task, component: str) -> None:
    expected = [0, 1, 2, 3, 8, 9, 10, 11] if component == "experts" else list(range(6))
    options = {"component": component, "percents": (50,), "limit": LIMIT}
    recomputed = prune(mixture, task, strategy="recomputed", **options)
    random = prune(mixture, task, strategy="random", seeds=(0, 1), **options)
    for curve in (recomputed, random):
        assert all(sorted(order) == expected for order in curve.order.tolist())
    assert random.order[0].tolist() != random.order[1].tolist()


def test_layers_with_different_groups_and_models_without_experts_are_refused(task) -> None:
    hf = zoo.tiny("gemma4_text", attention_k_eq_v=True, num_global_key_value_heads=1).double()
    model = load_model(hf, tokenizer=bpe_tokenizer())
    with pytest.raises(InputError, match="differ in their number of KV groups"), masked(model, kv_groups=[(0, 0)]):
        pass
    with pytest.raises(InputError, match="differ in their number of KV groups"):
        prune(model, task, component="kv_groups", strategy="random", limit=LIMIT)
    with pytest.raises(InputError, match="has no mixture of experts"):
        prune(model, task, component="experts", strategy="random", limit=LIMIT)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Importance and curves of experts by the commands, then a study on top."""
    folder = tmp_path_factory.mktemp("mixture")
    zoo.tiny("qwen3_moe", mlp_only_layers=[1], max_position_embeddings=1024).save_pretrained(folder / "model")
    bpe_tokenizer().save_pretrained(folder / "model")
    tasks = ["--task", "plural", "--limit", "4"]
    target = ["--model", str(folder / "model"), "--out", str(folder / "run")]
    main(["importance", "--component", "experts", *tasks, *target])
    main(["importance", "--component", "experts", "--method", "oracle", *tasks, *target])
    (folder / "study.toml").write_text(
        f"model = {json.dumps(str(folder / 'model'))}\nsequences = 1\ncontrol = false\nexamples = 4\nexperts = true\n"
        "kv_groups = true\nhead_percents = [50]\nffn_percents = [50]\nexpert_percents = [25, 50]\n"
        'random_percents = [50]\nrankings = ["own"]\n'
        '[[tasks]]\nnames = ["plural"]\nlimit = 4\nrandom = true\nrecomputed = true\n'
    )
    main(["study", str(folder / "study.toml"), "--out", str(folder / "run")])
    return open_run(folder / "run")


def test_a_study_measures_experts_and_groups(run) -> None:
    assert {"importance/experts/plural.0shot", "importance/experts-oracle/plural.0shot"} < set(run.names)
    for component in ("experts", "kv_groups"):
        for ranking in ("own", "random", "recomputed"):
            curve = run[f"pruning/{component}/plural.0shot.{ranking}"]
            assert isinstance(curve, PruningCurve)
            assert curve.component == component
    assert run["pruning/experts/plural.0shot.own"].percents == (0, 25, 50)
    scores = run["importance/experts/plural.0shot"]
    assert scores.provenance["reduction"] == "example"
    assert scores.provenance["task"] == "plural"


def test_the_report_draws_experts(run, tmp_path) -> None:
    sections = {section.key: section for section in study_sections(dict(run))}
    views = sections["experts"].views
    assert [view.title for view in views] == ["plural, 0 shots", "plural, 0 shots, by removal"]
    scores = run["importance/experts/plural.0shot"]
    figure = views[0].figure
    assert figure.data[0].z.shape == (3, 4)
    assert figure.layout.xaxis.title.text == "expert"
    assert list(figure.data[1].y) == [1] * 4  # crosses where a layer is no mixture
    (layer, expert, _), *_ = scores.top(1)
    first = views[0].rows[0]
    assert first[:2] == ["1", f"L{layer}E{expert}"]
    assert first[3] == f"{100 * float(scores.extras['routed'][layer, expert]):.1f}"
    assert "expert 0" in figure.data[0].hovertext[0][0]
    titles = [view.title for view in sections["pruning"].views]
    assert titles == [f"plural, 0 shots: {part}" for part in ("heads", "FFNs", "KV groups", "experts")]
    page = viz.report(run, tmp_path / "report.html").read_text()
    assert "Needed experts" in page


def test_a_dense_model_is_refused_before_anything_is_measured(tmp_path, capsys) -> None:
    for command in (["importance", "--component", "experts"], ["prune", "--component", "experts"]):
        with pytest.raises(SystemExit) as stop:
            main([*command, "--task", "plural", "--model", "tiny-opt", "--out", str(tmp_path / "run")])
        assert stop.value.code == 2
        assert "tiny-opt has no mixture of experts" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("accuracy/*"))

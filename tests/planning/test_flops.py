"""Predicted operations compared with those that torch counts, under eager attention, for every part of a study.

torch's `FlopCounterMode` counts matrix products. It does not know the fused kernel that prefix matching calls for
attention, so that there the same numbers are computed in plain operations.
"""

import pytest
import torch
from reference import models, zoo
from torch.utils.flop_counter import FlopCounterMode

from headcount.planning import Hardware, Shape, unit_costs
from headcount.planning.shape import Remaining
from headcount.results import create_run
from headcount.study import StudyConfig, TaskGroup, load_tasks, measure_units, study_units
from headcount.tracing import AttentionCall, load_model

TWO_TASKS = "llama"
"""The architecture whose study has two tasks, so that what each takes and what they share are told apart."""
ARCHITECTURES = ("opt", "opt_350m_style", TWO_TASKS, "gpt_neox", "gpt2")
PLENTY = Hardware("test", 1, "cpu", 1e12, 1e15, 1e12, "made up")
CONFIG = StudyConfig(
    tasks=[TaskGroup(names=["antonym", "plural"], shots=[1], limit=4, random=True, recomputed=True, grid=True)],
    sequences=4,
    reduction="token",  # the operations without half of the heads depend on which these are: 2 % is for usual ones
    head_percents=[60, 100],
    ffn_percents=[34],
    rankings=["own"],
    random_percents=[50],
    grid_head_percents=[50],
    grid_ffn_percents=[34],
)

ONE_TASK = CONFIG.tasks[0].model_copy(update={"names": ["antonym"]})

SMALL = {
    "tasks": [TaskGroup(names=["antonym"], shots=[0], limit=3, random=False, recomputed=False, grid=False)],
    "sequences": 1,
    "examples": 6,
    "control": False,
    "random_percents": [],
}


@pytest.fixture
def plain_attention(monkeypatch):
    """Compute attention with its log-sum-exp in operations that are counted."""
    monkeypatch.setattr(AttentionCall, "attend", AttentionCall._in_chunks)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_part_of_a_study_takes_the_operations_that_are_predicted(
    architecture, plain_attention, tmp_path, monkeypatch
):
    # What two rankings agree on is run once, which cannot be known beforehand: in more layers they agree less, and of
    # random weights only one ranking is followed. Networks are four times as wide as the residual stream, as they are.
    monkeypatch.setitem(models.SIZES, "num_hidden_layers", 6)
    for name, value in {"num_hidden_layers": 6, "intermediate_size": 128}.items():
        monkeypatch.setitem(models.GROUPED, name, value)
    hf = models.BUILDERS[architecture]()
    hf.set_attn_implementation("eager")
    model = load_model(hf, tokenizer=models.bpe_tokenizer())
    config = CONFIG if architecture == TWO_TASKS else CONFIG.model_copy(update={"tasks": [ONE_TASK]})
    wrong, compared = wrongly_predicted(model, config, tmp_path, monkeypatch)
    assert wrong == {}
    assert compared == (25 if architecture == TWO_TASKS else 15)


@pytest.mark.parametrize("model_type", ["granite", "phi3", "mixtral", "qwen3_moe", "deepseek_v3"])
def test_types_that_are_not_described(model_type, plain_attention, tmp_path, monkeypatch):
    """By layer, of which some are no mixtures; of a mixture the experts that a token passes."""
    settings = {"mlp_only_layers": [1]} if model_type == "qwen3_moe" else {}
    hf = zoo.tiny(model_type, max_position_embeddings=models.CONTEXT, **settings)
    hf.set_attn_implementation("eager")
    if model_type in ("mixtral", "qwen3_moe", "deepseek_v3"):
        hf.set_experts_implementation("eager")
    config = CONFIG.model_copy(update=SMALL)
    wrong, compared = wrongly_predicted(load_model(hf, tokenizer=models.bpe_tokenizer()), config, tmp_path, monkeypatch)
    assert wrong == {}
    assert compared == 9


def wrongly_predicted(model, config, tmp_path, monkeypatch):
    """Return the ratio of predicted to counted operations where it is off by 2 % or more, and the number of units."""
    monkeypatch.setattr("headcount.importance.work.SAMPLE", 1000)  # the lengths of all documents, not of the first
    monkeypatch.setattr(
        "headcount.tracing.loading.hook_check.check_hooks", lambda model: None
    )  # a look at new weights, no part of a measurement
    run = create_run(tmp_path / "run", model={"name": model.name})
    units = study_units(model, run, config, load_tasks(config))
    predicted = unit_costs(units, Shape.of(model), PLENTY)
    wrong, compared = {}, 0
    for unit, cost in zip(units, predicted, strict=True):
        with FlopCounterMode(display=False) as counter:
            measure_units([unit], run)
        if cost.flops or counter.get_total_flops():
            ratio = cost.flops / counter.get_total_flops()
            wrong |= {} if abs(ratio - 1) < 0.02 else {unit.title: ratio}
            compared += 1
    return wrong, compared


def test_groups_left_are_those_that_random_removal_leaves():
    sizes = Shape.of(load_model(models.llama(), tokenizer=models.bpe_tokenizer())).sizes
    generator = torch.Generator().manual_seed(0)
    for heads in (0, 1, 3, 7, 11, 12):
        remaining = Remaining.after(sizes, heads, 0)
        shares = []
        for _ in range(2000):
            gone = torch.zeros(sizes.n_layers * sizes.n_heads, dtype=torch.bool)
            gone[torch.randperm(len(gone), generator=generator)[:heads]] = True
            shares.append((~gone.view(sizes.n_layers, sizes.n_kv_heads, -1).all(-1)).float().mean())
        assert remaining.heads == pytest.approx(1 - heads / 12)
        assert remaining.kv_heads == pytest.approx(float(torch.stack(shares).mean()), abs=0.02)

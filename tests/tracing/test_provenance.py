"""Provenance of results: the model, its weights, and the settings."""

import json
import re
import sys
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer
from torch import nn
from transformers import PreTrainedModel

from headcount.tracing import identity, load_model, masked, provenance
from headcount.tracing.fingerprint import fingerprint


def holding(**tensors: torch.Tensor) -> nn.Module:
    module = nn.Module()
    for name, tensor in tensors.items():
        setattr(module, name, nn.Parameter(tensor, requires_grad=False))
    return module


class TestFingerprint:
    @pytest.fixture(params=BUILDERS)
    def hf(self, request: pytest.FixtureRequest) -> PreTrainedModel:
        return BUILDERS[request.param]()

    def test_equal_models_have_the_same(self, hf: PreTrainedModel, tmp_path: Path) -> None:
        expected = load_model(hf).fingerprint()
        assert re.fullmatch("[0-9a-f]{24}", expected)
        assert load_model(deepcopy(hf)).fingerprint() == expected
        assert load_model(hf, tokenizer=bpe_tokenizer()).fingerprint() == expected
        hf.save_pretrained(tmp_path)
        assert load_model(tmp_path, tokenizer=bpe_tokenizer()).fingerprint() == expected

    def test_one_changed_weight_in_any_tensor_changes_it(self, hf: PreTrainedModel) -> None:
        model = load_model(hf)
        seen = {model.fingerprint()}
        for parameter in hf.parameters():
            for place in (0, -1, parameter.numel() // 2, parameter.numel() // 3 + 1):
                weight = parameter.data.view(-1)[place : place + 1 or None]
                before = weight.clone()
                weight.copy_(torch.nextafter(before, before + 1))
                seen.add(model.fingerprint())
                weight.copy_(before)
        assert len(seen) == 1 + 4 * len(list(hf.parameters()))
        assert model.fingerprint() in seen

    def test_models_differ(self) -> None:
        models = [load_model(builder(seed)) for builder in BUILDERS.values() for seed in (0, 1)]
        # Mistral and Llama differ in their windows alone, not in a single weight.
        assert len({model.fingerprint() for model in models}) == len(models) - 2

    def test_it_is_of_the_weights_as_they_are(self) -> None:
        hf = BUILDERS["llama"]()
        model = load_model(hf)
        seen = [model.fingerprint()]
        with torch.no_grad():
            hf.lm_head.weight[0, 0] += 1
        seen.append(model.fingerprint())
        hf.lm_head.weight.data[0, 0] += 1  # which autograd does not notice
        seen.append(model.fingerprint())
        hf.lm_head.weight.detach().numpy()[0, 0] += 1
        seen.append(model.fingerprint())
        hf.lm_head.weight = nn.Parameter(torch.zeros_like(hf.lm_head.weight))
        seen.append(model.fingerprint())
        hf.load_state_dict(BUILDERS["llama"]().state_dict())
        seen.append(model.fingerprint())
        assert len(set(seen)) == 5
        assert seen[0] == seen[-1]

    def test_it_does_not_depend_on_threads(self) -> None:
        module, threads = holding(w=torch.randn(1000, 1001)), torch.get_num_threads()
        try:
            digests = set()
            for number in (1, 2, 3):
                torch.set_num_threads(number)
                digests.add(fingerprint(module))
        finally:
            torch.set_num_threads(threads)
        assert len(digests) == 1

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8])
    @pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 1023, 5001])
    def test_tensors_of_any_size(self, dtype: torch.dtype, size: int) -> None:
        weights = (torch.arange(size) % 100).to(dtype)
        expected = fingerprint(holding(w=weights))
        assert fingerprint(holding(w=weights.clone())) == expected
        for place in range(0, size, max(1, size // 9)):
            other = weights.clone()
            other[place] += 1
            assert fingerprint(holding(w=other)) != expected

    def test_the_layout_in_memory_makes_no_difference(self) -> None:
        weights = torch.randn(6, 10).bfloat16()
        expected = fingerprint(holding(w=weights))
        apart = torch.zeros(6, 20).bfloat16()
        apart[:, ::2] = weights
        moved = torch.cat([torch.zeros(1).bfloat16(), weights.flatten()])[1:].view(6, 10)
        assert moved.storage_offset() == 1
        for same in (weights.T.contiguous().T, apart[:, ::2], moved):
            assert torch.equal(same, weights)
            assert fingerprint(holding(w=same)) == expected

    def test_names_shapes_and_dtypes_count(self) -> None:
        ones = torch.zeros(4, 6)
        variants = [holding(w=ones), holding(v=ones), holding(w=ones.view(6, 4)), holding(w=ones.view(24))]
        variants += [holding(w=ones.half()), holding(w=ones.bfloat16()), holding(w=ones, v=ones), holding()]
        assert len({fingerprint(variant) for variant in variants}) == len(variants)

    def test_swapped_weights_and_swapped_tensors_count(self) -> None:
        first, second = torch.randn(50, 50), torch.randn(50, 50)
        assert fingerprint(holding(a=first, b=second)) != fingerprint(holding(a=second, b=first))
        assert fingerprint(holding(a=first)) != fingerprint(holding(a=first.T.contiguous()))

    def test_not_a_number_is_as_good_as_any(self) -> None:
        weights = torch.full((100,), torch.nan)
        assert fingerprint(holding(w=weights)) == fingerprint(holding(w=weights.clone()))
        assert fingerprint(holding(w=weights)) != fingerprint(holding(w=weights[:99]))

    def test_no_weights(self) -> None:
        assert fingerprint(holding(w=torch.zeros(3, device="meta"))) != fingerprint(
            holding(w=torch.zeros(4, device="meta"))
        )


class TestRecord:
    def test_what_it_says(self) -> None:
        model = load_model(BUILDERS["llama"]())
        record = provenance(model, seed=3, definition="successor")
        assert record["model"] == "LlamaForCausalLM"
        assert record["revision"] is None
        assert record["fingerprint"] == model.fingerprint()
        assert record["dtype"] == "float32"
        assert record["device"] == "cpu"
        assert (record["seed"], record["definition"]) == (3, "successor")
        assert record["versions"]["torch"] == version("torch")
        assert record["versions"].keys() == {"headcount", "torch", "transformers", "nnsight"}
        assert abs(datetime.now(UTC) - datetime.fromisoformat(record["time_utc"])) < timedelta(minutes=1)
        assert identity(model) == {
            "name": "LlamaForCausalLM",
            "revision": None,
            "fingerprint": model.fingerprint(),
            "dtype": "float32",
        }

    def test_it_goes_into_json_and_back(self) -> None:
        model = load_model(BUILDERS["llama"]().bfloat16())
        with masked(model, heads=[(0, 1)], ffns=[2]):
            record = provenance(model, lengths=[10, 20], period=None)
        assert json.loads(json.dumps(record)) == record
        assert record["removed_heads"] == [[0, 1]]
        assert record["removed_ffns"] == [2]
        assert record["dtype"] == "bfloat16"

    def test_no_secret_is_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        marker = "hf_secret_marker"
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NDIF_API_KEY", "AWS_SECRET_ACCESS_KEY", "USER", "HOME"):
            monkeypatch.setenv(name, marker)
        hf = BUILDERS["llama"]()
        hf.config.token = marker
        for argv in (["headcount", "induction", "--out", "x"], ["/home/me/notebook.py", marker], []):
            monkeypatch.setattr(sys, "argv", argv)
            assert marker not in json.dumps(provenance(load_model(hf)))

    @pytest.mark.parametrize(
        ("argv", "command"),
        [
            (["/usr/bin/headcount", "induction", "--out", "my run"], "headcount induction --out 'my run'"),
            (["/site-packages/ipykernel_launcher.py", "-f", "key.json"], None),
            (["", "x"], None),
            ([], None),
        ],
    )
    def test_the_command(self, argv: list[str], command: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        model = load_model(BUILDERS["gpt2"]())
        monkeypatch.setattr(sys, "argv", argv)
        assert provenance(model)["command"] == command

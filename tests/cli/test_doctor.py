"""The doctor: it finds problems, and says how to solve them."""

import json
import re

import pytest
import torch
from reference import zoo
from reference.models import bpe_tokenizer

import headcount
from headcount.cli import doctor
from headcount.cli.app import main
from headcount.cli.offers import layer_names, offers
from headcount.results import InputError
from headcount.tracing import load_model


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network in tests")

    monkeypatch.setattr(doctor, "urlopen", refuse)


def test_a_sound_installation_is_all_right(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["doctor", "--json", "--model", "tiny-opt"])
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert all(finding["ok"] for finding in found.values())
    assert "does not answer (no network in tests)" in found["Hugging Face Hub"]["result"]
    assert "tiny-opt (opt, described)" in found["model tiny-opt"]["result"]
    assert "hooks show what they should" in found["model tiny-opt"]["result"]
    assert {finding["what"] for finding in found.values() if finding["offered"] == "no"} == {"experts"}


@pytest.mark.parametrize("hiding", ["headcount", "headcount.py"])
def test_a_folder_or_file_here_that_hides_the_package_is_found(capsys, tmp_path, monkeypatch, hiding):
    (tmp_path / hiding).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor"])
    assert stop.value.code == 1
    assert f"FAIL   package headcount: {tmp_path / hiding} hides it" in capsys.readouterr().out


def test_another_package_of_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere" / "headcount").mkdir(parents=True)
    (tmp_path / "elsewhere" / "headcount" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    finding = doctor.check_package()
    assert not finding.ok
    assert str(tmp_path / "elsewhere" / "headcount") in finding.result


def test_our_package_that_is_not_on_the_path_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    finding = doctor.check_package()
    assert not finding.ok
    assert "found at None" in finding.result


def test_another_distribution_that_installs_our_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = {"headcount": ["headcount", "otherware"]}
    monkeypatch.setattr(doctor.importlib.metadata, "packages_distributions", lambda: both)
    assert "otherware installs a package of this name too" in doctor.check_package().result


def test_a_room_that_is_not_there_is_found(tmp_path, monkeypatch):
    """Such as a link that became a text file in an archive."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "ROOMS", (*headcount.ROOMS, "attic"))
    finding = doctor.check_package()
    assert not finding.ok
    assert "lacks attic" in finding.result


def test_a_missing_package_is_found():
    assert not doctor.check_dependency("no-such-package").ok


def test_one_name_gives_everything():
    for name in ("load_model", "masked", "prefix_matching", "score_heads", "HeadScores", "open_run", "InputError"):
        assert getattr(headcount, name) is not None
        assert name in dir(headcount)
    assert headcount.viz.heads is not None
    with pytest.raises(AttributeError, match="headcount has no 'nonsense'"):
        headcount.nonsense  # noqa: B018


NOT_OFFERED = {
    "llama": {"experts": "no mixture of experts"},
    "qwen3_next": {
        "heads": "4 in each of 1 layer, in 2 KV groups: .* none in layers 0, 2",
        "hooks": r"no mlp.hook_pre, mlp.hook_pre_linear, mlp.hook_post: the feed-forward network",
        "one row for a document": "each is a row of its own",
        "eigenvalue copying": "a gate multiplies",
        "head cards": "a gate that depends on the text multiplies them in layer 1$",
    },
    "deepseek_v3": {
        "hooks": "hook_k: heads share a part of their keys|in layers 1 to 2: the feed-forward network",
        "experts": "4 in layers 1 to 2",
        "eigenvalue copying": "latent attention",
    },
    "olmo2": {
        "hooks": "no ln[12].hook_normalized",
        "experts": "no mixture",
        "pruned": "self_attn.q_norm of layer 2 has one number or more for each head, or a norm over all of them",
    },
    "llama4_text": {
        "hooks": "no mlp.hook_pre",
        "experts": "no mixture of experts",
        "one row for a document": "each is a row of its own",
        "streamed, planned, on a server": "what layer 1 of .* costs is not known: it has experts of another kind",
    },
    "recurrent_gemma": {
        "heads": "none in layers 0, 2",
        "experts": "no mixture",
        "one row for a document": "each is a row of its own",
        "padded batches": "not on the left: there padding would change the numbers",
    },
}


@pytest.mark.parametrize("model_type", NOT_OFFERED)
def test_a_model_offers_what_it_says_and_refuses_the_rest(model_type):
    model = load_model(zoo.tiny(model_type), tokenizer=bpe_tokenizer())
    listed = offers(model)
    missing = {offer.what for offer in listed if offer.offered != "yes"}
    assert missing == set(NOT_OFFERED[model_type])
    for offer in listed:
        if offer.offered != "yes":
            assert re.search(NOT_OFFERED[model_type][offer.what], offer.result), offer.result
    tokens = torch.tensor([[5, 6, 7, 8]])
    refused = {
        "pruned": lambda: headcount.pruned(model, heads=[(model.layers_with_heads[0], 0)]),
        "eigenvalue copying": lambda: headcount.induction.copying(model, tokens, definition="eigenvalue"),
        "padded batches": lambda: model(tokens, attention_mask=torch.tensor([[0, 1, 1, 1]])),
    }
    for what, use in refused.items():
        if what in missing:
            with pytest.raises(InputError):
                use()
        else:
            use()


def test_one_screen_about_a_model_in_a_folder(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zoo.tiny("qwen3_moe", mlp_only_layers=[1]).save_pretrained(tmp_path / "mixture")
    bpe_tokenizer().save_pretrained(tmp_path / "mixture")
    main(["doctor", "--model", str(tmp_path / "mixture")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 30
    assert "partly experts: 4 in layers 0, 2: mlp.hook_router, masks, importance, curves" in lines
    assert any(line.startswith("partly hooks: no mlp.hook_pre, ") and " in layers 0, 2: " in line for line in lines)
    assert any(line.startswith("yes    pruned: ") for line in lines)
    assert any(line.startswith("yes    streamed, planned, on a server: ") for line in lines)


def test_a_model_that_does_not_open_is_a_fault(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "--model", "no-such-model"])
    assert stop.value.code == 1
    assert "FAIL   model no-such-model: no model 'no-such-model'" in capsys.readouterr().out


def test_layers_in_words():
    assert layer_names([4, 0, 2, 3]) == "layers 0, 2 to 4"
    assert layer_names([7]) == "layer 7"

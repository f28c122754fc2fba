"""A model whose weights stay on disk: every measurement equals the one in memory, within the memory allowed."""

import errno
import json
import os
import re
import resource
import struct
import threading
from pathlib import Path

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer, opt
from safetensors.torch import load_file, save_file
from support.equals_local import EXAMPLES, TEXT, EqualsLocal, close

from headcount import importance, induction
from headcount.results import InputError
from headcount.tracing import load_model, pruned, randomised
from headcount.tracing.checkpoints.checkpoint import Checkpoint
from headcount.tracing.checkpoints.stored_tensor import PAGE, StoredTensor, pages
from headcount.tracing.streaming.blocks import Blocks
from headcount.tracing.streaming.memory import as_bytes, held_memory
from headcount.tracing.streaming.residuals import Residuals

ENOUGH = 64 << 30
"""More than any test needs: what it is measured against, the memory of the process, is that of all tests before."""


def saved(build, folder, **options):
    build().save_pretrained(folder, **options)
    bpe_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=list(BUILDERS))
def folder(request, tmp_path_factory):
    return saved(BUILDERS[request.param], tmp_path_factory.mktemp("saved") / request.param)


@pytest.fixture(scope="module")
def local(folder):
    return load_model(folder)


@pytest.fixture(scope="module")
def far(folder):
    return load_model(folder, stream=True, memory=ENOUGH)


@pytest.fixture
def small(tmp_path):
    return saved(opt, tmp_path / "opt")


def in_blocks(model):
    return [weight for name, weight in model.hf.named_parameters() if name.startswith(f"{model.family.layers}.")]


class TestEqualsLocal(EqualsLocal):
    def test_one_block_at_most_is_here(self, far):
        far(TEXT)
        here = sum(not weight.is_meta for weight in in_blocks(far))
        assert 0 < here <= len(in_blocks(far)) // far.sizes.n_layers + 1

    def test_the_weights_are_the_same(self, local, far):
        assert far.fingerprint() == local.fingerprint()

    def test_what_waits_may_wait_on_disk(self, local, far, monkeypatch):
        monkeypatch.setattr(far.stream.budget, "waiting", lambda: 0)
        ours, theirs = (importance.head_importance(model, EXAMPLES) for model in (local, far))
        close(theirs.values, ours.values)
        task = importance.load_task("plural")
        ours, theirs = (importance.ffn_importance(model, task, 1, 4) for model in (local, far))
        close(theirs.extras["log_p"], ours.extras["log_p"])

    def test_copying_by_eigenvalues_reads_the_weights(self, local, far):
        tokens = torch.arange(2, 9)[None]
        ours, theirs = (induction.copying(model, tokens, "eigenvalue") for model in (local, far))
        close(theirs.values, ours.values)

    def test_gradients_of_several_batches_are_one_run(self, local, far):
        ours = importance.head_importance(local, EXAMPLES * 2)
        theirs = importance.head_importance(far, EXAMPLES * 2, batch_size=1)
        close(theirs.values, ours.values)
        close(theirs.folds, ours.folds)


class TestOneRun:
    def test_each_block_is_read_once_for_all_sequences(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        held = recorded(far, monkeypatch)
        induction.prefix_matching(far, induction.repeated_tokens(far, 6, 8), 6, batch_size=1)
        assert held == [0, 1, 2]

    def test_for_gradients_once_more_backwards(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        held = recorded(far, monkeypatch)
        importance.head_importance(far, EXAMPLES * 4, batch_size=1)
        assert held == [0, 1, 2, 1, 0]

    def test_for_the_oracle_of_all_ffns_once(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        held = recorded(far, monkeypatch)
        importance.ffn_importance(far, importance.load_task("plural"), 0, 8, batch_size=2)
        assert held == [0, 1, 2]

    def test_blocks_that_no_hook_needs_are_not_read(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        held = recorded(far, monkeypatch)
        far.run_until_last(far.to_tokens(TEXT), [("blocks.1.attn.hook_z", lambda z, hook: None)])
        assert held == [0, 1]

    def test_progress_is_told_as_layers_are_done(self, small):
        far = load_model(small, stream=True, memory=ENOUGH)
        reported = []
        importance.accuracy(far, importance.load_task("plural"), 0, 9, progress=reported.append)
        assert reported == [3, 3, 3]

    def test_the_next_block_is_fetched_meanwhile(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        fetched, fetch = [], type(far.stream.blocks)._fetch

        def noted(self, layer):
            fetched.append((threading.current_thread() is threading.main_thread(), layer))
            return fetch(self, layer)

        monkeypatch.setattr(type(far.stream.blocks), "_fetch", noted)
        requested, fetching = [], far.stream.blocks._fetching
        monkeypatch.setattr(far.stream.blocks, "_fetching", lambda layer: requested.append(layer) or fetching(layer))
        seen = []
        hooks = [(f"blocks.{layer}.hook_resid_pre", lambda value, hook: seen.append(requested[-1])) for layer in (0, 1)]
        far.run_with_hooks(TEXT, hooks)
        assert fetched == [(False, 0), (False, 1), (False, 2)]
        assert seen == [1, 2]

    def test_a_function_that_changes_what_it_sees_changes_it_once(self, small):
        def doubled(resid, hook):
            resid.mul_(2)

        hooks = [("blocks.1.hook_resid_pre", doubled)]
        ours, theirs = (load_model(small, **how) for how in ({}, {"stream": True, "memory": ENOUGH}))
        close(theirs.run_with_hooks(TEXT, hooks), ours.run_with_hooks(TEXT, hooks))


def recorded(model, monkeypatch):
    """The blocks that get weights from now on, in order."""
    held, put, layers = [], type(model.stream.blocks)._put, model.family.layers

    def noted(self, name, value):
        layer = int(name.removeprefix(f"{layers}.").partition(".")[0])
        if held[-1:] != [layer]:
            held.append(layer)
        put(self, name, value)

    monkeypatch.setattr(type(model.stream.blocks), "_put", noted)
    return held


class TestStoredTensor:
    """Tensors in files, on file systems that can be read past the page cache and on others."""

    @pytest.fixture(params=["past the cache", "open refuses", "read refuses"])
    def way(self, request, monkeypatch):
        def refuse(*_):
            raise OSError(errno.EINVAL, "no such reads here")

        if request.param == "open refuses":
            monkeypatch.setattr("headcount.tracing.checkpoints.stored_tensor._past_the_cache", refuse)
        elif request.param == "read refuses":
            monkeypatch.setattr(
                "headcount.tracing.checkpoints.stored_tensor._past_the_cache",
                lambda path, flags: os.open(path, os.O_WRONLY),
            )
        return request.param

    @pytest.mark.parametrize("offset", [0, 2, 4094, 8191])
    @pytest.mark.parametrize("elements", [1, 2047, 300_000])
    def test_values_are_those_of_the_file(self, way, tmp_path, offset, elements):
        values = torch.randn(elements, generator=torch.Generator().manual_seed(0)).half()
        path = in_a_file(tmp_path, values, offset)
        stored = StoredTensor(path, offset, values)
        assert values.nbytes <= stored.page_bytes < values.nbytes + 2 * PAGE
        memory = pages(stored.page_bytes + PAGE)
        memory[stored.page_bytes :] = 7
        assert torch.equal(stored.read(memory), values)
        assert memory.data_ptr() % PAGE == 0
        assert (memory[stored.page_bytes :] == 7).all()

    def test_strides_are_kept(self, way, tmp_path):
        values = torch.arange(600.0).view(20, 30).t()[3:7]
        path = in_a_file(tmp_path, values.untyped_storage(), 40)
        stored = StoredTensor(path, 40 + values.storage_offset() * 4, values)
        assert torch.equal(stored.read(pages(stored.page_bytes)), values)

    def test_nothing_is_left_in_the_page_cache(self, way, tmp_path, monkeypatch):
        """Reads past the cache put nothing into it; others ask the system to drop all pages, which it may put off.

        It left some of them once in 500 to 1,500 times.
        """
        values, calls, in_cache = torch.arange(1 << 20), [], []
        advise = os.posix_fadvise
        for _ in range(1 if way == "past the cache" else 3):
            path = in_a_file(tmp_path, values, 0)
            with path.open("rb") as file:
                advise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            stored = StoredTensor(path, 0, values)
            monkeypatch.setattr(os, "posix_fadvise", lambda file, *what: [calls.append(what), advise(file, *what)])
            before = bytes_read()
            assert torch.equal(stored.read(pages(stored.page_bytes)), values)
            assert values.nbytes <= bytes_read() - before < values.nbytes + 2 * PAGE
            in_cache.append(in_page_cache(path))
        expected = [] if way == "past the cache" else [(0, stored.page_bytes, os.POSIX_FADV_DONTNEED)] * 3
        assert calls == expected
        assert not all(in_cache)
        path.read_bytes()
        assert in_page_cache(path)

    def test_a_file_that_has_become_shorter_is_named(self, way, small):
        far = load_model(small, stream=True, memory=ENOUGH)
        path = small / "model.safetensors"
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(InputError, match=r"cannot be read from .*model\.safetensors \(it ends after \d+ bytes\)"):
            far(TEXT)


def in_a_file(folder, values, offset):
    """A file that holds values from an offset on, and something else before and behind them."""
    path = folder / "values"
    values = values if isinstance(values, torch.Tensor) else torch.tensor(values, dtype=torch.uint8)
    with path.open("wb") as file:
        file.write(b"\1" * offset + values.contiguous().view(torch.uint8).numpy().tobytes() + b"\2" * 9)
        os.fsync(file.fileno())
    return path


def in_page_cache(path):
    """Whether the system has the beginning of a file in memory."""
    with path.open("rb") as file:
        try:
            return os.preadv(file.fileno(), [bytearray(100)], 0, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False


def bytes_read():
    """What this process has had fetched from disks."""
    return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[1])


class TestCheckpoints:
    def test_shards_of_either_kind(self, tmp_path):
        whole = load_model(saved(opt, tmp_path / "whole"))(TEXT)
        in_shards = saved(opt, tmp_path / "shards", max_shard_size="20KB")
        assert (in_shards / "model.safetensors.index.json").exists()
        close(load_model(in_shards, stream=True, memory=ENOUGH)(TEXT), whole)
        close(load_model(as_bin(in_shards), stream=True, memory=ENOUGH)(TEXT), whole)

    def test_a_bin_file_of_views_that_share_memory(self, small):
        whole, path = load_model(small)(TEXT), small / "model.safetensors"
        weights = load_file(path)
        name = "model.decoder.layers.1.fc1.weight"
        weights[name] = weights[name].t().contiguous().t()
        weights["model.decoder.layers.1.fc1.bias"] = torch.cat(
            [torch.ones(5), weights["model.decoder.layers.1.fc1.bias"]]
        )[5:]
        torch.save(weights, small / "pytorch_model.bin")
        path.unlink()
        close(load_model(small, stream=True, memory=ENOUGH)(TEXT), whole)

    def test_a_bin_file_of_old(self, small):
        path = small / "model.safetensors"
        torch.save(load_file(path), small / "pytorch_model.bin", _use_new_zipfile_serialization=False)
        path.unlink()
        refused(
            small, r"pytorch_model\.bin cannot be read as weights \(.* torch before 1\.6\): .* save it as safetensors"
        )

    def test_names_without_the_prefix_of_the_body(self, small):
        expected = load_model(small)(TEXT)
        weights = load_file(small / "model.safetensors")
        save_file(
            {name.removeprefix("model."): weight for name, weight in weights.items()}, small / "model.safetensors"
        )
        close(load_model(small, stream=True, memory=ENOUGH)(TEXT), expected)

    @pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16])
    def test_weights_are_computed_with_in_another_format_than_stored(self, tmp_path, stored):
        halved = saved(lambda: opt().to(stored), tmp_path / "half")
        close(
            load_model(halved, stream=True, memory=ENOUGH, dtype="float32")(TEXT),
            load_model(halved, dtype="float32")(TEXT),
        )
        assert load_model(halved, stream=True, memory=ENOUGH).dtype == stored

    def test_what_is_missing_is_named(self, small):
        weights = load_file(small / "model.safetensors")
        del weights["model.decoder.layers.1.fc1.weight"]
        save_file(weights, small / "model.safetensors")
        refused(small, r"incomplete: 1 tensors are missing, first model\.decoder\.layers\.1\.fc1\.weight")

    def test_a_missing_shard(self, tmp_path):
        folder = saved(opt, tmp_path / "shards", max_shard_size="20KB")
        missing = sorted(folder.glob("model-*.safetensors"))[1]
        missing.unlink()
        refused(folder, f"incomplete: {re.escape(missing.name)} is missing")

    def test_a_tensor_of_another_shape(self, small):
        weights = load_file(small / "model.safetensors")
        weights["model.decoder.layers.1.fc1.bias"] = torch.zeros(7)
        save_file(weights, small / "model.safetensors")
        refused(small, r"fc1\.bias of .* should be \[48\], but is \[7\]")

    def test_damage(self, small):
        path = small / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        refused(small, "cannot be read as weights")

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            ({"data_offsets": [0, 1 << 40]}, "weight is not wholly in the file"),
            ({"data_offsets": [4, 16]}, "weight is not wholly in the file"),
            ({"data_offsets": [-16, 0]}, "weight is not wholly in the file"),
            ({"shape": [-4]}, ""),
            ({"shape": None}, ""),
            ({"data_offsets": []}, ""),
            (["weight"], ""),
            ("weight", ""),
        ],
    )
    def test_a_header_that_is_wrong(self, tmp_path, header, reason):
        right = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
        content = json.dumps({"weight": right | header} if isinstance(header, dict) else header).encode()
        (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + bytes(16))
        with pytest.raises(InputError, match=rf"cannot be read as weights \({reason}"):
            Checkpoint(str(tmp_path), {"weight": torch.Size([4])}, lambda name: (name, None))

    def test_opening_reads_no_weights(self, tmp_path):
        path = tmp_path / "model.safetensors"
        save_file({"weight": torch.zeros(8 << 20)}, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        before = bytes_read()
        Checkpoint(str(tmp_path), {"weight": torch.Size([8 << 20])}, lambda name: (name, None))
        assert 0 < bytes_read() - before < 1 << 20

    def test_a_list_of_shards_that_is_none(self, tmp_path):
        folder = saved(opt, tmp_path / "shards", max_shard_size="20KB")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": None}))
        refused(folder, "does not list the files of a checkpoint")

    @pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", "a/../../other.safetensors"])
    @pytest.mark.parametrize("stream", [True, False])
    def test_a_list_of_files_elsewhere(self, tmp_path, name, stream):
        folder = saved(opt, tmp_path / "shards", max_shard_size="20KB")
        path = folder / "model.safetensors.index.json"
        listed = json.loads(path.read_text())
        listed["weight_map"]["model.decoder.layers.1.fc1.bias"] = name
        path.write_text(json.dumps(listed))
        with pytest.raises(InputError, match=f"lists '{name}': expected files of the model's own folder"):
            load_model(folder, stream=stream)

    def test_no_weights(self, small):
        (small / "model.safetensors").unlink()
        refused(small, r"holds no weights: expected model\.safetensors or pytorch_model\.bin")

    def test_a_bin_file_of_something_else(self, small):
        (small / "model.safetensors").unlink()
        torch.save([1, 2], small / "pytorch_model.bin")
        refused(small, r"cannot be read as weights \(it holds something else than tensors by name\)")

    def test_code_in_a_bin_file_is_not_run(self, small, tmp_path):
        class Hostile:
            def __reduce__(self):
                return Path.touch, (tmp_path / "run",)

        (small / "model.safetensors").unlink()
        torch.save({"model.decoder.layers.1.fc1.bias": Hostile()}, small / "pytorch_model.bin")
        refused(small, "cannot be read as weights")
        assert not (tmp_path / "run").exists()


def as_bin(folder):
    """The shards of a folder as torch's own files."""
    listing = json.loads((folder / "model.safetensors.index.json").read_text())
    for path in folder.glob("model-*.safetensors"):
        torch.save(load_file(path), folder / path.name.replace("model", "pytorch_model").replace("safetensors", "bin"))
        path.unlink()
    names = {
        name: file.replace("model", "pytorch_model").replace("safetensors", "bin")
        for name, file in listing["weight_map"].items()
    }
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors.index.json").unlink()
    return folder


def refused(folder, reason, **options):
    with pytest.raises(InputError, match=reason):
        load_model(folder, stream=True, **({"memory": ENOUGH} | options))


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "amount"),
        [("4GiB", 4 << 30), ("1.5 gb", 1_500_000_000), ("300", 300), (5000, 5000), ("2TB", 2 * 10**12)],
    )
    def test_amounts(self, text, amount):
        assert as_bytes(text) == amount

    @pytest.mark.parametrize("text", ["", "4 bananas", "-1GiB", 0, True, "GiB", 1.5e9j])
    def test_what_is_no_amount_is_refused(self, text):
        with pytest.raises(InputError, match=r'memory must be a number of bytes, or such as "4GiB"'):
            as_bytes(text)

    def test_none_is_half_of_the_machine(self):
        assert 2 * as_bytes(None) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def test_too_little_says_how_much_it_takes(self, small):
        refused(small, r"memory of 0\.00 GiB is too little: .* take \d\.\d\d GiB", memory="1MB")

    def test_batches_are_as_large_as_memory_allows(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        rows = induction.repeated_tokens(far, 6, 8)
        seen = []
        monkeypatch.setattr(far.stream, "run", lambda model, passes, progress: seen.append(len(passes)) or [None] * 0)
        monkeypatch.setattr(far.stream.budget, "left", lambda: 2 * 50 * far.stream.budget._per_token())
        with pytest.raises(StopIteration):
            induction.prefix_matching(far, rows, 6)
        assert seen == [4]  # 25 tokens each, two of them in 50

    def test_embeddings_that_do_not_fit_are_not_read(self, small, monkeypatch):
        read = []
        monkeypatch.setattr(Blocks, "load_outer_weights", lambda blocks: read.append(blocks))
        refused(small, "is too little", memory=held_memory() + 1000)
        assert not read

    def test_a_batch_that_does_not_fit_is_refused(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        few, many = torch.zeros(1, 9, dtype=torch.long), torch.zeros(9, 9, dtype=torch.long)
        monkeypatch.setattr(far.stream.budget, "left", lambda: 4 * far.stream.budget._per_token() * few.numel())
        assert far(few).shape == (1, 9, far.sizes.vocab)
        with pytest.raises(InputError, match=r"^9 x 9 tokens at once take about .* GiB has .* left .* or allow "):
            far(many)

    def test_patterns_take_memory_too(self, small, monkeypatch):
        far = load_model(small, stream=True, memory=ENOUGH)
        tokens = torch.zeros(1, 20, dtype=torch.long)
        monkeypatch.setattr(far.stream.budget, "left", lambda: 30 * far.stream.budget._token_in_block())
        far.run_until_last(tokens, [("blocks.0.attn.call", lambda call, hook: None)])
        with pytest.raises(InputError, match="1 x 20 tokens at once"):
            far.run_until_last(tokens, [("blocks.0.attn.hook_pattern", lambda pattern, hook: None)])

    def test_what_the_process_holds_grows_with_what_it_allocates(self):
        before = held_memory()
        held = torch.ones(64 << 20, dtype=torch.uint8)
        assert 60 << 20 < held_memory() - before < 80 << 20
        assert held.any()

    def test_residuals_that_do_not_fit_into_memory_are_stored_on_disk_unchanged(self):
        residuals = Residuals(100)
        for dtype in (torch.float32, torch.bfloat16):
            values = [torch.arange(24, dtype=dtype).view(2, 3, 4).transpose(1, 2) + step for step in range(3)]
            for number, value in enumerate(values):
                residuals[number] = value
            assert residuals.spilled > 0
            assert all(torch.equal(residuals[number], value) for number, value in enumerate(values))
            for number in range(3):
                residuals.drop(number)

    def test_a_full_disk_is_an_error_and_leaves_no_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        residuals, (soft, hard) = Residuals(0), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(InputError, match=f"cannot be stored in {tmp_path} .*: allow more memory"):
                residuals[0] = torch.ones(5000)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert list(tmp_path.iterdir()) == []


def test_what_needs_weights_in_memory_says_so(small):
    far = load_model(small, stream=True, memory=ENOUGH)
    for make in (randomised, lambda model: pruned(model, heads=[(0, 0)])):
        with pytest.raises(InputError, match="is not in memory"):
            make(far)


def test_a_model_in_hand_cannot_be_streamed():
    refused(opt(), "takes a folder or a name on the Hub")

"""Batches that choose their size, and shrink when memory runs out."""

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.models import BUILDERS, VOCAB
from torch import Tensor

from headcount.results import InputError
from headcount.tracing import Model, load_model
from headcount.tracing.internal import map_batches, pad


def recorded(batches: list[list[int]], fits: int = 10**6) -> Callable[[list[int]], list[str]]:
    """A computation that names its items, and for which memory runs out beyond a number of them."""

    def compute(batch: list[int]) -> list[str]:
        batches.append(batch)
        if len(batch) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [f"item {item}" for item in batch]

    return compute


class TestOrder:
    @given(
        lengths=st.lists(st.integers(1, 3000), max_size=40),
        size=st.one_of(st.just("auto"), st.integers(1, 50)),
        fits=st.integers(1, 50),
        device=st.sampled_from(["cpu", "cuda", "mps"]),
    )
    @settings(max_examples=150, deadline=None)
    def test_results_come_in_the_order_of_the_items(
        self, lengths: list[int], size: Any, fits: int, device: str
    ) -> None:
        batches: list[list[int]] = []
        done: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("headcount.tracing.batches._release_memory", lambda: None)  # which takes its time
            actual = map_batches(recorded(batches, fits), lengths, size, device, done.append)
        assert actual == [f"item {item}" for item in range(len(lengths))]
        finished = [batch for batch in batches if len(batch) <= fits]
        assert sorted(item for batch in finished for item in batch) == list(range(len(lengths)))
        assert done == [len(batch) for batch in finished]
        assert sum(len(batch) > fits for batch in batches) <= 6  # halved at most so often, and never tried larger again

    def test_longest_first(self) -> None:
        """What will not fit fails at once, not after an hour."""
        batches: list[list[int]] = []
        map_batches(recorded(batches), [5, 900, 30, 900, 1], 2)
        assert batches == [[1, 3], [2, 0], [4]]

    def test_a_batch_holds_a_device_full_of_tokens(self) -> None:
        for device, tokens in (("cpu", 1024), ("cuda", 16384), ("unheard of", 1024)):
            batches: list[list[int]] = []
            map_batches(recorded(batches), [100] * 400, "auto", device)
            assert {len(batch) for batch in batches[:-1]} == {tokens // 100}

    def test_what_is_longer_than_that_goes_alone(self) -> None:
        batches: list[list[int]] = []
        map_batches(recorded(batches), [5000, 5000, 500, 500])
        assert batches == [[0], [1], [2, 3]]

    def test_any_sequence_of_results(self) -> None:
        assert map_batches(lambda batch: torch.tensor(batch) * 10, [1, 2, 3]) == [0, 10, 20]
        assert map_batches(lambda batch: tuple(batch), [1, 2, 3], 2) == [0, 1, 2]

    def test_nothing_to_do(self) -> None:
        assert map_batches(lambda batch: [1 / 0], []) == []
        assert map_batches(lambda batch: batch, [0, 0]) == [0, 1]

    def test_too_few_results_are_an_error(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            map_batches(lambda batch: batch[1:], [1, 1])


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory."),
            MemoryError(),
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:115] . DefaultCPUAllocator: can't allocate memory: you tried to"
            ),
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"),
            RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
            RuntimeError("HIP out of memory. Tried to allocate"),
        ],
        ids=lambda error: f"{type(error).__name__} {error}"[:40],
    )
    def test_a_batch_that_does_not_fit_is_halved(self, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("headcount.tracing.batches._release_memory", lambda: None)
        batches: list[list[int]] = []

        def compute(batch: list[int]) -> list[int]:
            batches.append(batch)
            if len(batch) > 3:
                raise error
            return batch

        assert map_batches(compute, [10] * 8, 8) == list(range(8))
        assert [len(batch) for batch in batches] == [8, 4, 2, 2, 2, 2]

    def test_one_item_that_does_not_fit_is_an_error(self) -> None:
        batches: list[list[int]] = []
        with pytest.raises(torch.OutOfMemoryError):
            map_batches(recorded(batches, fits=0), [7] * 5, 4)
        assert [len(batch) for batch in batches] == [4, 2, 1]

    @pytest.mark.parametrize(
        "error", [ValueError("x"), RuntimeError("CUDA error: device-side assert"), KeyError("memory")]
    )
    def test_other_errors_are_not_tried_again(self, error: Exception) -> None:
        batches: list[list[int]] = []

        def compute(batch: list[int]) -> list[int]:
            batches.append(batch)
            raise error

        with pytest.raises(type(error)):
            map_batches(compute, [1] * 4, 4)
        assert len(batches) == 1

    def test_what_the_failed_try_held_is_gone_before_the_next(self) -> None:
        held: list[weakref.ref] = []
        alive: list[int] = []

        class Tensors(list):
            pass

        def compute(batch: list[int]) -> list[int]:
            alive.append(sum(reference() is not None for reference in held))
            activations = Tensors()
            activations.append(activations)  # a cycle, as errors in traced code leave them
            held.append(weakref.ref(activations))
            if len(batch) > 1:
                raise torch.OutOfMemoryError
            return batch

        map_batches(compute, [1] * 4, 4)
        assert alive[:3] == [0, 0, 0]

    def test_in_a_hook(self) -> None:
        """An error raised in the middle of a trace comes out as what it is."""
        model = load_model(BUILDERS["llama"]())
        tokens = torch.randint(VOCAB, (8, 6), generator=torch.Generator().manual_seed(0))
        tried: list[int] = []

        def greedy(value: Tensor, hook: Any) -> None:
            tried.append(len(value))
            if len(value) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory.")

        def compute(batch: list[int]) -> Tensor:
            return model.run_with_hooks(tokens[batch], [("blocks.1.attn.hook_pattern", greedy)])[:, -1]

        actual = torch.stack(map_batches(compute, [6] * 8, 8))
        assert tried == [8, 4, 2, 2, 2, 2]
        torch.testing.assert_close(actual, model(tokens)[:, -1], rtol=1e-5, atol=1e-5)


class TestSizes:
    @pytest.mark.parametrize("size", [0, -1, 2.0, "all", None, "4", [2]])
    def test_what_is_no_size(self, size: Any) -> None:
        with pytest.raises(InputError, match='batch_size must be a positive number or "auto", not'):
            map_batches(lambda batch: batch, [1, 2], size)

    def test_numbers_of_numpy(self) -> None:
        batches: list[list[int]] = []
        map_batches(recorded(batches), np.array([1, 1, 1]), np.int64(2))
        assert [len(batch) for batch in batches] == [2, 1]

    @pytest.mark.parametrize("name", BUILDERS)
    def test_results_do_not_depend_on_them(self, name: str) -> None:
        """Padding on the right does not reach what comes before it."""
        model = load_model(BUILDERS[name]())
        generator = torch.Generator().manual_seed(1)
        rows = [torch.randint(VOCAB, (length,), generator=generator) for length in (45, 3, 17, 45, 1, 30, 8)]
        expected = [model(row[None])[0, -1] for row in rows]
        for size in (1, 2, 3, 7, "auto"):
            actual = map_batches(
                lambda batch: self.last_logits(model, [rows[item] for item in batch]), list(map(len, rows)), size
            )
            torch.testing.assert_close(torch.stack(actual), torch.stack(expected), rtol=1e-4, atol=2e-5)

    @staticmethod
    @torch.no_grad()
    def last_logits(model: Model, rows: list[Tensor]) -> list[Tensor]:
        logits = model(pad(rows, model.device))
        return [logits[place, len(row) - 1] for place, row in enumerate(rows)]


def test_padding() -> None:
    padded = pad([torch.tensor([5, 6, 7]), torch.tensor([8])], "cpu")
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert padded.dtype == torch.int64

"""Batches of items, as large as keeps a device busy and fits into memory."""

import gc
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from headcount.results import InputError
from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.model import Model

T = TypeVar("T")
BatchSize = int | Literal["auto"]
Progress = Callable[[int], Any]
"""Called with the number of items done since the last call."""

Prepared = tuple[Sequence[ForwardPass], Callable[[list[Any]], Sequence[T]]]
"""The passes of a batch, and the function that makes one result for each of its items from theirs."""

# Tokens that keep a device busy, or are worth a request: more gains nothing.
TOKENS = {"cpu": 1024, "cuda": 16384, "server": 16384}


def map_batches(
    compute: Callable[[list[int]], Sequence[T]],
    lengths: Sequence[int],
    batch_size: BatchSize = "auto",
    device: str = "cpu",
    progress: Progress | None = None,
) -> list[T]:
    """Call `compute` on batches of items of similar length and put its results back in order.

    Args:
        compute: Takes the indices of a batch's items and returns one result for each.
        lengths: Each item's length in tokens.
        batch_size: The number of items a batch; "auto" fills a batch with as many tokens as keep the device busy. In
            both cases a batch that does not fit into memory is halved, and so are those after it.
        device: The kind of device that computes, or `server`.
        progress: Called after every batch.

    Raises:
        InputError: The batch size is not a positive number or "auto".
    """
    if batch_size != "auto" and (not isinstance(batch_size, Integral) or batch_size < 1):
        raise InputError(f'batch_size must be a positive number or "auto", not {batch_size!r}')
    waiting = sorted(range(len(lengths)), key=lambda item: (-lengths[item], item))
    results: dict[int, T] = {}
    limit = len(waiting) if batch_size == "auto" else int(batch_size)
    while waiting:
        fitting = TOKENS.get(device, TOKENS["cpu"]) // max(1, lengths[waiting[0]]) if batch_size == "auto" else limit
        batch = waiting[: max(1, min(limit, fitting))]
        fits = True
        try:
            results.update(zip(batch, compute(batch), strict=True))
        except Exception as error:
            if len(batch) == 1 or not _out_of_memory(error):
                raise
            fits = False
        if not fits:  # here the error is gone, and with it the tensors that its frames held
            limit = len(batch) // 2
            _release_memory()
            continue
        waiting = waiting[len(batch) :]
        if progress is not None:
            progress(len(batch))
    return [results[item] for item in range(len(lengths))]


def run_batches(
    model: Model,
    prepare: Callable[[list[int]], Prepared[T]],
    lengths: Sequence[int],
    batch_size: BatchSize = "auto",
    progress: Progress | None = None,
) -> list[T]:
    """Run a model on batches of items of similar length and put the results back in order.

    Where weights are streamed, all batches are one run, which reads them once; elsewhere each batch is a run.

    Args:
        model: The model.
        prepare: Takes the indices of a batch's items, and returns its passes.
        lengths: Each item's length in tokens.
        batch_size: As in `map_batches`.
        progress: Called with the number of items done since the last call.

    Raises:
        InputError: The batch size is not a positive number or "auto".
    """
    if model.stream is not None:
        fits = model.stream.fits
        batches = planned_batches(
            lengths, batch_size, model.runs_on, lambda batch: fits(len(batch), max(lengths[item] for item in batch))
        )
        return _in_one_run(model, prepare, batches, progress)

    def compute(batch: list[int]) -> Sequence[T]:
        passes, read = prepare(batch)
        return read(model.run_passes(passes))

    return map_batches(compute, lengths, batch_size, model.runs_on, progress)


def _in_one_run(
    model: Model,
    prepare: Callable[[list[int]], Prepared[T]],
    batches: Sequence[list[int]],
    progress: Progress | None,
) -> list[T]:
    prepared = [prepare(batch) for batch in batches]
    items = [item for batch in batches for item in batch]
    reported = 0

    def report(share: float) -> None:
        nonlocal reported
        if progress is not None and (done := int(share * len(items))) > reported:
            progress(done - reported)
            reported = done

    outputs = iter(model.run_passes([forward for passes, _ in prepared for forward in passes], report))
    results = [result for passes, read in prepared for result in read([next(outputs) for _ in passes])]
    return [result for _, result in sorted(zip(items, results, strict=True), key=lambda pair: pair[0])]


def planned_batches(
    lengths: Sequence[int],
    batch_size: BatchSize = "auto",
    device: str = "cpu",
    fits: Callable[[list[int]], bool] = lambda batch: True,
) -> list[list[int]]:
    """Return the batches that `map_batches` would make; nothing is computed.

    Args:
        lengths: Each item's length in tokens.
        batch_size: As in `map_batches`.
        device: The kind of device that would compute.
        fits: Returns True for a batch that would fit into memory; another one is halved.

    Raises:
        OutOfMemoryError: A single item does not fit.
        InputError: The batch size is not a positive number or "auto".
    """
    batches: list[list[int]] = []

    def compute(batch: list[int]) -> list[int]:
        if not fits(batch):
            raise torch.OutOfMemoryError("does not fit")
        batches.append(batch)
        return batch

    map_batches(compute, lengths, batch_size, device)
    return batches


def _release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _out_of_memory(error: BaseException) -> bool:
    """Return True for an error of a lack of memory; the CPU allocator has no error class for it."""
    words = ("can't allocate memory", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)


def pad(rows: Sequence[torch.Tensor], device: Any) -> torch.Tensor:
    """Return sequences as one tensor [batch, pos], padded on the right with token 0.

    In a causal model no token attends to the padding after it, so no mask is needed.
    """
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(device)


def over_all_layers(model: Model, values: Tensor, dim: int, layers: Sequence[int] | None = None) -> Tensor:
    """Return values of some layers, those with heads by default, as those of all layers: NaN for the others."""
    layers = model.layers_with_heads if layers is None else list(layers)
    if len(layers) == model.sizes.n_layers:
        return values
    shape = (*values.shape[:dim], model.sizes.n_layers, *values.shape[dim + 1 :])
    spread = values.new_full(shape, float("nan"))
    return spread.index_copy_(dim, torch.tensor(layers), values)

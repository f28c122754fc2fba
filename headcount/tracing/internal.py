"""The face of `tracing` for the other rooms: what plans, runs and reduces forward passes. Not for users."""

from headcount.tracing.batches import TOKENS, Prepared, map_batches, pad, planned_batches, run_batches
from headcount.tracing.hooks.hook import Patch, Recorder, RecordGradient, RecordValue, Zero, pass_through
from headcount.tracing.hooks.passes import ForwardPass
from headcount.tracing.hooks.run import to_device
from headcount.tracing.loading.default_model import NAME as DEFAULT_MODEL
from headcount.tracing.loading.downloads import Wheel, cache_folder
from headcount.tracing.token_pool import TokenPool, token_pool
from headcount.tracing.weights import output_heads, unembed_embed, unembedding, value_heads
from headcount.tracing.work import Item, Items, Kind, ModelPass, Work, no_work

__all__ = [
    "DEFAULT_MODEL",
    "TOKENS",
    "ForwardPass",
    "Item",
    "Items",
    "Kind",
    "ModelPass",
    "Patch",
    "Prepared",
    "RecordGradient",
    "RecordValue",
    "Recorder",
    "TokenPool",
    "Wheel",
    "Work",
    "Zero",
    "cache_folder",
    "map_batches",
    "no_work",
    "output_heads",
    "pad",
    "pass_through",
    "planned_batches",
    "run_batches",
    "to_device",
    "token_pool",
    "unembed_embed",
    "unembedding",
    "value_heads",
]

"""The face of `tracing` for the other rooms: it plans, runs and reduces forward passes. Not public."""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.tracing.ablation.masks import replaced
    from headcount.tracing.ablation.pruned import check_cut, cut_fits
    from headcount.tracing.batches import (
        TOKENS,
        Prepared,
        map_batches,
        over_all_layers,
        pad,
        planned_batches,
        run_batches,
    )
    from headcount.tracing.devices import fit_beside, weights_aside
    from headcount.tracing.hooks.hook import (
        Patch,
        Put,
        Recorder,
        RecordGradient,
        RecordValue,
        Zero,
        pass_through,
    )
    from headcount.tracing.hooks.modules import norm_scale
    from headcount.tracing.hooks.passes import ForwardPass
    from headcount.tracing.hooks.run import to_device
    from headcount.tracing.loading.checked_model import check_without_weights
    from headcount.tracing.present import present_replacements, replaced_by_rows
    from headcount.tracing.remote.status import has_server_key, running_models, server_address
    from headcount.tracing.removed_parts import AblationKind, Replacement, Row
    from headcount.tracing.sources import default_model
    from headcount.tracing.sources.downloads import Wheel, cache_folder
    from headcount.tracing.text.token_pool import TokenPool, token_pool
    from headcount.tracing.weights import (
        HeadMatrices,
        added_heads,
        centred_unembedding,
        check_added_to_stream,
        check_stream_of_sums,
        final_logits,
        final_scale,
        head_matrices,
        output_heads,
        unembed_embed,
        unembedding,
        value_heads,
    )
    from headcount.tracing.work import Item, Items, Kind, ModelPass, Work, no_work

__all__ = [
    "TOKENS",
    "AblationKind",
    "ForwardPass",
    "HeadMatrices",
    "Item",
    "Items",
    "Kind",
    "ModelPass",
    "Patch",
    "Prepared",
    "Put",
    "RecordGradient",
    "RecordValue",
    "Recorder",
    "Replacement",
    "Row",
    "TokenPool",
    "Wheel",
    "Work",
    "Zero",
    "added_heads",
    "cache_folder",
    "centred_unembedding",
    "check_added_to_stream",
    "check_cut",
    "check_stream_of_sums",
    "check_without_weights",
    "cut_fits",
    "default_model",
    "final_logits",
    "final_scale",
    "fit_beside",
    "has_server_key",
    "head_matrices",
    "map_batches",
    "no_work",
    "norm_scale",
    "output_heads",
    "over_all_layers",
    "pad",
    "pass_through",
    "planned_batches",
    "present_replacements",
    "replaced",
    "replaced_by_rows",
    "run_batches",
    "running_models",
    "server_address",
    "to_device",
    "token_pool",
    "unembed_embed",
    "unembedding",
    "value_heads",
    "weights_aside",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

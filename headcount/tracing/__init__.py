"""Open a model; read and change its activations under TransformerLens' names."""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.tracing.ablation.masks import masked
    from headcount.tracing.ablation.parameter_counts import ParameterCounts, removed_parameters
    from headcount.tracing.ablation.pruned import pruned as pruned  # the public one, with kinds, is in importance
    from headcount.tracing.ablation.saved import save_pruned
    from headcount.tracing.architectures.sizes import Sizes
    from headcount.tracing.batches import BatchSize, Progress
    from headcount.tracing.cache import Cache
    from headcount.tracing.hooks.attention import AttentionCall
    from headcount.tracing.hooks.hook import Hook, Recorder
    from headcount.tracing.loading.describe import Described, describe_model
    from headcount.tracing.loading.load import load_model
    from headcount.tracing.loading.random_weights import randomised
    from headcount.tracing.model import Model
    from headcount.tracing.provenance_record import identity, provenance
    from headcount.tracing.remote.errors import ServerError

__all__ = [
    "AttentionCall",
    "BatchSize",
    "Cache",
    "Described",
    "Hook",
    "Model",
    "ParameterCounts",
    "Progress",
    "Recorder",
    "ServerError",
    "Sizes",
    "describe_model",
    "identity",
    "load_model",
    "masked",
    "provenance",
    "randomised",
    "removed_parameters",
    "save_pruned",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

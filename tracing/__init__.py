"""Open a model; read and change its activations under TransformerLens' names."""

from tracing.attention import AttentionCall
from tracing.batches import BatchSize, Prepared, Progress, map_batches, pad, planned_batches, run_batches
from tracing.cache import Cache
from tracing.configurations import Described, describe_model
from tracing.load import load_model, randomised
from tracing.masks import masked
from tracing.model import Model
from tracing.provenance import identity, provenance
from tracing.pruned import ParameterCounts, pruned, removed_parameters
from tracing.pruned_files import save_pruned
from tracing.sizes import Sizes
from tracing.visits import Hook, Keeper, Pass

__all__ = [
    "AttentionCall",
    "BatchSize",
    "Cache",
    "Described",
    "Hook",
    "Keeper",
    "Model",
    "ParameterCounts",
    "Pass",
    "Prepared",
    "Progress",
    "Sizes",
    "describe_model",
    "identity",
    "load_model",
    "map_batches",
    "masked",
    "pad",
    "planned_batches",
    "provenance",
    "pruned",
    "randomised",
    "removed_parameters",
    "run_batches",
    "save_pruned",
]

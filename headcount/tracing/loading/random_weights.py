"""Models with random weights: the control of every measurement."""

import copy

import torch

from headcount.results import InputError
from headcount.tracing.devices import place_as
from headcount.tracing.loading.checked_model import OpenedModel, checked_model
from headcount.tracing.model import Model


def randomised(model: Model, seed: int = 0) -> Model:
    """Return a model of the same architecture with freshly initialised random weights.

    Args:
        model: The model; it does not change.
        seed: The seed of the initialisation.

    Raises:
        InputError: The model is pruned, or not in memory.
    """
    if not model.in_memory:
        raise InputError(f"{model.name} is not in memory: random weights can be drawn for a model that is")
    if model.pruned is not None:
        raise InputError(f"{model.name} is structurally pruned: draw random weights for the whole model, then prune it")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = type(model.hf)._from_config(copy.deepcopy(model.hf.config), dtype=model.dtype)
    hf.requires_grad_(False)
    place_as(hf, model.hf)
    return checked_model(OpenedModel(hf, model.tokenizer, f"{model.name}, random weights (seed {seed})"))

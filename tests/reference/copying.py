"""Copying, position by position, with the softmax over the whole vocabulary (Bansal et al. 2023, Algorithm 2)."""

from typing import NamedTuple

import torch
from reference import parts
from reference.patterns import LayerAlone, layers_alone
from torch import Tensor, nn
from transformers import PreTrainedModel

DEFINITIONS = ("head-output", "published", "olsson", "eigenvalue")


class Copying(NamedTuple):
    """Scores [sequence, layer, head], and shares of the positions that attend most to themselves, and to BOS."""

    scores: Tensor
    self_share: Tensor
    bos_share: Tensor


@torch.no_grad()
def copying(model: PreTrainedModel, tokens: Tensor, definition: str, bos: bool) -> Copying:
    """Score tokens [sequence, pos] by any definition but `eigenvalue`, which needs no tokens."""
    exact = parts.eager_copy(model)
    of_sequences = [sequence_copying(exact, sequence, definition, bos) for sequence in tokens]
    return Copying(*(torch.stack(values) for values in zip(*of_sequences, strict=True)))


def sequence_copying(model: PreTrainedModel, tokens: Tensor, definition: str, bos: bool) -> Copying:
    """Return the same for one sequence, without its axis."""
    results = []
    for attention, alone in zip(parts.attentions(model), layers_alone(model, tokens), strict=True):
        heads = range(model.config.num_attention_heads)
        results.append([head_copying(model, attention, alone, head, tokens, definition, bos) for head in heads])
    return Copying(*torch.tensor(results).unbind(-1))


def head_copying(
    model: PreTrainedModel,
    attention: nn.Module,
    alone: LayerAlone,
    head: int,
    tokens: Tensor,
    definition: str,
    bos: bool,
) -> tuple[float, float, float]:
    """Return score, share of self-attention and share of BOS-attention of one head."""
    through = alone.values if definition == "published" else alone.z
    logits = parts.unembed(model, parts.head_output(model, attention, head, through[head]))
    raised = (logits if definition == "olsson" else logits.softmax(-1)).tolist()
    scores, on_self, on_bos = [], [], []
    for j in range(1, len(tokens)):  # the first position has nothing to choose from
        attended = most_attended(alone.pattern[head, j].tolist()[: j + 1])
        share = share_of_rise([raised[j][token] for token in tokens.tolist()[: j + 1]], attended)
        scores.append(2 * share - 1 if definition == "olsson" else share)
        on_self.append(attended == j)
        on_bos.append(bos and attended == 0)
    return mean(scores), mean(on_self), mean(on_bos)


def most_attended(row: list[float]) -> int:
    return row.index(max(row))


def share_of_rise(attendable: list[float], attended: int) -> float:
    """Return the attended token's rise above the mean of the attendable tokens, as a share of all their rises."""
    average = mean(attendable)
    rises = [max(value - average, 0.0) for value in attendable]
    return rises[attended] / sum(rises) if sum(rises) > 0 else 0.0


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@torch.no_grad()
def eigenvalue_copying(model: PreTrainedModel) -> Tensor:
    """Return Σ Re λ / Σ |λ| of every head's full OV circuit W_E W_V W_O W_U: [layer, head]."""
    model = parts.eager_copy(model)
    heads = range(model.config.num_attention_heads)
    return torch.tensor([[eigenvalue_ratio(model, layer, head) for head in heads] for layer in parts.attentions(model)])


def eigenvalue_ratio(model: PreTrainedModel, attention: nn.Module, head: int) -> float:
    """Return the ratio for one head, from W_V W_O W_U W_E, which has the same eigenvalues but for zeros."""
    embeddings = parts.token_embeddings(model)
    eigenvalues = torch.linalg.eigvals(ov_matrix(model, attention, head, embeddings.shape[1]) @ embeddings)
    return (eigenvalues.real.sum() / eigenvalues.abs().sum()).item()


def ov_matrix(model: PreTrainedModel, attention: nn.Module, head: int, d_model: int) -> Tensor:
    """Return W_V W_O W_U of one head, [d_model, vocab]: the logits of each unit vector, less those of biases alone."""
    unit_vectors, nothing = torch.eye(d_model, dtype=torch.float64), torch.zeros(d_model, d_model, dtype=torch.float64)
    return ov_path(model, attention, head, unit_vectors) - ov_path(model, attention, head, nothing)


def ov_path(model: PreTrainedModel, attention: nn.Module, head: int, x: Tensor) -> Tensor:
    """Return the logits that attending to x with one head would add: [pos, vocab] for x [pos, d_model]."""
    values = parts.head_values(model, attention, x)[head]
    return parts.unembed(model, parts.head_output(model, attention, head, values))

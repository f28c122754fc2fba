"""Documents ready to be scored, and what their log-likelihoods say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.documents import Document, Example
from headcount.importance.likelihoods import metrics
from headcount.importance.likelihoods.encoding import Encoding, encode
from headcount.importance.likelihoods.prefix_tree import Tokens
from headcount.importance.likelihoods.score import Likelihood
from headcount.importance.tasks.task import Task
from headcount.results import InputError
from headcount.tracing import Model, provenance


@dataclass(frozen=True)
class Asked:
    """A task's documents as one model reads them.

    Attributes:
        task: The task.
        documents: Its documents, after their shots.
        tokens: Each document's requests as tokens.
        settings: How they were asked for: shots, limit, seed.
    """

    task: Task
    documents: list[Document]
    tokens: list[list[Tokens]]
    settings: dict[str, Any]

    @property
    def cut(self) -> int:
        """In how many documents a context was too long and was cut from the left."""
        return sum(any(request.cut for request in requests) for requests in self.tokens)

    def provenance(self, model: Model, **settings: Any) -> dict[str, Any]:
        """What is needed to ask the same again."""
        task = self.task
        return provenance(
            model,
            task=task.name,
            profile=task.profile,
            metric=task.metric,
            encoding=task.encoding,
            n_documents=len(self.documents),
            source=task.source,
            **self.settings,
            **settings,
        )


class Judged(NamedTuple):
    """What the log-likelihoods of some documents say.

    Attributes:
        correct: 1 for each unit that is right, 0 for the others; NaN where the model's log-likelihoods are.
        choice: The request chosen in each document; -1 where there is nothing to choose.
        gold_log_p: Log-probability of the right continuation, in nats.
        margin: That less the best wrong one; NaN where there is none.
    """

    correct: Float[Tensor, " unit"]
    choice: Float[Tensor, " document"]
    gold_log_p: Float[Tensor, " document"]
    margin: Float[Tensor, " document"]


def ask(model: Model, task: Task, shots: int, limit: int | None, seed: int) -> Asked:
    """A task's documents as tokens.

    Raises:
        InputError: A number is out of range, there are too few rows, or a continuation has no tokens.
    """
    documents = task.documents(shots, limit, seed)
    tokens = [encoded(model, document.requests, task.encoding) for document in documents]
    return Asked(task, documents, tokens, {"shots": shots, "limit": limit, "seed": seed})


def encoded(model: Model, requests: Sequence[Example], encoding: Encoding) -> list[Tokens]:
    """Requests as tokens of this model."""
    if model.tokenizer is None:
        raise InputError(f"{model.name} was loaded without a tokenizer: load_model(..., tokenizer=)")
    longest = model.sizes.context
    return [
        encode(model.tokenizer, request.context, request.continuation, longest=longest, encoding=encoding)
        for request in requests
    ]


def judge(asked: Asked, found: Sequence[list[Likelihood]]) -> Judged:
    """What the log-likelihoods of every document's requests say."""
    log_p = [[value.log_p for value in values] for values in found]
    greedy = [[value.greedy for value in values] for values in found]
    pairs = list(zip(asked.documents, found, strict=True))
    return Judged(
        correct=torch.tensor(asked.task.correct(asked.documents, log_p, greedy), dtype=torch.float32),
        choice=torch.tensor([_choice(values) for _, values in pairs], dtype=torch.float32),
        gold_log_p=torch.tensor([_gold(document, values) for document, values in pairs]),
        margin=torch.tensor([_margin(document, values) for document, values in pairs]),
    )


def _choice(values: list[Likelihood]) -> float:
    return metrics.chosen([value.log_p for value in values]) if len(values) > 1 else -1


def _gold(document: Document, values: list[Likelihood]) -> float:
    return metrics.highest([values[choice].log_p for choice in document.gold])


def _margin(document: Document, values: list[Likelihood]) -> float:
    wrong = [value.log_p for choice, value in enumerate(values) if choice not in document.gold]
    return _gold(document, values) - metrics.highest(wrong) if wrong else math.nan

"""A task's documents as tokens, and a model's answers to them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from headcount.importance.documents import Document, Example
from headcount.importance.likelihoods import metrics
from headcount.importance.likelihoods.encoding import EncodedRequest, Encoding, encode
from headcount.importance.likelihoods.log_likelihoods import LogLikelihood
from headcount.importance.tasks.task import Task
from headcount.results import InputError
from headcount.tracing import Model, provenance


@dataclass(frozen=True)
class EncodedTask:
    """A task's documents as one model reads them.

    Attributes:
        task: The task.
        documents: Its documents, after their shots.
        requests: Each document's requests as tokens.
        settings: The options of the documents: shots, limit, seed.
    """

    task: Task
    documents: list[Document]
    requests: list[list[EncodedRequest]]
    settings: dict[str, Any]

    @property
    def cut(self) -> int:
        """The number of documents whose context was too long and was cut from the left."""
        return sum(any(request.cut for request in requests) for requests in self.requests)

    @property
    def merged(self) -> list[int]:
        """The rows of documents of which only a part of a continuation is scored; see `EncodedRequest.merged`."""
        pairs = zip(self.documents, self.requests, strict=True)
        return [document.index for document, requests in pairs if any(request.merged for request in requests)]

    @property
    def chance(self) -> float:
        """The expected accuracy of guessing."""
        return self.task.chance(self.documents)

    @property
    def majority(self) -> float:
        """The accuracy of the best constant answer."""
        return self.task.majority(self.documents)

    def provenance(self, model: Model, **settings: Any) -> dict[str, Any]:
        """Return everything that is needed to score the same documents again."""
        task = self.task
        return provenance(
            model,
            task=task.name,
            profile=task.profile,
            metric=task.metric,
            encoding=task.encoding,
            n_documents=len(self.documents),
            **bos_record(model, [request for requests in self.requests for request in requests]),
            source=task.source,
            **self.settings,
            **settings,
        )


class Answers(NamedTuple):
    """A model's answers to some documents.

    Attributes:
        correct: 1 for each unit that is right, else 0; NaN where the model's log-likelihoods are.
        choice: The request chosen in each document; -1 where there is only one.
        gold_log_p: Log-probability of the right continuation, in nats.
        margin: That less the best wrong one; NaN where there is none.
        greedy: 1 where the likeliest token at each place gives a right continuation, else 0; NaN where the choices
            stand after contexts of their own, so that none of them is generated.
        ties: The number of documents in which several choices are exactly as likely.
    """

    correct: Float[Tensor, " unit"]
    choice: Float[Tensor, " document"]
    gold_log_p: Float[Tensor, " document"]
    margin: Float[Tensor, " document"]
    greedy: Float[Tensor, " document"]
    ties: int


def encode_task(model: Model, task: Task, shots: int, limit: int | None, seed: int) -> EncodedTask:
    """Return a task's documents as tokens.

    Raises:
        InputError: A number is out of range, there are too few rows, or a continuation has no tokens.
    """
    documents = task.documents(shots, limit, seed)
    requests = [encode_examples(model, document.requests, task.encoding) for document in documents]
    return EncodedTask(task, documents, requests, {"shots": shots, "limit": limit, "seed": seed})


def encode_examples(model: Model, examples: Sequence[Example], encoding: Encoding) -> list[EncodedRequest]:
    """Return examples, or a document's requests, as tokens of this model.

    Raises:
        InputError: The model has no tokenizer, or a continuation has no tokens.
    """
    if model.tokenizer is None:
        raise InputError(f"{model.name} was loaded without a tokenizer: load_model(..., tokenizer=)")
    longest = model.sizes.context
    return [
        encode(model.tokenizer, example.context, example.continuation, longest=longest, encoding=encoding)
        for example in examples
    ]


def bos_record(model: Model, requests: Sequence[EncodedRequest]) -> dict[str, Any]:
    """Return the entries of a provenance on the BOS token: its number, and True if every request begins with it."""
    return {"bos": model.bos, "bos_in_front": all(request.ids[0] == model.bos for request in requests)}


def answers_of(encoded: EncodedTask, log_likelihoods: Sequence[list[LogLikelihood]]) -> Answers:
    """Return the answers that follow from the log-likelihoods of every document's requests."""
    log_p = [[request.log_p for request in requests] for requests in log_likelihoods]
    greedy = [[request.greedy for request in requests] for requests in log_likelihoods]
    pairs = list(zip(encoded.documents, log_p, strict=True))
    return Answers(
        correct=torch.tensor(encoded.task.correct(encoded.documents, log_p, greedy), dtype=torch.float32),
        choice=torch.tensor([_choice(values) for values in log_p], dtype=torch.float32),
        gold_log_p=torch.tensor([_gold(document, values) for document, values in pairs]),
        margin=torch.tensor([_margin(document, values) for document, values in pairs]),
        greedy=torch.tensor([_greedy(*pair) for pair in zip(encoded.documents, greedy, log_p, strict=True)]),
        ties=sum(metrics.is_tied(values) for values in log_p),
    )


def _choice(log_p: list[float]) -> float:
    return metrics.chosen(log_p) if len(log_p) > 1 else -1


def _gold(document: Document, log_p: list[float]) -> float:
    return metrics.highest([log_p[choice] for choice in document.gold])


def _greedy(document: Document, greedy: list[bool], log_p: list[float]) -> float:
    """Return 1 if greedy decoding gives one of the right continuations, else 0; NaN where that has no meaning."""
    if len({request.context for request in document.requests}) > 1 or any(map(math.isnan, log_p)):
        return math.nan
    return float(any(greedy[choice] for choice in document.gold))


def _margin(document: Document, log_p: list[float]) -> float:
    wrong = [value for choice, value in enumerate(log_p) if choice not in document.gold]
    return _gold(document, log_p) - metrics.highest(wrong) if wrong else math.nan

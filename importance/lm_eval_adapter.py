"""A model for lm-eval, the evaluation harness: `lm_eval.simple_evaluate(model=HarnessModel(model), ...)`."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from headcount.importance.likelihoods.encoding import (
    EncodedRequest,
    encode,
    encode_with_special_tokens,
    first_token,
)
from headcount.importance.likelihoods.log_likelihoods import LogLikelihood, log_likelihoods
from headcount.results import InputError
from headcount.tracing import BatchSize, Model


class HarnessModel(LM):  # type: ignore[misc]  # lm-eval publishes no types
    """Answers lm-eval's log-likelihood requests; requests of one document share their common prefix."""

    def __init__(self, model: Model, batch_size: BatchSize = "auto") -> None:
        super().__init__()
        self.model = model
        self.size = batch_size

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log p(continuation | context) of each request, and True if its tokens are the likeliest ones."""
        encoded = [self._encode(*request.args) for request in requests]
        documents: dict[Any, list[int]] = {}
        for number, request in enumerate(requests):
            documents.setdefault((request.task_name, request.doc_id), []).append(number)
        scores = self._scores([[encoded[number] for number in numbers] for numbers in documents.values()])
        answers: dict[int, tuple[float, bool]] = {}
        for numbers, values in zip(documents.values(), scores, strict=True):
            answers.update({number: (*value,) for number, value in zip(numbers, values, strict=True)})
        return [answers[number] for number in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log p of whole texts, in windows as long as the context; every token is predicted once."""
        totals = []
        for (text,) in (request.args for request in requests):
            ids = encode_with_special_tokens(self.model.tokenizer, text)
            rolling = get_rolling_token_windows(ids, first_token(self.model.tokenizer), self._longest, context_len=1)
            windows = [make_disjoint_window(window) for window in rolling]
            pieces = [[EncodedRequest((*context, *rest), len(context))] for context, rest in windows]
            totals.append(sum(value.log_p for (value,) in self._scores(pieces)))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Refuse: this model scores texts and writes none.

        Raises:
            InputError: Always.
        """
        raise InputError("this model scores texts and writes none: choose a task of log-likelihoods or multiple choice")

    @property
    def _longest(self) -> int:
        return self.model.sizes.context

    def _encode(self, context: str, continuation: str) -> EncodedRequest:
        return encode(self.model.tokenizer, context, continuation, longest=self._longest)

    def _scores(self, documents: Sequence[Sequence[EncodedRequest]]) -> list[list[LogLikelihood]]:
        return log_likelihoods(self.model, documents, batch_size=self.size)

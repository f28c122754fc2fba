"""The scorer as a model of the evaluation harness: `lm_eval.simple_evaluate(model=HarnessModel(model), ...)`."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from headcount.importance.likelihoods.encoding import encode, prefix_token, with_defaults
from headcount.importance.likelihoods.prefix_tree import Tokens
from headcount.importance.likelihoods.score import Likelihood, likelihoods
from headcount.results import InputError
from headcount.tracing import BatchSize, Model


class HarnessModel(LM):  # type: ignore[misc]  # lm-eval publishes no types
    """Answers the harness's log-likelihood requests; requests of one document share their common prefix."""

    def __init__(self, model: Model, batch_size: BatchSize = "auto") -> None:
        super().__init__()
        self.model = model
        self.size = batch_size

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log p(continuation | context) of each request, and whether its tokens are the likeliest ones."""
        encoded = [self._encode(*request.args) for request in requests]
        places: dict[Any, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault((request.task_name, request.doc_id), []).append(place)
        found = self._scored([[encoded[place] for place in group] for group in places.values()])
        answers: dict[int, tuple[float, bool]] = {}
        for group, values in zip(places.values(), found, strict=True):
            answers.update({place: (*value,) for place, value in zip(group, values, strict=True)})
        return [answers[place] for place in range(len(requests))]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log p of whole texts, in windows as long as the context; every token is predicted once."""
        totals = []
        for (text,) in (request.args for request in requests):
            ids = with_defaults(self.model.tokenizer, text)
            rolling = get_rolling_token_windows(ids, prefix_token(self.model.tokenizer), self._longest, context_len=1)
            windows = [make_disjoint_window(window) for window in rolling]
            pieces = [[Tokens((*given, *asked), len(given))] for given, asked in windows]
            totals.append(sum(value.log_p for (value,) in self._scored(pieces)))
        return totals

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Not offered: this model scores texts and writes none.

        Raises:
            InputError: Always.
        """
        raise InputError("this model scores texts and writes none: choose a task of log-likelihoods or multiple choice")

    @property
    def _longest(self) -> int:
        return self.model.sizes.context

    def _encode(self, context: str, continuation: str) -> Tokens:
        return encode(self.model.tokenizer, context, continuation, longest=self._longest)

    def _scored(self, documents: Sequence[Sequence[Tokens]]) -> list[list[Likelihood]]:
        return likelihoods(self.model, documents, batch_size=self.size)

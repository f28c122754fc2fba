"""A model for lm-eval, the evaluation harness: `lm_eval.simple_evaluate(model=HarnessModel(model), ...)`."""

from collections.abc import Sequence
from typing import Any, get_args

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from headcount.importance.likelihoods.encoding import (
    EncodedRequest,
    Encoding,
    encode,
    encode_with_special_tokens,
    first_token,
)
from headcount.importance.likelihoods.log_likelihoods import LogLikelihood, log_likelihoods
from headcount.results import InputError
from headcount.results.internal import checks
from headcount.tracing import BatchSize, Model


class HarnessModel(LM):  # type: ignore[misc]  # lm-eval publishes no types
    """Answers lm-eval's log-likelihood requests; requests of one document share their common prefix.

    Args:
        model: The model, also one that `pruned` or `load_model` of a pruned folder returned.
        batch_size: Documents run together.
        encoding: `joint`, as lm-eval, or `joint-keep-bos`; see `headcount.importance.likelihoods.encoding.encode`.
    """

    def __init__(self, model: Model, batch_size: BatchSize = "auto", encoding: Encoding = "joint") -> None:
        super().__init__()
        if not isinstance(model, Model):
            raise InputError(
                f"expected a model that headcount.load_model returned, got {type(model).__name__}: "
                "HarnessModel(load_model(model, tokenizer=tokenizer))"
            )
        checks.check_one_of("encoding", encoding, get_args(Encoding))
        self.model, self.size, self.encoding = model, batch_size, encoding

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse lm-eval's cache for a model without some parts: its keys do not know them.

        Raises:
            InputError: Parts are removed at present, or were pruned.
        """
        self._check_cache(cache_hook)
        super().set_cache_hook(cache_hook)

    def __getattribute__(self, name: str) -> Any:
        # lm-eval's cache looks the method up, and then answers without calling it.
        if name in ("loglikelihood", "loglikelihood_rolling"):
            self._check_cache(self.cache_hook)
        return super().__getattribute__(name)

    def _check_cache(self, cache_hook: Any) -> None:
        kept = getattr(cache_hook, "dbdict", None) is not None
        if kept and (self.model.pruned is not None or self.model.changed):
            raise InputError(
                "use_cache= serves answers by request alone, whatever is removed from the model or hooked: leave it out"
            )

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
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, for lm-eval's records."""
        return str(self.model.tokenizer.name_or_path).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the tokenizer's chat template, or that of a name; None if none is wanted.

        Raises:
            InputError: The tokenizer has none, or none of that name.
        """
        if chat_template is False or chat_template is None:
            return None
        template = self.model.tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default" if chat_template is True else chat_template)
        if not template:
            raise InputError(f"the tokenizer of {self.model.name} has no chat template: leave apply_chat_template out")
        return str(template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text, in the tokenizer's chat template."""
        text: str = self.model.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return text

    @property
    def _longest(self) -> int:
        return self.model.sizes.context

    def _encode(self, context: str, continuation: str) -> EncodedRequest:
        return encode(self.model.tokenizer, context, continuation, longest=self._longest, encoding=self.encoding)

    def _scores(self, documents: Sequence[Sequence[EncodedRequest]]) -> list[list[LogLikelihood]]:
        return log_likelihoods(self.model, documents, batch_size=self.size)

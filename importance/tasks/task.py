"""A task: documents to score, examples to differentiate, and the metric of its answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from headcount.importance.documents import Document, Example, Prompt
from headcount.importance.likelihoods import metrics
from headcount.importance.likelihoods.encoding import Encoding
from headcount.importance.prompts.shuffled_answers import shuffled_answers
from headcount.importance.rows.rows import Rows
from headcount.importance.rows.schema import Row
from headcount.importance.tasks.shots import ShotPool
from headcount.results import InputError
from headcount.results.internal import checks, is_whole

Profile = Literal["harness", "paper"]
ENCODING: dict[str, Encoding] = {"harness": "joint", "paper": "apart"}
"""The encoding of each profile. Joint: context and continuation as one text, with the special tokens that the tokenizer
adds by default. Apart: one by one, with none."""

REFERENCE = 100
"""Train rows, at most, that an ablation's means and other prompts come from."""

_SHUFFLE = 42  # the harness of the paper's time shuffled documents so before it took the first ones


class Prompter(Protocol):
    """Turns rows into prompts."""

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Return the prompts of rows."""


@dataclass(frozen=True, eq=False)
class Task:
    """A task, as one profile prompts it.

    Args:
        name: The task.
        profile: `"harness"` (lm-eval today) or `"paper"` (lm-eval at the time of Bansal et al. 2023).
        metric: The metric of a unit, one of `metrics.METRICS`.
        rows: Scored rows and the pool.
        prompter: Turns rows into prompts.
        fields: The fields of a row's content.
        classes: True if every row has the same few answers to choose from.
        notes: Known differences of this task in this profile.
        keep_bos: True keeps BOS in front of a context that is too long and cut from the left.
    """

    name: str
    profile: Profile
    metric: str
    rows: Rows = field(repr=False)
    prompter: Prompter = field(repr=False)
    fields: Sequence[str] = field(repr=False)
    classes: bool = False
    notes: tuple[str, ...] = ()
    keep_bos: bool = False

    @property
    def encoding(self) -> Encoding:
        """The encoding of text as tokens: `"joint"` with the tokenizer's special tokens, `"apart"` with none."""
        return "joint-keep-bos" if self.keep_bos else ENCODING[self.profile]

    @property
    def source(self) -> dict[str, Any]:
        """The source of the rows and how they were split, as JSON can hold it."""
        notes = [*self.rows.source.get("notes", []), *self.notes]
        return {**self.rows.source, **({"notes": notes} if notes else {})}

    def documents(self, shots: int = 0, limit: int | None = None, seed: int = 0) -> list[Document]:
        """Return the scored rows as requests.

        Args:
            shots: Solved examples in front of each, drawn from the pool.
            limit: Documents at most: the first ones, in original order (harness) or after the shuffle of the paper's
                harness (paper). Where whole questions are scored, only whole questions are taken.
            seed: Seed of the shots.

        Raises:
            InputError: A number is out of range, or the pool is too small.
        """
        _check_options(shots, limit, seed)
        order = self._order(limit)
        rows = [self.rows.scored[index] for index in order]
        requested = zip(order, rows, self._requests(rows, shots, seed), strict=True)
        return [Document(index, requests, gold, question_of(row)) for index, row, (requests, gold) in requested]

    def examples(self, shots: int = 0, limit: int | None = 2500, split: str = "train", seed: int = 0) -> list[Example]:
        """Return rows with their right continuation.

        Args:
            shots: Solved examples in front of each, drawn from the pool, never the row itself.
            limit: Examples at most, the first ones.
            split: `"train"`, the pool; or `"scored"`, the rows that accuracy is measured on.
            seed: Seed of the shots.

        Raises:
            InputError: A number is out of range, there is no such split, or the pool is too small.
        """
        _check_options(shots, limit, seed)
        if split not in {"train", "scored"}:
            raise InputError(f"expected the split 'train' or 'scored', got {split!r}")
        return self._examples((self._pool() if split == "train" else list(self.rows.scored))[:limit], shots, seed)

    def reference(self, shots: int = 0, limit: int = REFERENCE, seed: int = 0) -> list[Example]:
        """Return train rows with their right continuation, to take means and other prompts of an ablation from.

        They are the last rows of the pool, in the order of `examples`, which takes the first ones: where the pool is
        large enough, no row is both measured and a reference.

        Args:
            shots: As for `examples`.
            limit: Examples at most.
            seed: Seed of the shots.

        Raises:
            InputError: A number is out of range, or the pool is too small.
        """
        _check_options(shots, limit, seed)
        return self._examples(self._pool()[-limit:], shots, seed)

    def _examples(self, rows: list[Row], shots: int, seed: int) -> list[Example]:
        if not rows:
            raise InputError(f"{self.name} has no rows to take examples from: {self._pool_advice()}")
        return [requests[gold[0]] for requests, gold in self._requests(rows, shots, seed)]

    def of_pool(self) -> "Task":
        """Return the same task with the pool as its scored rows, to rank parts on other documents than those scored.

        Raises:
            InputError: The pool is empty.
        """
        if not self.rows.pool:
            raise InputError(f"{self.name} has no train rows to rank by: {self._pool_advice()}")
        return replace(self, rows=replace(self.rows, scored=self.rows.pool))

    def correct(
        self, documents: Sequence[Document], log_p: Sequence[Sequence[float]], greedy: Sequence[Sequence[bool]]
    ) -> list[float]:
        """Return 1 for each unit that is right, else 0, from its documents' log-likelihoods (see `metrics.correct`)."""
        return metrics.correct(self.metric, documents, log_p, greedy)

    def chance(self, documents: Sequence[Document]) -> float:
        """Return the expected accuracy of guessing."""
        return metrics.chance(self.metric, documents)

    def majority(self, documents: Sequence[Document]) -> float:
        """Return the accuracy of the best constant answer; NaN where the rows have no answers in common."""
        return metrics.majority(self.metric, documents) if self.classes else float("nan")

    def _requests(self, rows: list[Row], shots: int, seed: int) -> list[tuple[tuple[Example, ...], tuple[int, ...]]]:
        """Return requests and right choices of rows, each after its own shots."""
        drawn = self._draw_shots(rows, shots, seed)
        distinct = {id(row): row for row_shots in drawn for row in row_shots}
        solved = dict(zip(distinct, self.prompter.prompts(list(distinct.values())), strict=True))
        before = [[solved[id(row)] for row in row_shots] for row_shots in drawn]
        prompts = self.prompter.prompts(rows)
        return [
            (prompt.after("".join(shot.shot for shot in text), shuffled_answers(text, seed)), prompt.gold)
            for prompt, text in zip(prompts, before, strict=True)
        ]

    def _draw_shots(self, rows: list[Row], shots: int, seed: int) -> list[list[Row]]:
        if shots == 0:
            return [[] for _ in rows]
        pool = self._pool()
        if not pool:
            raise InputError(f"{self.name} has no rows to draw {shots} shots from: {self._pool_advice()}")
        shot_pool = ShotPool(pool, self.fields, question_of)
        try:
            return [shot_pool.draw(row, shots, seed) for row in rows]
        except InputError as error:
            raise InputError(f"{self.name}: {error}") from error

    def _pool(self) -> list[Row]:
        """Return the pool; of WSC, the paper's harness showed positive rows only."""
        if self.profile == "paper" and self.name == "wsc":
            return [row for row in self.rows.pool if row["label"]]
        return list(self.rows.pool)

    def _pool_advice(self) -> str:
        if self.rows.source["source"] == "folder":
            return f"put a {self.name}.train.jsonl or {self.name}.shots.jsonl into {self.rows.source['folder']}"
        return "pass data=, a folder with train rows as JSON Lines"

    def _order(self, limit: int | None) -> list[int]:
        order = list(range(len(self.rows.scored)))
        if self.profile == "paper":
            random.Random(_SHUFFLE).shuffle(order)  # noqa: S311 - the paper's shuffle
        return self._whole_questions(order, limit or len(order)) if self.metric == "acc_all" else order[:limit]

    def _whole_questions(self, order: list[int], limit: int) -> list[int]:
        """Return the rows of the questions that appear first, `limit` rows at most."""
        answers: dict[str | None, list[int]] = {}
        for index in order:
            answers.setdefault(question_of(self.rows.scored[index]), []).append(index)
        taken: list[int] = []
        for indices in answers.values():
            if len(taken) + len(indices) > limit:
                break
            taken += indices
        if not taken:
            first = len(next(iter(answers.values())))
            raise InputError(f"{self.name} is scored by whole questions, the first of {first} answers: raise the limit")
        return taken


def question_of(row: Row) -> str | None:
    """Return the question that a row is one answer of several to (MultiRC); None where rows stand for themselves."""
    number = row.get("idx")
    if isinstance(number, dict) and "paragraph" in number and "question" in number:
        return f"{number['paragraph']}-{number['question']}"
    return None


def _check_options(shots: int, limit: int | None, seed: int) -> None:
    if not is_whole(shots) or shots < 0:
        raise InputError(f"expected 0 shots or more, got {shots!r:.40}{checks.int_advice(shots)}")
    if limit is not None and (not is_whole(limit) or limit < 1):
        advice = f"leave it out to take everything{checks.int_advice(limit)}"
        raise InputError(f"expected a limit of 1 or more, got {limit!r:.40}: {advice}")
    checks.check_seed(seed)

"""Prompts of lm-eval 0.4.13, made by lm-eval itself."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from headcount.importance.documents import Prompt
from headcount.importance.prompts.lm_eval_definitions import quiet_lm_eval
from headcount.importance.rows.schema import Row


class HarnessPrompts:
    """Prompts as lm-eval makes them.

    Args:
        task: lm-eval's task object.
        process: True if rows are raw, so that the task's own `process_docs` has to go over them first.
        right: Returns the right choices of a processed row, where the task's target names only one of several.
    """

    def __init__(self, task: Any, process: bool, right: Callable[[Row], Sequence[int]] | None = None) -> None:
        self.task, self._right = task, right
        self._process = task.config.process_docs if process else None

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Return the prompts of rows."""
        with _templates_compiled_once():
            return [self._prompt(row) for row in self._processed(rows)]

    def _processed(self, rows: Sequence[Row]) -> Sequence[Row]:
        if self._process is None or not rows:
            return rows
        import datasets

        with quiet_lm_eval():
            processed: list[Row] = list(self._process(datasets.Dataset.from_list(list(rows))))
        return processed

    def _prompt(self, row: Row) -> Prompt:
        task = self.task
        context = task.fewshot_context(row, 0, gen_prefix=task.doc_to_prefix(row))
        instances = task.construct_requests(row, context)
        pairs = [instance.args for instance in (instances if isinstance(instances, list) else [instances])]
        choices = len(task.doc_to_choice(row)) if task.config.doc_to_choice is not None else 1
        contexts, continuations = zip(*(pair[:2] for pair in pairs[:choices]), strict=True)
        prefix = task.resolve_field(row, task.config.description) or ""
        contexts = tuple(context.removeprefix(prefix) for context in contexts)
        return Prompt(contexts, continuations, self._gold(row), self._shot(row), prefix)

    def _gold(self, row: Row) -> tuple[int, ...]:
        """Return the right choices, as lm-eval's `process_results` finds them."""
        if self._right is not None:
            return tuple(self._right(row))
        if self.task.OUTPUT_TYPE == "loglikelihood":
            return (0,)
        choices = self.task.doc_to_choice(row)
        gold = self.task.doc_to_text(row) if self.task.multiple_input else self.task.doc_to_target(row)
        gold = gold if isinstance(gold, list) else [gold]
        return tuple(choices.index(right) if isinstance(right, str) else right for right in gold)

    def _shot(self, row: Row) -> str:
        """Return the row with its answer, as lm-eval's `fewshot_context` writes it."""
        task, style = self.task, self.task.fewshot_cfg
        text = task.doc_to_text(row, style.doc_to_text)
        choices: list[str] = task.doc_to_choice(row, style.doc_to_choice) if style.doc_to_choice else []
        target = task.doc_to_target(row, style.doc_to_target)
        if task.multiple_input:
            text, choices = choices[text], []
        turn = task.build_qa_turn(
            q=text,
            c=choices,
            a=target,
            gen_prefix=task.resolve_field(row, style.gen_prefix),
            tgt_delim=style.target_delimiter,
            few_delim=style.fewshot_delimiter,
        )
        return "".join(message.to_text() for message in turn)


@contextlib.contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """Compile each template once: lm-eval compiles it for every row, which takes ten times as long as all the rest."""
    from lm_eval.utils import env

    env.from_string = cache(env.from_string)
    try:
        yield
    finally:
        del env.from_string  # of this object; its class has the real one

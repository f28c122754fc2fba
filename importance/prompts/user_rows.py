"""Prompts of a user's own task, whose rows state the context, the choices and the right ones themselves."""

from collections.abc import Sequence

from headcount.importance.documents import Prompt
from headcount.importance.rows.schema import Row


class UserPrompts:
    """Prompts of rows with `context`, `choices`, `gold` and perhaps `shot`."""

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Return the prompts of rows."""
        return [_prompt(row) for row in rows]


def _prompt(row: Row) -> Prompt:
    choices = tuple(row["choices"])
    gold = tuple(row["gold"]) if isinstance(row["gold"], list) else (row["gold"],)
    shot = row.get("shot", f"{row['context']}{choices[gold[0]]}\n\n")
    return Prompt((row["context"],) * len(choices), choices, gold, shot)

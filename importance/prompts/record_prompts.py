"""Prompts and scores of ReCoRD, as lm-eval 0.4.13 has them; record.yaml names these functions."""

from collections.abc import Sequence
from typing import Any

from headcount.importance.prompts.paper import right_entities
from headcount.importance.rows.schema import Row


def process_docs(dataset: Any) -> Any:
    """Sort entities and answers, and drop duplicates."""
    return dataset.map(lambda row: {key: sorted(set(row[key])) for key in ("entities", "answers")})


def doc_to_text(row: Row) -> str:
    """Return the passage, its highlights as a list."""
    text, *highlights = row["passage"].strip().split("\n@highlight\n")
    return text + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)


def doc_to_choice(row: Row) -> list[str]:
    """Return the query as a further highlight, once with each entity in its gap."""
    return [f"  - {row['query']}".replace("@placeholder", entity) for entity in row["entities"]]


def doc_to_target(row: Row) -> str:
    """Return the choice of the first answer."""
    return f"  - {row['query']}".replace("@placeholder", row["answers"][0])


def process_results(row: Row, results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Return the exact match: 1 if the likeliest entity is an answer, in SQuAD's normal form, else 0."""
    values = [log_p for log_p, _ in results]
    return {"em": float(values.index(max(values)) in right_choices(row))}


def right_choices(row: Row) -> list[int]:
    """Return the numbers of the entities that are answers, the first answer first."""
    return right_entities(row["entities"], row["answers"])

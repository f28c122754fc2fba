"""What matters for a task: tasks, accuracy, head and FFN importance, and comparisons of what was measured."""

from headcount.importance.documents import Document, Example
from headcount.importance.measure import accuracy, ffn_importance, head_importance
from headcount.importance.pruning.prune import prune, prune_grid
from headcount.importance.tasks.loading import load_task
from headcount.importance.tasks.task import Task

__all__ = [
    "Document",
    "Example",
    "Task",
    "accuracy",
    "ffn_importance",
    "head_importance",
    "load_task",
    "prune",
    "prune_grid",
]

"""What matters for a task: tasks, accuracy, head and FFN importance, and comparisons of what was measured."""

from importance import compare
from importance.example import Document, Example
from importance.loading import load_task
from importance.measure import accuracy, ffn_importance, head_importance
from importance.pruning import prune, prune_grid
from importance.task import Task

__all__ = [
    "Document",
    "Example",
    "Task",
    "accuracy",
    "compare",
    "ffn_importance",
    "head_importance",
    "load_task",
    "prune",
    "prune_grid",
]

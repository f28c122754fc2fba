"""What matters for a task: tasks, accuracy, head and FFN importance."""

from importance.aggregates import aggregate
from importance.example import Document, Example
from importance.loading import load_task
from importance.measure import accuracy, ffn_importance, head_importance
from importance.task import Task

__all__ = ["Document", "Example", "Task", "accuracy", "aggregate", "ffn_importance", "head_importance", "load_task"]

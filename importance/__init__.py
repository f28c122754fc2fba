"""What matters for a task: tasks, head and FFN importance, accuracy."""

from importance.example import Document, Example
from importance.loading import load_task
from importance.task import Task

__all__ = ["Document", "Example", "Task", "load_task"]

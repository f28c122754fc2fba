"""Importance for a task: tasks, accuracy, importance of heads and feed-forward networks, and pruning."""

if __name__ != "headcount.importance":  # imported from the checkout's folder, it would be a second copy
    raise ImportError(f"the module {__name__} is part of headcount: import headcount.importance instead")

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.importance.ablation.ablated import ablated, pruned
    from headcount.importance.ablation.reference import ffn_means, head_means
    from headcount.importance.attribution.interactions import interaction
    from headcount.importance.causes.head_effects import head_verdicts
    from headcount.importance.causes.set_effects import set_effects
    from headcount.importance.documents import Document, Example
    from headcount.importance.function_vectors import function_vector_heads
    from headcount.importance.gates import causal_gates
    from headcount.importance.measure import accuracy, expert_importance, ffn_importance, head_importance
    from headcount.importance.pruning.prune import prune, prune_grid
    from headcount.importance.tasks.loading import load_task
    from headcount.importance.tasks.paper_task import lm_eval_task
    from headcount.importance.tasks.task import Task

__all__ = [
    "Document",
    "Example",
    "Task",
    "ablated",
    "accuracy",
    "causal_gates",
    "expert_importance",
    "ffn_importance",
    "ffn_means",
    "function_vector_heads",
    "head_importance",
    "head_means",
    "head_verdicts",
    "interaction",
    "lm_eval_task",
    "load_task",
    "prune",
    "prune_grid",
    "pruned",
    "set_effects",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

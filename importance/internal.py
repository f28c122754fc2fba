"""The face of `importance` for the other rooms: tasks and their rows, pruning, work of measurements. Not public."""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.importance.attribution.activation_norms import activation_norms
    from headcount.importance.evaluation import encode_task
    from headcount.importance.measure import RankSplit
    from headcount.importance.prompts.user_rows import UserPrompts
    from headcount.importance.pruning.orders import EXAMPLES, removal_steps
    from headcount.importance.pruning.prune import (
        Strategy,
        answers_with,
        pruning_curve,
        pruning_grid,
        recomputed_ranking,
    )
    from headcount.importance.pruning.pruned_answers import Component, PrunedAnswers, n_parts
    from headcount.importance.rows import wheel
    from headcount.importance.rows.definitions import paper_tasks
    from headcount.importance.rows.folder import check_rows_folder
    from headcount.importance.rows.hub import HUB
    from headcount.importance.rows.rows import Rows
    from headcount.importance.rows.schema import Row
    from headcount.importance.tasks.catalogue import WORD_LISTS, resolve_name
    from headcount.importance.tasks.listing import ListedTask, list_tasks
    from headcount.importance.tasks.setup import TaskSetup
    from headcount.importance.tasks.task import Profile
    from headcount.importance.work import (
        SAMPLE,
        accuracy_work,
        document_items,
        example_items,
        ffn_importance_work,
        function_vector_work,
        gates_work,
        head_importance_work,
        with_ablation,
    )

__all__ = [
    "EXAMPLES",
    "HUB",
    "SAMPLE",
    "WORD_LISTS",
    "Component",
    "ListedTask",
    "Profile",
    "PrunedAnswers",
    "RankSplit",
    "Row",
    "Rows",
    "Strategy",
    "TaskSetup",
    "UserPrompts",
    "accuracy_work",
    "activation_norms",
    "answers_with",
    "check_rows_folder",
    "document_items",
    "encode_task",
    "example_items",
    "ffn_importance_work",
    "function_vector_work",
    "gates_work",
    "head_importance_work",
    "list_tasks",
    "n_parts",
    "paper_tasks",
    "pruning_curve",
    "pruning_grid",
    "recomputed_ranking",
    "removal_steps",
    "resolve_name",
    "wheel",
    "with_ablation",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

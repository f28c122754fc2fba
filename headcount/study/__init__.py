"""A study: everything that is measured on one model, in units of work that can be interrupted and resumed."""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.study.config import HEAD_KINDS, PRESETS, RANKINGS, StudyConfig, TaskGroup, parse_config, read_config
    from headcount.study.model_and_run import create_target_run, load_target, manifest_entry, open_target, study_target
    from headcount.study.run_comparison import compare_runs
    from headcount.study.schedule import Schedule, measure_units
    from headcount.study.sharing import pull_run, push_run
    from headcount.study.summaries import is_summarised, summarise
    from headcount.study.toml_files import parse_toml, read_toml_text
    from headcount.study.training.checkpoints import (
        measure_checkpoints,
        open_checkpoints,
        scores_over_training,
        training_table,
    )
    from headcount.study.unit import FailedError, Unit, check_settings, measure_unit, set_aside_outdated
    from headcount.study.unit_order import StudyTask, check_distinct, load_tasks, study_units
    from headcount.study.units.analyses import analysis_units, derived_units
    from headcount.study.units.atlas import atlas_unit, texts_of_tasks
    from headcount.study.units.causes import causes_units
    from headcount.study.units.heads import composition_unit, function_vector_unit, gates_unit, paths_unit
    from headcount.study.units.induction import induction_units
    from headcount.study.units.means import mean_units
    from headcount.study.units.pruning import pruning_units
    from headcount.study.units.rankings import rank_units
    from headcount.study.units.tasks import accuracy_unit, expert_unit, ffn_unit, head_unit, load_setups
    from headcount.study.verification.anchors import KnownModel, known_model, known_models
    from headcount.study.verification.verify import all_passed, known_numbers, verify_model

__all__ = [
    "HEAD_KINDS",
    "PRESETS",
    "RANKINGS",
    "FailedError",
    "KnownModel",
    "Schedule",
    "StudyConfig",
    "StudyTask",
    "TaskGroup",
    "Unit",
    "accuracy_unit",
    "all_passed",
    "analysis_units",
    "atlas_unit",
    "causes_units",
    "check_distinct",
    "check_settings",
    "compare_runs",
    "composition_unit",
    "create_target_run",
    "derived_units",
    "expert_unit",
    "ffn_unit",
    "function_vector_unit",
    "gates_unit",
    "head_unit",
    "induction_units",
    "is_summarised",
    "known_model",
    "known_models",
    "known_numbers",
    "load_setups",
    "load_target",
    "load_tasks",
    "manifest_entry",
    "mean_units",
    "measure_checkpoints",
    "measure_unit",
    "measure_units",
    "open_checkpoints",
    "open_target",
    "parse_config",
    "parse_toml",
    "paths_unit",
    "pruning_units",
    "pull_run",
    "push_run",
    "rank_units",
    "read_config",
    "read_toml_text",
    "scores_over_training",
    "set_aside_outdated",
    "study_target",
    "study_units",
    "summarise",
    "texts_of_tasks",
    "training_table",
    "verify_model",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

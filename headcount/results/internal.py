"""The face of `results` for the other rooms: the storage of files, checks of fields, names. Not public."""

from typing import TYPE_CHECKING

from headcount.lazy import lazy_names

if TYPE_CHECKING:  # imported at their first use
    from headcount.results.kinds.atlas.head_atlas import CONTROL, TEXT, check_score_name
    from headcount.results.kinds.atlas.text_examples import LEVELS
    from headcount.results.kinds.patterns import levels
    from headcount.results.kinds.set_effects import SET_MEASURES
    from headcount.results.names import ABLATIONS, MEANS, SCORES, ZERO, ablated_part, scored_part, shots_title
    from headcount.results.presentation.number_text import MISSING, decimal, error_text, shown_error, with_error
    from headcount.results.presentation.order import highest_first
    from headcount.results.presentation.records import CORRELATION_COLUMNS, checked
    from headcount.results.storage import checks
    from headcount.results.storage.atomic import write_folder_whole, write_whole
    from headcount.results.storage.field_types import is_whole
    from headcount.results.storage.files import Content, read_content, write_content
    from headcount.results.storage.json_text import unique_keys

__all__ = [
    "ABLATIONS",
    "CONTROL",
    "CORRELATION_COLUMNS",
    "LEVELS",
    "MEANS",
    "MISSING",
    "SCORES",
    "SET_MEASURES",
    "TEXT",
    "ZERO",
    "Content",
    "ablated_part",
    "check_score_name",
    "checked",
    "checks",
    "decimal",
    "error_text",
    "highest_first",
    "is_whole",
    "levels",
    "read_content",
    "scored_part",
    "shots_title",
    "shown_error",
    "unique_keys",
    "with_error",
    "write_content",
    "write_folder_whole",
    "write_whole",
]

__getattr__, __dir__ = lazy_names(__name__, __file__)

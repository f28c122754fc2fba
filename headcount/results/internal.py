"""The face of `results` for the other rooms: the storage of files, checks of fields, names. Not public."""

from headcount.results.kinds.comparisons import CORRELATION_COLUMNS
from headcount.results.kinds.patterns import levels
from headcount.results.kinds.table import checked
from headcount.results.names import MEANS, SCORES, shots_title
from headcount.results.storage import checks
from headcount.results.storage.atomic import write_folder_whole, write_whole
from headcount.results.storage.field_types import is_whole
from headcount.results.storage.files import Content, read_content, write_content
from headcount.results.storage.json_text import unique_keys

__all__ = [
    "CORRELATION_COLUMNS",
    "MEANS",
    "SCORES",
    "Content",
    "checked",
    "checks",
    "is_whole",
    "levels",
    "read_content",
    "shots_title",
    "unique_keys",
    "write_content",
    "write_folder_whole",
    "write_whole",
]

"""The face of `results` for the other rooms: files and checks of fields. Not for users."""

from headcount.results.kinds.patterns import levels
from headcount.results.kinds.table import checked
from headcount.results.storage import checks
from headcount.results.storage.field_types import is_whole
from headcount.results.storage.files import Content, read, single, write, write_folder_whole, write_whole

__all__ = [
    "Content",
    "checked",
    "checks",
    "is_whole",
    "levels",
    "read",
    "single",
    "write",
    "write_folder_whole",
    "write_whole",
]

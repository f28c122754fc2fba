"""Progress bars of transformers, shown at a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging
from transformers.utils.logging import is_progress_bar_enabled


@contextmanager
def bars_at_a_terminal() -> Iterator[None]:
    """Turn progress bars off inside the block if standard error is not a terminal."""
    turn_off = is_progress_bar_enabled() and not sys.stderr.isatty()
    if turn_off:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if turn_off:
            logging.enable_progress_bar()

"""Loading bars of transformers, for a person only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging
from transformers.utils.logging import is_progress_bar_enabled


@contextmanager
def bars_at_a_terminal() -> Iterator[None]:
    """No progress bars inside the block if standard error is not a terminal; afterwards they are as before."""
    silence = is_progress_bar_enabled() and not sys.stderr.isatty()
    if silence:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if silence:
            logging.enable_progress_bar()

"""The command line: its commands, and the one line in which every error ends.

Exit status 0: done; 1: failed; 2: bad input, with one line that says what was expected, what came and what to do.
"""

import errno
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from itertools import pairwise

from cyclopts import App, CycloptsError

from headcount.cli.commands import atlas, causes, evaluation, installation, measure, results, study
from headcount.progress import say, say_warnings

app = App(
    name="headcount",
    help="Which attention heads and feed-forward networks of a language model does in-context learning need?",
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,  # an interrupted command can go on, and `main` says so
)
for command in (
    *(measure.induction, measure.importance, measure.ffn, measure.prune),
    *(atlas.atlas,),
    *(causes.function_vectors, causes.gates, causes.paths, causes.composition),
    *(evaluation.causes, evaluation.rank),
    *(study.study, study.plan),
    *(results.show, results.compare, results.report, results.push, results.pull),
    *(installation.tasks, installation.fetch, installation.doctor, installation.verify),
):
    app.command(command)
app.register_install_completion_command(help="Install completion of commands and options in this shell.")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the console script's entry point."""
    say_warnings()
    try:
        _quieten()
        arguments = sys.argv[1:] if arguments is None else arguments
        _check_filled(arguments)
        app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        if sys.stdout is not None:  # None where the shell has closed it, `>&-`
            sys.stdout.flush()
    except CycloptsError as error:
        _refuse(f"{error} See headcount --help.")
    except KeyboardInterrupt:
        say("interrupted; finished results stay, and the same command goes on from there")
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output, such as `head`, has all that it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # 128 + SIGPIPE, as of a program that the signal ends
    except Exception as error:
        _end(error)


def _end(error: Exception) -> None:
    """End with one line for an error that is not a bug; raise all others again."""
    from headcount.results import InputError

    if isinstance(error, InputError):
        _refuse(str(error))
    from headcount.study import FailedError  # only now: their imports take seconds
    from headcount.tracing import ServerError

    if isinstance(error, ServerError | FailedError):
        say(_one_line(str(error)))
        sys.exit(1)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:  # of standard output: files are InputErrors
        _refuse("no space left where the output goes; free some, or send it elsewhere")
    raise error


def _check_filled(arguments: Sequence[str]) -> None:
    """Refuse an empty value, such as that of a variable that a script has not set."""
    for option, value in pairwise(("", *arguments)):
        if not value or (value.startswith("--") and value.endswith("=")):
            _refuse(f"{value or option or 'an argument'} is empty: give it a value, or leave it out")


def _refuse(message: str) -> None:
    """End with one line about bad input, and exit status 2."""
    say(_one_line(message))
    sys.exit(2)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quieten() -> None:
    """Silence remarks of transformers and of the Hub's client, which nobody needs here; errors are still reported.

    Characters that a terminal or a pipe cannot show, such as half a letter in a file's name, are written as numbers.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # in a notebook or a test it may be something else
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")

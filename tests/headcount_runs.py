"""The command line, run inside the test's own process."""

from headcount.cli import main


def run(capsys, *arguments):
    """Exit status, standard output, standard error."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    captured = capsys.readouterr()
    return status, captured.out, captured.err

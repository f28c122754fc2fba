"""The command line, run inside the test's process, and the files that it leaves."""

import json

from headcount.cli.app import main
from headcount.results.internal import read_content

# A study of every kind of unit that ends in seconds.
SMALL_STUDY = """
model = "tiny-opt"
sequences = 2
examples = 4
head_percents = [50]
ffn_percents = [50]
grid_head_percents = [50]
grid_ffn_percents = [50]
random_percents = [50]
random_seeds = [0]
rankings = ["own", "mean"]

[[tasks]]
names = ["key_value", "plural"]
limit = 6
grid = true

[[tasks]]
names = ["antonym"]
limit = 6
random = true
"""
TIMES = ("time_utc", "command", "created")


def run(capsys, *arguments):
    """Return exit status, standard output and standard error of a command."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def content_of(path):
    """Return the content of a file, apart from times and everything that follows from them."""
    content = read_content(path)
    fields = json.loads(json.dumps(content.fields))
    for name in TIMES:
        fields.get("provenance", {}).pop(name, None)
    return content.kind, fields, {name: tensor.numpy().tobytes() for name, tensor in content.tensors.items()}


def contents_of(folder):
    """Return the contents of all results of a run, by file; a damaged or temporary file would be one, and fail."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): content_of(path) for path in paths}

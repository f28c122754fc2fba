"""The command line, run inside the test's own process, and what it leaves."""

import json

from headcount.cli.app import main
from headcount.results.storage import files

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
    """Exit status, standard output, standard error."""
    try:
        main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def said(path):
    """What a file holds, apart from times and what follows from them."""
    content = files.read(path)
    fields = json.loads(json.dumps(content.fields))
    for name in TIMES:
        fields.get("provenance", {}).pop(name, None)
    return content.kind, fields, {name: tensor.numpy().tobytes() for name, tensor in content.tensors.items()}


def all_said(folder):
    """What all results of a run say, by file; damaged or temporary files would be among them, and fail."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): said(path) for path in paths}

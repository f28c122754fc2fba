"""A run that an earlier version wrote: every result opens, with the numbers and bytes that are in its files."""

import warnings
from pathlib import Path

import pytest
import safetensors.numpy

from headcount.results import Accuracy, HeadScores, LayerScores, PruningCurve, PruningGrid, Run, Table, open_run
from headcount.results.storage.codec import decode
from headcount.results.storage.files import read_content

FINDINGS = Path(__file__).parents[2] / "findings" / "smollm2"
NUMBERS = ("value", "stderr", "chance", "majority")


@pytest.fixture(scope="module")
def run() -> Run:
    return open_run(FINDINGS)


def path_of(name: str) -> Path:
    return next(
        path for path in (FINDINGS / f"{name}{suffix}" for suffix in (".json", ".safetensors")) if path.exists()
    )


def test_every_result_opens_and_its_tensors_are_the_bytes_of_its_file(run: Run) -> None:
    files = {path for path in FINDINGS.rglob("*") if path.suffix in (".json", ".safetensors")}
    assert {path_of(name) for name in run} == files - {FINDINGS / "manifest.json"}
    with warnings.catch_warnings(action="error"):
        for name, result in run.items():
            stored = {} if result.suffix == ".json" else safetensors.numpy.load_file(path_of(name))
            tensors = {key: tensor.numpy() for key, tensor in result.to_content().tensors.items()}
            assert tensors.keys() == stored.keys(), name
            for key, array in stored.items():
                assert (tensors[key].dtype, tensors[key].shape) == (array.dtype, array.shape), (name, key)
                assert tensors[key].tobytes() == array.tobytes(), (name, key)


def test_what_is_written_again_is_read_as_the_same(run: Run, tmp_path: Path) -> None:
    for name, result in run.items():
        result.save(tmp_path / "again")
        again = type(result).load(tmp_path / "again")
        assert again.to_content().header() == result.to_content().header(), name


def test_numbers_that_were_written_as_text_are_numbers(run: Run) -> None:
    as_text = [result for result in run.values() if isinstance(result, Accuracy | PruningCurve | PruningGrid)]
    assert len(as_text) > 100
    texts = 0
    for name, result in run.items():
        written = read_content(path_of(name)).fields
        for field in set(NUMBERS) & written.keys():
            assert repr(getattr(result, field)) == repr(float(written[field])), (name, field)
            texts += isinstance(written[field], str)
    assert texts > 100  # results of earlier versions; those that were measured again hold numbers


def test_fields_of_scores_and_tables_are_written_as_they_were(run: Run) -> None:
    """The digests of a unit's inputs, by which a study knows what is still valid, follow from them and their order."""
    for name, result in run.items():
        if isinstance(result, HeadScores | LayerScores | Table):
            written = read_content(path_of(name))
            order = ["columns", "rows"] if isinstance(result, Table) else ["n", "measure"]
            assert list(result.to_content().fields) == [*order, "definition", "provenance"]
            assert result.to_content().fields == written.fields, name
            assert type(result)(**decode(type(result), written)).to_content().header() == result.to_content().header()

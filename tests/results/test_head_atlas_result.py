"""The head atlas as a result: scores by attribute, one file, examples, refusals."""

import copy
import pickle

import pytest
import torch

from headcount.results import HeadAtlas, HeadScores, InputError, TextExamples, create_run, open_run


def scores(value: float, **fields) -> HeadScores:
    return HeadScores(torch.full((2, 3), value), variance=torch.full((2, 3), 0.25), n=4, measure="a", **fields)


def examples() -> TextExamples:
    place = torch.zeros(1, 4, 2, 3)
    place[0, :, 1, 2] = torch.nan
    keys = torch.zeros(1, 4, 2, 3, 2)
    weights = keys + torch.tensor([0.75, 0.0])
    return TextExamples(("a",), place, place + 0.5, place + 1, keys, weights, ("x", " y"), [[0, 1, -1], [-1, -1, -1]])


@pytest.fixture
def atlas() -> HeadAtlas:
    parts = {"a": scores(0.5), "on_text/a": scores(0.25), "control/a": scores(0.125), "control/on_text/a": scores(0)}
    return HeadAtlas({**parts, "b": scores(1, provenance={"seed": 9})}, examples(), {"seed": 1})


def test_scores_are_attributes_with_the_provenance_of_the_atlas_or_their_own(atlas):
    assert atlas.names == ("a", "b")
    numbers = [
        part.values[0, 0].item() for part in (atlas.a, atlas.on_text.a, atlas.control.a, atlas.control.on_text.a)
    ]
    assert numbers == [0.5, 0.25, 0.125, 0.0]
    assert (atlas.a.provenance, atlas.b.provenance) == ({"seed": 1, "tokens": "random"}, {"seed": 9})
    assert atlas.on_text.a.provenance["tokens"] == "text"
    assert "a" in dir(atlas)
    assert "a" in dir(atlas.on_text)


def test_an_unknown_name_is_an_attribute_error_with_the_names_there_are(atlas):
    with pytest.raises(AttributeError, match="no score 'c' on random tokens: there are a, b"):
        _ = atlas.c
    with pytest.raises(AttributeError, match="no score 'b' with random weights on text: there are a"):
        _ = atlas.control.on_text.b
    assert not hasattr(atlas, "__wrapped__")
    assert copy.deepcopy(atlas).a.n == pickle.loads(pickle.dumps(atlas)).a.n == 4  # noqa: S301


def test_one_file_holds_all_of_it(atlas, tmp_path):
    run = create_run(tmp_path / "run", model={"name": "m"})
    path = run.save("atlas/heads", atlas)
    back = open_run(tmp_path / "run")["atlas/heads"]
    assert path.suffix == ".safetensors"
    assert isinstance(back, HeadAtlas)
    assert list(back.scores) == list(atlas.scores)
    assert torch.equal(back.control.a.values, atlas.control.a.values)
    assert (back.b.provenance, back.provenance, back.a.n) == ({"seed": 9}, {"seed": 1}, 4)
    assert back.examples.of("a", 0, 1) == atlas.examples.of("a", 0, 1)
    back.save(tmp_path / "again.safetensors")
    atlas.save(tmp_path / "once.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "once.safetensors").read_bytes()
    assert HeadAtlas.load(tmp_path / "once.safetensors").names == ("a", "b")


def test_more_scores_can_be_added_by_name(atlas):
    more = atlas.with_scores({"retrieval": scores(0.7), "on_text/retrieval": scores(0.6)})
    assert more.names == ("a", "b", "retrieval")
    assert more.on_text.retrieval.values[0, 0].item() == pytest.approx(0.6)
    assert atlas.names == ("a", "b")


def test_a_table_has_a_row_for_each_head_score_and_kind_of_tokens(atlas):
    frame = atlas.to_frame()
    assert len(frame) == 3 * 6
    row = frame[(frame["score"] == "a") & (frame["tokens"] == "text")].iloc[0]
    assert (row["value"], row["control"], row["stderr"], row["n"]) == (0.25, 0.0, 0.25, 4)
    assert "a" in atlas._repr_html_()
    assert repr(atlas) == "HeadAtlas(2 layers × 3 heads: a, b)"


def test_an_example_has_texts_and_keys_that_exist(atlas):
    first = atlas.examples.of("a", 0, 0)[0]
    assert (first.level, first.tokens, first.query, first.value) == ("highest", ("x", " y"), 1, 0.5)
    assert first.attended == ((0, "x", 0.75),)
    assert atlas.examples.of("a", 1, 2) == ()
    for arguments, message in ((("z", 0, 0), "one of a, got 'z'"), (("a", 2, 0), "2 layers of 3 heads, got L2H0")):
        with pytest.raises(InputError, match=message):
            atlas.examples.of(*arguments)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "one shape"),
        ({"a": scores(1), "b": HeadScores([[1.0]])}, "one shape"),
        ({"names": scores(1)}, "own attributes, got 'names'"),
        ({"provenance": scores(1)}, "got 'provenance'"),
        ({"other/a": scores(1)}, "got 'other/a'"),
        ({"a b": scores(1)}, "got 'a b'"),
        ({"a": 3}, "expected a dict of"),
    ],
)
def test_what_is_no_atlas_is_refused(parts, message):
    with pytest.raises(InputError, match=message):
        HeadAtlas(parts)

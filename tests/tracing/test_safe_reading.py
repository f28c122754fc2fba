"""A folder that an attacker may have written: none of its code runs, and errors take one line."""

import json
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch
from reference.models import BUILDERS, bpe_tokenizer

from headcount.results import InputError
from headcount.tracing import describe_model, load_model


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BUILDERS["llama"]().save_pretrained(tmp_path / "model")
    bpe_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, file: str = "config.json", **entries: object) -> None:
    """Change entries of a file in the folder; `...` removes one."""
    before = json.loads((folder / file).read_text())
    (folder / file).write_text(
        json.dumps({key: value for key, value in (before | entries).items() if value is not ...})
    )


def plant(folder: Path) -> Path:
    """Code that leaves a trace when it runs; returns where."""
    trace = folder.parent / "trace"
    line = f"import os; os.makedirs({str(trace)!r}, exist_ok=True)\n"
    classes = "class C: pass\n"
    for module in ("configuration_mine", "modeling_mine", "tokenization_mine"):
        (folder / f"{module}.py").write_text(line + classes)
    return trace


def refuse_to_answer(*_: object) -> str:
    pytest.fail("a question was asked at the terminal")


@pytest.mark.parametrize("options", [{}, {"stream": True}, {"remote": "http://127.0.0.1:1"}], ids=str)
@pytest.mark.parametrize("known", [True, False])
def test_code_beside_a_model_never_runs_and_nobody_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: dict, known: bool
) -> None:
    monkeypatch.setattr("builtins.input", refuse_to_answer)
    trace = plant(folder)
    kind = {} if known else {"model_type": "mine"}
    configure(
        folder, auto_map={"AutoConfig": "configuration_mine.C", "AutoModelForCausalLM": "modeling_mine.C"}, **kind
    )
    configure(folder, "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_mine.C", None]})
    if known:
        load_model(folder, **options)
    else:
        with pytest.raises(InputError, match=r"contains custom code which must be executed"):
            load_model(folder, **options)
        with pytest.raises(InputError, match=r"contains custom code which must be executed"):
            describe_model(folder)
    assert not trace.exists()
    assert "configuration_mine" not in "".join(sys.modules)


@pytest.mark.parametrize("options", [{}, {"stream": True}], ids=str)
def test_weights_that_are_a_pickle_run_nothing(folder: Path, options: dict) -> None:
    (folder / "model.safetensors").unlink()
    trap = folder.parent / "trap"
    torch.save({"model.norm.weight": Trap(trap)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"weights"):
        load_model(folder, **options)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(trap)))
    with pytest.raises(InputError, match=r"weights"):
        load_model(folder, **options)
    assert not trap.exists()


def test_honest_torch_weights_are_read(folder: Path) -> None:
    model = BUILDERS["llama"]()
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert torch.equal(load_model(folder).hf.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize("name", ["evil/kernel", "evil/kernel:fn", "paged|evil/kernel@main:fn"])
def test_attention_from_the_hub_is_not_run(folder: Path, name: str) -> None:
    configure(folder, attn_implementation=name)
    with pytest.raises(InputError, match=r"asks for attention code from the Hub, .*evil/kernel"):
        load_model(folder)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"num_hidden_layers": 10**9},
            r"says num_hidden_layers = 1000000000: expected 1 to 10,000",
        ),
        ({"num_hidden_layers": 0}, r"num_hidden_layers = 0"),
        ({"num_hidden_layers": -3}, r"num_hidden_layers = -3"),
        ({"num_attention_heads": 0}, r"cannot read the configuration"),
        ({"num_attention_heads": -4}, r"gives n_heads = -4: expected 1 or more"),
        ({"max_position_embeddings": 0}, r"gives context = 0: expected 1 or more"),
        ({"max_position_embeddings": -1}, r"gives context = -1"),
        (
            {"vocab_size": 10**12},
            r"model.embed_tokens.weight of .* should be \[1000000000000, 32\], but is \[168, 32\]",
        ),
        ({"hidden_size": 10**9}, r"should be \[168, 1000000000\], but is \[168, 32\]"),
        ({"head_dim": 10**9}, r"q_proj.weight of .* should be \[4000000000, 32\], but is \[32, 32\]"),
        ({"vocab_size": 100}, r"model.embed_tokens.weight of .* should be \[100, 32\], but is \[168, 32\]"),
        ({"intermediate_size": "many"}, r"cannot read the configuration"),
        ({"num_hidden_layers": 4}, r"weights of .* are incomplete: 9 tensors are missing"),
        ({"model_type": ...}, r"cannot read the configuration"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused_before_memory_is_taken(folder: Path, entries: dict, message: str) -> None:
    configure(folder, **entries)
    with pytest.raises(InputError, match=message) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)

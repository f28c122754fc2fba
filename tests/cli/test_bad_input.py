"""Bad input of every kind, one line of a table each: exit status 2, one line that helps, no traceback, no output."""

import json
import os
import pickle
import shlex
import shutil
from pathlib import Path

import pytest
from reference.models import BUILDERS, bpe_tokenizer
from support.headcount_runs import run
from support.synthetic_runs import add_importance, make_run

ROW = {"context": "one two one", "choices": [" two", " six"], "gold": 0}
ROWS = {
    "empty": b"",
    "blank": b"\n \n",
    "no_json": b"context,choices\n",
    "cut": b'{"context": "one", "cho',
    "a_list": b"[1, 2]",
    "a_number": b"7",
    "deep": b"[" * 100_000,
    "long_number": b'{"context": ' + b"9" * 5000 + b"}",
    "latin": '{"context": "café"}'.encode("latin-1"),
    "zeros": b"\0" * 100,
    "pickled": pickle.dumps(ROW),
    "half_letter": b'{"context": "a \\ud800", "choices": [" two"], "gold": 0}',
    **{
        name: json.dumps(ROW | changed).encode()
        for name, changed in {
            "context_5": {"context": 5},
            "no_choice": {"choices": []},
            "blank_choice": {"choices": [" two", " "]},
            "choice_5": {"choices": [" two", 5]},
            "choices_text": {"choices": " two"},
            "gold_2": {"gold": 2},
            "gold_minus": {"gold": -1},
            "gold_true": {"gold": True},
            "gold_text": {"gold": "0"},
            "gold_none": {"gold": []},
            "gold_half": {"gold": 0.5},
            "shot_5": {"shot": 5},
        }.items()
    },
    "no_gold": b'{"context": "one", "choices": [" two"]}',
    "mean": json.dumps(ROW).encode(),
    "good": json.dumps(ROW).encode(),
    "twice_a_key": b'{"context": "one", "choices": [" two"], "gold": 0, "context": "three"}',
    "a name": json.dumps(ROW).encode(),
    "n" * 101: json.dumps(ROW).encode(),
}
TASKS = '[[tasks]]\nnames = ["plural"]\n'
STUDIES = {
    "empty": "",
    "no_toml": "seed = \n",
    "twice_a_key": "seed = 1\nseed = 2\n" + TASKS,
    "unknown_key": "seeed = 1\n" + TASKS,
    "no_names": "[[tasks]]\nshots = [0]\n",
    "a_table": '[tasks]\nnames = ["plural"]\n',
    "twice_a_task": TASKS + TASKS,
    "unknown_task": '[[tasks]]\nnames = ["no_such_task"]\n',
    "minus_shots": TASKS + "shots = [-1]\n",
    "too_many_shots": TASKS + "shots = [100000]\n",
    "nan": "top = nan\n" + TASKS,
    "infinite": "head_percents = [inf]\n" + TASKS,
    "a_date": "seed = 2020-01-01\n" + TASKS,
    "a_truth": "sequences = true\n" + TASKS,
    "no_data": 'data = "nowhere/at/all"\n' + TASKS.replace("plural", "piqa"),
    "list_of_lists": "random_seeds = [[1]]\n" + TASKS,
    "text_as_number": 'examples = "ten"\n' + TASKS,
    "twice_a_seed": "random_seeds = [1, 1]\n" + TASKS,
    "deep": "a = " + "[" * 50_000,
    "long_number": "seed = " + "9" * 5000 + "\n" + TASKS,
    "large": "# " + "x" * 100_000 + "\n" + TASKS,
    "no_model": 'model = ""\n' + TASKS,
    "null_byte": 'data = "a\\u0000b"\n' + TASKS,
    "many_sequences": "sequences = 1000000000000\n" + TASKS,
}
OTHERWISE = {
    "twice_a_task": "plural.0shot is requested twice",
    "unknown_task": "no_such_task",
    "too_many_shots": "plural",
    "no_data": "nowhere/at/all",
    "many_sequences": "expected 100,000 sequences at most",
    "foreign": "architecture 'mamba' is not supported",
}
"""The message where a file or folder is right in itself; in all other cases the message names it."""

DEVICE = {"flops_16": 1e14, "flops_32": 1e13, "memory": 1e11, "bandwidth": 1e12, "utilisation": 0.5}
HARDWARE = {
    "empty": "",
    "no_toml": "name = ",
    "words": 'memory = "much"\nflops = "many"\n',
    "deep": "a = " + "[" * 50_000,
    **{
        name: "".join(f"{key} = {value}\n" for key, value in (DEVICE | changed).items())
        for name, changed in {
            "nan": {"memory": "nan"},
            "infinite": {"flops_32": "inf"},
            "immense": {"memory": "9" * 400},
            "part_of_one": {"devices": 1.5},
            "no_device": {"devices": 0},
            "two_lines": {"name": '"a\\nb"'},
            "listed": {"name": "[1]"},
        }.items()
    },
}
CONFIGURATIONS = {
    "broken": '{"model_type": "op',
    "a_list": "[1]",
    "a_text": '"opt"',
    "foreign": '{"model_type": "mamba", "vocab_size": 10}',
    "untyped": "{}",
    "endless": {"num_hidden_layers": 10**9},
    "no_layer": {"num_hidden_layers": 0},
    "no_head": {"num_attention_heads": 0},
    "uneven": {"num_attention_heads": 5},
    "wide": {"hidden_size": 10**9},
    "many_words": {"vocab_size": 10**12},
    "few_words": {"vocab_size": 100},
    "kernel": {"attn_implementation": "evil/kernel"},
    "own_code": {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}},
    "infinite": '{"model_type": "llama", "hidden_size": 1e999}',
}
DAMAGES = {
    "no_weights": lambda folder: (folder / "model.safetensors").unlink(),
    "cut_weights": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-9]
    ),
    "pickled_weights": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(shlex.split)),
    ),
    "no_shard": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"lm_head.weight": "a.safetensors"}}'),
    ),
    "other_tokenizer": lambda folder: (folder / "tokenizer.json").write_text('{"model": 5}'),
    "broken_tokenizer": lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff"),
}

# The command, and a part of the line it prints. {out} is a new folder, {run} a run, {model} a model; the rest is bad.
CASES = [
    # the command line
    ("dance", "dance"),
    ("induction", "--out"),
    ("induction --out", "--out"),
    ("induction --out {out} --sequences many", "many"),
    ("induction --out {out} --model {model} --sequences 1.5", "1.5"),
    ("induction --out {out} --sequences 0", "--sequences must be 1 or more, not 0"),
    ("induction --out {out} --sequences -2", "--sequences must be 1 or more, not -2"),
    ("induction --out {out} --seed -1", "--seed must be 0 or more, not -1"),
    ("induction --out {out} --model {model} --seed 18446744073709551616", "--seed must be below 2^63"),
    ("induction --out {out} --frobnicate", "--frobnicate"),
    ("induction --out {out} extra", "extra"),
    ("induction --out {file}", "got a file"),
    ("induction --out {file}/below --model {model}", "cannot"),
    ("induction --out {full} --model {model}", "no manifest.json"),
    ("induction --out /proc/nowhere/run --model {model}", "/proc/nowhere"),
    ("induction --out {long} --model {model}", "name too long"),
    ("induction --out {run} --model {model}", "holds a run of"),
    ("induction --out {out} --model {tmp}/nowhere", "no model at"),
    ("induction --out {out} --model 'not a model!'", "no model at"),
    ("induction --out {out} --model ../../etc", "no model at"),
    ("induction --out {out} --model https://example.org/model", "no model at"),
    ("induction --out {out} --model a/b/c", "no model at"),
    ("induction --out {out} --model {file}", "no model at"),
    ("induction --out {out} --model {empty}", "config.json"),
    ("induction --out {out} --model {long}", "no model at"),
    ("induction --out {out} --model no-such-owner/no-such-model", "no-such-owner/no-such-model"),
    ("induction --out {out} --model {model} --dtype float12", "float12"),
    ("induction --out {out} --model {model} --dtype int8", "int8"),
    ("induction --out {out} --model {model} --dtype nn", "nn"),
    ("importance --out {out} --model {model} --task plural --data nowhere", "nowhere is not there"),
    ("importance --out {out} --model {model} --task plural --data {model}/config.json", "config.json is a file"),
    ("induction --out {out} --model {model} --device tpu9", "tpu9"),
    ("induction --out {out} --model {model} --device cuda:99", "cannot read the weights"),
    ("induction --out {out} --model {model} --memory 4GiB", "stream"),
    ("induction --out {out} --model {model} --stream --memory many", "many"),
    ("induction --out {out} --model {model} --stream --memory -1", "memory"),
    ("induction --out {out} --model {model} --stream --remote ndif", "exclude each other"),
    ("induction --out {out} --model {model} --stream --device cuda", "CPU"),
    ("induction --out {out} --model {model} --remote ndif.example.org", "a server's address"),
    ("induction --out {out} --model {model} --remote https://me:secret@ndif.example.org", "without a user or password"),
    ("importance --out {out}", "--task"),
    ("importance --out {out} --task no_such_task", "no_such_task"),
    ("importance --out {out} --task ''", "task"),
    ("importance --out {out} --task ../../etc/passwd", "passwd"),
    ("importance --out {out} --task plural --shots -1", "--shots must be 0 or more"),
    ("importance --out {out} --task plural --shots 100000", "shots"),
    ("importance --out {out} --task plural --shots few", "few"),
    ("importance --out {out} --task plural --shots 0 0.5", "0.5"),
    ("importance --out {out} --task plural --limit 0", "--limit must be 1 or more"),
    ("importance --out {out} --task plural --seed -4", "--seed must be 0 or more"),
    ("importance --out {out} --task plural --method magic", "magic"),
    ("importance --out {out} --task plural --reduction magic", "magic"),
    ("importance --out {out} --task plural --profile magic", "magic"),
    ("importance --out {out} --task piqa --data {tmp}/nowhere", "nowhere is not there"),
    ("importance --out {out} --task piqa --data {file}", "is a file"),
    ("importance --out {out} --task piqa --data {empty}", "piqa.jsonl"),
    ("importance --out {out} --task piqa --data {long}", "is not there"),
    ("importance --out {out} --task piqa --data {rows}", "piqa.jsonl"),
    ("importance --out {out} --task plural --model {model} --profile paper --limit many", "many"),
    ("ffn --out {out} --task plural --rank-split test", "test"),
    ("prune --out {out} --task plural --component all", "all"),
    ("prune --out {out} --task plural --strategy magic", "magic"),
    ("prune --out {out} --task plural --model {model} --percents 120", "percents"),
    ("prune --out {out} --task plural --model {model} --percents nan", "percents"),
    ("prune --out {out} --task plural --model {model} --percents -5", "percents"),
    ("prune --out {out} --task plural --model {model} --strategy random --seeds -1", "--seeds must be 0 or more"),
    ("prune --out {out} --task plural --model {model} --strategy random --seeds 18446744073709551616", "--seeds must"),
    ("function-vectors --out {out} --task plural", "--shots must be 2 or more, not 0"),
    ("function-vectors --out {out} --task plural --shots 2 --method oracle", "oracle"),
    ("gates --out {out} --task plural --steps 0", "--steps must be 1 or more"),
    ("gates --out {out} --task plural --strength 0", "--strength must be a price above 0"),
    ("gates --out {out} --task plural --seeds 1 1", "--seeds must be numbers, each once"),
    ("paths --out {out}", "--head"),
    ("paths --out {out} --head 18.6", "such as L18H6, not 18.6"),
    ("paths --out {out} --model {model} --head L99H0", "layer: expected a whole number"),
    ("paths --out {out} --model {model} --head L0H0", "no head is before it"),
    ("paths --out {out} --model {model} --head L1H0 --on output", "output"),
    ("paths --out {out} --model {model} --head L1H0 --sequences 0", "--sequences must be 1 or more"),
    ("tasks --data {file}", "is not one"),
    ("tasks --data {tmp}/nowhere", "is not one"),
    ("fetch gpt5", "'gpt5' cannot be fetched"),
    ("fetch smollm2-135m gpt5", "'gpt5' cannot be fetched"),
    # runs
    ("show", "FOLDER"),
    ("show {tmp}/nowhere", "manifest.json"),
    ("show {file}", "manifest.json"),
    ("show {long}", "manifest.json"),
    ("show {run} --top 0", "--top must be 1 or more"),
    ("show {broken_run}", "manifest.json is damaged"),
    ("compare {tmp}/nowhere", "manifest.json"),
    ("compare {run} {tmp}/nowhere", "manifest.json"),
    ("compare {run} --top 0", "--top"),
    ("compare {run} --top nan", "--top"),
    ("compare {run} --top 2", "--top"),
    ("compare {bare_run}", "nothing to compare"),
    ("compare {run} {bare_run}", "no scores in common"),
    ("compare {run} {damaged_run}", "copying.safetensors is damaged"),
    ("report {empty}", "manifest.json"),
    ("report {run} --output {empty}", "cannot write"),
    ("report {run} --output {file}/report.html", "cannot write"),
    ("report {run} --output {long}", "cannot write"),
    ("report {run} --max-mb 0 --output {out}.html", "max_mb"),
    ("report {run} --max-mb nan --output {out}.html", "max_mb"),
    ("report {run} --max-mb -3 --output {out}.html", "max_mb"),
    ("report {damaged_run} --output {out}.html", "copying.safetensors is damaged"),
    ("report {swapped_run} --output {out}.html", "holds induction/copying_published of a run of"),
    # studies and plans
    ("study --out {out}", "got neither"),
    ("study {studies}/nan.toml --preset quick --out {out}", "got both"),
    ("study --preset slow --out {out}", "--preset must be one of"),
    ("study {tmp}/nowhere.toml --out {out}", "cannot be read"),
    ("study {empty} --out {out}", "cannot be read"),
    ("study {rows}/latin.jsonl --out {out}", "cannot be read"),
    ("study {rows}/zeros.jsonl --out {out}", "zeros.jsonl"),
    ("plan", "got neither"),
    ("plan --preset quick --hardware abacus", "abacus"),
    ("plan --preset quick --hardware 0xA100-80GB", "0xA100"),
    ("plan --preset quick --hardware {tmp}/nowhere.toml", "nowhere.toml"),
    ("plan --preset quick --dtype float12 --model {model}", "float12"),
    ("plan --preset quick --model {tmp}/nowhere --hardware A100-80GB", "no model at"),
    ("plan --preset quick --model {file} --hardware A100-80GB", "configuration"),
    *(
        (f"study {{studies}}/{name}.toml --model {{model}} --out {{out}}", OTHERWISE.get(name, f"{name}.toml"))
        for name in STUDIES
    ),
    *((f"plan --preset quick --hardware {{hardware}}/{name}.toml", f"{name}.toml") for name in HARDWARE),
    ("study {pipe} --out {out}", "it is not a file"),
    ("plan --preset quick --hardware {tmp}/pipe.toml", "it is not a file"),
    ("plan --preset quick --hardware 00xA100-80GB", "00xA100"),
    (f"plan --preset quick --hardware {'9' * 5000}xA100-80GB", "--hardware must be one of"),
    ("plan --preset quick --hardware ~no_such_user/x.toml", "~no_such_user"),
    ("study --preset quick --shard 1/999999999999 --out {out}", "--shard must be like 3/16"),
    (f"study --preset quick --shard {'9' * 5000}/{'9' * 5000} --out {{out}}", "--shard must be like 3/16"),
    ("study --preset quick --ray local --gpus-per-model nan --out {out}", "--gpus-per-model must be"),
    # values that are empty, as where a script's variable is not set
    ("study --preset quick --data '' --out {out}", "--data is empty"),
    ("study --preset quick --shard= --out {out}", "--shard= is empty"),
    ("induction --remote '' --out {out}", "--remote is empty"),
    ("prune --task plural --strategy random --seeds --out {out}", "--seeds"),
    ("prune --task plural --strategy random --seeds 0 0 --out {out}", "--seeds must be numbers, each once, not 0 0"),
    # addresses and places
    ("induction --out {out} --model {model} --remote http://[::1", "a server's address"),
    ("induction --out {out} --model {model} --remote http://me:secret@host:abc", "without a user or password"),
    ("induction --out {out} --model {model} --remote http://localhost:abc", "a server's address"),
    ("induction --out {out} --model {model} --remote http://localhost:99999999", "a server's address"),
    ("induction --out {out} --model ~no_such_user/x", "~no_such_user/x"),
    ("induction --out {out} --model {model} --device meta", "the device meta holds no weights"),
    (f"induction --out {{out}} --model {{model}} --stream --memory {'9' * 5000}", "memory must be"),
    ("report {run} --max-mb 1e999 --output {out}.html", "max_mb"),
    ("report {run} --output {pipe}", "expected a file or a new name"),
    ("report {run} --output {run}/manifest.json", "a run's own files end like this"),
    ("report {run} --output {run}/induction/copying.safetensors", "a run's own files end like this"),
    # rows, models
    *(
        (f"importance --out {{out}} --task '{name}' --model {{model}} --data {{rows}}", name[:60])
        for name in ROWS
        if name != "good"
    ),
    *(
        (f"induction --out {{out}} --model {{models}}/{name}", OTHERWISE.get(name, name))
        for name in (*CONFIGURATIONS, *DAMAGES)
    ),
    *((f"induction --out {{out}} --model {{models}}/{name} --stream", name) for name in DAMAGES),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files and folders that the table names."""
    tmp = tmp_path_factory.mktemp("bad")
    folders = {name: tmp / name for name in ("empty", "full", "rows", "studies", "hardware", "models")}
    for folder in folders.values():
        folder.mkdir()
    (tmp / "file").write_text("x")
    for name in ("pipe", "pipe.toml"):
        os.mkfifo(tmp / name)
    (tmp / "full" / "thesis.tex").write_text("x")
    for name, data in ROWS.items():
        (tmp / "rows" / f"{name}.jsonl").write_bytes(data)
    for folder, texts in (("studies", STUDIES), ("hardware", HARDWARE)):
        for name, text in texts.items():
            (tmp / folder / f"{name}.toml").write_text(text)
    runs = _runs(tmp)
    return {
        "tmp": tmp,
        "file": tmp / "file",
        "pipe": tmp / "pipe",
        "long": tmp / ("x" * 300),
        "model": _models(tmp),
        **folders,
        **runs,
    }


def _runs(tmp: Path) -> dict[str, Path]:
    runs = {}
    for name in ("run", "broken_run", "damaged_run", "swapped_run"):
        runs[name] = add_importance(make_run(tmp / name, 5, 3), 5, 3).folder
    (tmp / "broken_run" / "manifest.json").write_text("{")
    (tmp / "damaged_run" / "induction" / "copying.safetensors").write_bytes(b"no")
    published = tmp / "swapped_run" / "induction" / "copying_published.safetensors"
    published.replace(published.with_name("copying.safetensors"))
    runs["bare_run"] = tmp / "bare_run"
    shutil.copytree(tmp / "run", runs["bare_run"], ignore=lambda folder, names: set(names) - {"manifest.json"})
    return runs


def _models(tmp: Path) -> Path:
    good = tmp / "model"
    BUILDERS["llama"]().save_pretrained(good)
    bpe_tokenizer().save_pretrained(good)
    for name, changes in CONFIGURATIONS.items():
        folder = shutil.copytree(good, tmp / "models" / name)
        before = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(changes if isinstance(changes, str) else json.dumps(before | changes))
    for name, damage in DAMAGES.items():
        damage(shutil.copytree(good, tmp / "models" / name))
    return good


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no command wait for input."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("waited for input"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("typed", "message"), CASES, ids=[typed for typed, _ in CASES])
def test_bad_input_is_one_line_and_exit_status_2(
    places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture, typed: str, message: str
) -> None:
    places = places | {"out": tmp_path / "new"}
    capsys.readouterr()
    status, out, err = run(capsys, *(word.format(**places) for word in shlex.split(typed)))
    assert status == 2, (out, err)
    assert len(err.splitlines()) == 1, err
    assert out == ""
    assert message in err
    assert "secret" not in err
    assert not (tmp_path / "new").exists() or not [*(tmp_path / "new").rglob("*.safetensors")]


def test_the_table_is_long_and_says_nothing_twice() -> None:
    assert len({typed for typed, _ in CASES}) == len(CASES) > 150

"""Time of streaming a model larger than memory, compared with accelerate's disk offload and the machine's limits.

The checkpoint has OPT-6.7B's shape and random weights, stored in float16 (13.3 GB, written once to --folder), and is
computed with in float32. Each measurement is a process of its own, before which the checkpoint is dropped from the
page cache. Needs about 10 GB of memory for accelerate at a batch of 16, and a file system that honours the drop.
Where other work cannot be kept off the machine, compare the CPU seconds, not those of the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from headcount.tracing import load_model
from headcount.tracing.sources.names import TINY_OPT
from headcount.tracing.streaming.memory import held_memory

SEQUENCES, LENGTH, LAYERS = 16, 33, 32
SHAPE = {"hidden_size": 4096, "word_embed_proj_dim": 4096, "num_attention_heads": 32, "ffn_dim": 16384}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "opt-6.7b-shape")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--memory", default="3GiB")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", choices=WORK)
    parser.add_argument("--without", nargs="*", default=[], choices=WORK)
    options = parser.parse_args()
    if not (options.folder / "config.json").exists():
        write_checkpoint(options.folder, options.layers)
    if options.only is not None:
        print(json.dumps(WORK[options.only](options.folder, options.memory)))
        return
    for _ in range(options.rounds):
        for name in WORK:
            if name not in options.without:
                drop(options.folder)
                command = [
                    sys.executable,
                    __file__,
                    "--folder",
                    options.folder,
                    "--memory",
                    options.memory,
                    "--only",
                    name,
                ]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                figures = json.loads(done.stdout.splitlines()[-1])
                print(f"{name}: " + ", ".join(f"{what} {value:.4g}" for what, value in figures.items()), flush=True)


def write_checkpoint(folder: Path, n_layers: int) -> None:
    """Write a shard for each layer and one for the rest, with an index, as large checkpoints on the Hub are."""
    from transformers import OPTConfig, OPTForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    config = OPTConfig(num_hidden_layers=n_layers, dtype="float16", **SHAPE)
    with torch.device("meta"):
        parameters = dict(OPTForCausalLM(config).named_parameters())
    generator, numbers = torch.Generator().manual_seed(0), torch.empty(0)
    weight_map: dict[str, str] = {}
    for part in [*(f"model.decoder.layers.{layer}." for layer in range(n_layers)), ""]:
        tensors = {}
        for name, parameter in parameters.items():
            if name.startswith(part) and name not in weight_map:
                if len(numbers) < parameter.numel():  # drawn once: times do not depend on the values
                    numbers = torch.empty(parameter.numel(), dtype=torch.float16).normal_(0, 0.02, generator=generator)
                norm = "norm" in name and name.endswith("weight")
                values = torch.ones(len(parameter)) if norm else numbers[: parameter.numel()]
                tensors[name] = values.view(parameter.shape).half().clone()
        file = f"model-{part.removesuffix('.').rpartition('.')[2] or 'rest'}.safetensors"
        weight_map |= dict.fromkeys(tensors, file)
        save_file(tensors, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((TINY_OPT / name).read_bytes())
    config.save_pretrained(folder)


def drop(folder: Path) -> None:
    """Drop a folder's files from the page cache."""
    os.sync()
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def tokens() -> torch.Tensor:
    """Return BOS and tokens that repeat four times."""
    drawn = torch.rand(SEQUENCES, 50000, generator=torch.Generator().manual_seed(0)).topk((LENGTH - 1) // 4).indices
    return torch.cat([torch.full((SEQUENCES, 1), 2), drawn.repeat(1, 4) + 5], 1)


def streaming(folder: Path, memory: str) -> dict[str, float]:
    """Compute the logits of all sequences; return time, peak of anonymous memory, and bytes read."""
    with Watch() as watch:
        model = load_model(folder, stream=True, memory=memory, dtype="float32")
        start, spent = time.perf_counter(), time.process_time()
        logits = model(tokens())
        figures = {"seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - spent}
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    figures |= {"peak GiB": watch.peak / 2**30, "bytes read / checkpoint": watch.read / size}
    return {**figures, "sum": float(logits.double().sum())}


def scores(folder: Path, memory: str) -> dict[str, float]:
    """Measure prefix matching and copying of every head."""
    from headcount.induction import copying, prefix_matching

    with Watch() as watch:
        model = load_model(folder, stream=True, memory=memory, dtype="float32")
        start = time.perf_counter()
        prefix_matching(model, tokens(), (LENGTH - 1) // 4)
        middle, read = time.perf_counter(), watch.now()
        copying(model, tokens()[:, : 1 + (LENGTH - 1) // 4])
        end = time.perf_counter()
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return {
        "prefix matching seconds": middle - start,
        "bytes read / checkpoint": read / size,
        "copying seconds": end - middle,
        "bytes read since / checkpoint": (watch.read - read) / size,
        "peak GiB": watch.peak / 2**30,
    }


def offloaded(batch_size: int) -> Callable[[Path, str], dict[str, float]]:
    def run(folder: Path, memory: str) -> dict[str, float]:
        """Compute the logits of all sequences with accelerate: the blocks on disk, the rest in memory."""
        from transformers import AutoModelForCausalLM

        with Watch() as watch, tempfile.TemporaryDirectory() as offload, torch.no_grad():
            parts = dict.fromkeys(("model.decoder.embed_tokens", "model.decoder.embed_positions"), "cpu")
            parts |= {"model.decoder.final_layer_norm": "cpu", "lm_head": "cpu", "model.decoder.layers": "disk"}
            options: dict[str, Any] = {"device_map": parts, "offload_folder": offload, "dtype": torch.float32}
            model = AutoModelForCausalLM.from_pretrained(folder, **options)
            start, spent, total = time.perf_counter(), time.process_time(), 0.0
            for rows in tokens().split(batch_size):
                total += float(model(rows, use_cache=False).logits.double().sum())
            times = {"seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - spent}
        return {**times, "peak GiB": watch.peak / 2**30, "sum": total}

    return run


def floors(folder: Path, memory: str) -> dict[str, float]:
    """Measure the limits of any method: reading the files one after the other, and the matrix products alone."""
    buffer, start = bytearray(1 << 24), time.perf_counter()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    disk = time.perf_counter() - start
    width, hidden, n_layers = SHAPE["hidden_size"], SHAPE["ffn_dim"], len(list(folder.glob("*.safetensors"))) - 1
    small, large = torch.randn(SEQUENCES * LENGTH, width), torch.randn(SEQUENCES * LENGTH, hidden)
    square, wide, narrow = (torch.randn(shape) for shape in ((width, width), (hidden, width), (width, hidden)))
    unembedding = torch.randn(width).repeat(50272, 1)
    torch.nn.functional.linear(small, square)
    start, spent = time.perf_counter(), time.process_time()
    for _ in range(n_layers):
        for _ in range(4):
            torch.nn.functional.linear(small, square)
        torch.nn.functional.linear(small, wide)
        torch.nn.functional.linear(large, narrow)
    torch.nn.functional.linear(small, unembedding)
    times = {"products seconds": time.perf_counter() - start, "CPU seconds": time.process_time() - spent}
    return {"disk seconds": disk, **times}


class Watch:
    """The peak of anonymous memory of this process, and the bytes that it reads from disks, while a block runs."""

    def __enter__(self) -> "Watch":
        self.peak, self._began, self._over = 0, bytes_read(), threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.read = self.now()

    def now(self) -> int:
        """Return the bytes read so far."""
        return bytes_read() - self._began

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            self.peak = max(self.peak, held_memory())


def bytes_read() -> int:
    """Return the bytes that this process has read from disks."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["read_bytes"])


WORK: dict[str, Callable[[Path, str], dict[str, float]]] = {
    "floors": floors,
    "streaming": streaming,
    "accelerate, batch 16": offloaded(16),
    "accelerate, batch 1": offloaded(1),
    "scores": scores,
}

if __name__ == "__main__":
    main()

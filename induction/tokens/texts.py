"""Texts as sequences of tokens for the scores on text: a person's own, or a small one that ships with the package."""

import hashlib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from headcount.results import InputError
from headcount.tracing import Model

LENGTH = 128
"""Tokens of a sequence, BOS included."""

SHORTEST = 8
"""Tokens that a piece of a text has at least: shorter ones are left out."""

MOST = 500
"""Sequences that are taken at most, evenly spread over all."""

ENDINGS = (".txt", ".md")

SHIPPED = "prose.txt"


class Texts(NamedTuple):
    """Texts, and their origin.

    Attributes:
        texts: The texts.
        source: Their origin, for the provenance.
    """

    texts: tuple[str, ...]
    source: str

    @property
    def digest(self) -> str:
        """A checksum of the texts."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()


def read_texts(text: Any = None) -> Texts:
    """Return texts: the shipped one for None, a list of texts as it is, or those of a file or folder.

    Args:
        text: A list of texts; the path of a file, or of a folder of .txt and .md files; or None.

    Raises:
        InputError: It is something else, there is no such file, it holds no text, or it is not UTF-8.
    """
    if text is None:
        shipped = files("headcount.induction.tokens").joinpath(SHIPPED).read_text(encoding="utf-8")
        return Texts(_paragraphs(shipped), "the text that ships with headcount")
    if isinstance(text, str | os.PathLike):
        return _of_path(Path(os.path.expanduser(text)))
    if isinstance(text, Sequence) and text and all(isinstance(part, str) for part in text):
        if any(part.strip() for part in text):
            return Texts(tuple(text), f"{len(text)} texts")
        raise InputError("expected texts with words in them, got empty ones")
    raise InputError(
        f"text: expected a list of texts, a file or folder of text, or rows of tokens, got {type(text).__name__}"
        f"{'' if text else ', empty'}"
    )


def text_rows(model: Model, texts: Texts) -> list[Int[Tensor, " pos"]]:
    """Return texts as sequences of up to `LENGTH` tokens each, with BOS in front where the model has one.

    A text is cut into consecutive pieces; the last one may be shorter. Of more than `MOST` pieces an even choice is
    taken.

    Raises:
        InputError: The model has no tokenizer, or no text has `SHORTEST` tokens.
    """
    if model.tokenizer is None:
        raise InputError(
            f"{model.name} was loaded without a tokenizer: pass rows of tokens as text=, or load_model(..., tokenizer=)"
        )
    bos = [] if model.bos is None else [model.bos]
    size = min(LENGTH, model.sizes.context) - len(bos)
    pieces = []
    for text in texts.texts:
        ids = model.tokenizer.encode(text, add_special_tokens=False, verbose=False)
        cut = [ids[start : start + size] for start in range(0, len(ids), size)]
        pieces += [piece for piece in cut if len(piece) >= min(SHORTEST, size)]
    if not pieces:
        raise InputError(f"no text has {SHORTEST} tokens or more ({texts.source}): pass longer ones")
    step = max(1.0, len(pieces) / MOST)
    chosen = [pieces[int(place * step)] for place in range(min(len(pieces), MOST))]
    rows = [torch.tensor([*bos, *piece]) for piece in chosen]
    for row in rows:
        model.check_tokens(row[None])
    return rows


def _of_path(path: Path) -> Texts:
    if path.is_dir():
        paths = sorted(inner for inner in path.rglob("*") if inner.suffix in ENDINGS and inner.is_file())
        if not paths:
            raise InputError(f"{path}: expected a folder with {' or '.join(ENDINGS)} files, got none in it")
    elif path.is_file():
        paths = [path]
    else:
        raise InputError(
            f"{str(path)!r}: expected a file or folder of text, got nothing there; a text is passed as [text]"
        )
    try:
        texts = tuple(inner.read_text(encoding="utf-8") for inner in paths)
    except (UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path}: expected text in UTF-8, got what cannot be read so ({error})") from error
    if not any(text.strip() for text in texts):
        raise InputError(f"{path}: expected text, got empty files")
    return Texts(texts, str(path))


def _paragraphs(text: str) -> tuple[str, ...]:
    """Return the parts of the shipped text, which lines of three stars divide."""
    return tuple(part.strip() for part in text.split("\n***\n"))

"""In-context tasks that the tiny OPT was trained for, as rows of a user's own task.

Their words are random; only the context shows which word follows which. Each word is one token wherever it stands,
since it begins with a space and the tokenizer splits there.
"""

import json
import random
from pathlib import Path

from headcount.tracing import load_model

CHOICES = 4


def write_tasks(folder, scored=60, train=40, seed=0):
    """Write the files of the tasks `successor` and `recall` into a folder."""
    pick, words = random.Random(seed), single_token_words(load_model("tiny-opt").tokenizer)
    for name, draw in (("successor", successor), ("recall", recall)):
        for suffix, n in (("", scored), (".train", train)):
            rows = [draw(words, pick) for _ in range(n)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (Path(folder) / f"{name}{suffix}.jsonl").write_text(text, encoding="utf-8")
    return folder


def single_token_words(tokenizer):
    """Return the words that are one token after a space."""
    texts = (tokenizer.decode([token]) for token in range(4, len(tokenizer)))
    words = sorted({text for text in texts if text.startswith(" ") and text[1:].isalpha() and text.isascii()})
    return [word for word in words if len(tokenizer.encode(word * 3, add_special_tokens=False)) == 3]


def successor(words, pick):
    """Return a row: a walk along a ring of words, with jumps; the last word was followed by its successor before."""
    ring = pick.sample(words, 10)
    walk = [place % 10 for place in range(pick.randrange(10), 10**6)][:20]
    for _ in range(10):
        start = pick.randrange(10)
        walk += [(start + step) % 10 for step in range(pick.randrange(2, 5))]
    after = (walk[-1] + 1) % 10
    wrong = pick.sample([place for place in range(10) if place not in (after, walk[-1])], CHOICES - 1)
    return row("".join(ring[place] for place in walk), ring[after], [ring[place] for place in wrong], pick)


def recall(words, pick):
    """Return a row: pairs of key and value in changing order, then a key."""
    chosen = pick.sample(words, 16)
    pairs = list(zip(chosen[::2], chosen[1::2], strict=True))
    shown = [pair for _ in range(3) for pair in pick.sample(pairs, len(pairs))]
    key, value = pick.choice(pairs)
    wrong = pick.sample([other for _, other in pairs if other != value], CHOICES - 1)
    return row("".join(word for pair in shown for word in pair) + key, value, wrong, pick)


def row(context, right, wrong, pick):
    choices = [right, *wrong]
    pick.shuffle(choices)
    return {"context": context, "choices": choices, "gold": choices.index(right)}

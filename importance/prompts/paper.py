"""Prompts of the paper: EleutherAI's lm-evaluation-harness as it was in 2022 (Bansal et al. 2023).

Each function turns a row into its context, its choices and the numbers of the right ones. They follow lm_eval/tasks of
that harness at commit 11fa0bf, which the published code names, with one difference: a continuation is the same, with
its leading space, when it is scored, shown in a shot or differentiated (the published code drops the space in some).
"""

import re
from collections.abc import Callable, Sequence

from headcount.importance.documents import Prompt
from headcount.importance.rows.schema import Row

SEPARATOR = "\n\n"
LETTERS = "ABCDE"
NUMBERS = "12345"
_OPTION = re.compile(r"[abcd] \) .*?, |e \) .*?$")


class PaperPrompts:
    """The paper's prompts of one of the sixteen tasks.

    Args:
        name: The task.
    """

    def __init__(self, name: str) -> None:
        self._prompt = _PROMPTS[name]

    def prompts(self, rows: Sequence[Row]) -> list[Prompt]:
        """Return the prompts of rows.

        Raises:
            ValueError, LookupError, TypeError: A row is not what the task takes.
        """
        return [self._prompt(row) for row in rows]


def _choose(context: str, continuations: Sequence[str], *gold: int) -> Prompt:
    """Return a prompt whose choices are continuations of one context."""
    for choice in gold:
        if not 0 <= choice < len(continuations):
            raise ValueError(f"the right answer is number {choice} of {len(continuations)}")
    shot = context + continuations[gold[0]] + SEPARATOR
    return Prompt((context,) * len(continuations), tuple(continuations), gold, shot)


def _spaced(texts: Sequence[str]) -> list[str]:
    return [f" {text}" for text in texts]


def _arc(row: Row) -> Prompt:
    gold = (NUMBERS if row["answerKey"] in NUMBERS else LETTERS).index(row["answerKey"])
    return _choose(f"Question: {row['question']}\nAnswer:", _spaced(row["choices"]["text"]), gold)


def _openbookqa(row: Row) -> Prompt:
    gold = LETTERS.index(row["answerKey"].strip())
    return _choose(row["question_stem"], _spaced(row["choices"]["text"]), gold)


def _hellaswag(row: Row) -> Prompt:
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return _choose(_tidy(context), _spaced([_tidy(ending) for ending in row["endings"]]), int(row["label"]))


def _tidy(text: str) -> str:
    """Remove the headings in brackets that HellaSwag's WikiHow part has."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def _piqa(row: Row) -> Prompt:
    return _choose(f"Question: {row['goal']}\nAnswer:", _spaced([row["sol1"], row["sol2"]]), row["label"])


def _winogrande(row: Row) -> Prompt:
    """Return a prompt whose contexts end with the options; the text after the gap is scored."""
    gap = row["sentence"].index("_")
    contexts = tuple(row["sentence"][:gap] + row[option] for option in ("option1", "option2"))
    continuation = " " + row["sentence"][gap + 1 :].strip()
    gold = ("1", "2").index(row["answer"])
    return Prompt(contexts, (continuation,) * 2, (gold,), contexts[gold] + continuation + SEPARATOR)


def _boolq(row: Row) -> Prompt:
    return _choose(f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:", [" no", " yes"], row["label"])


def _cb(row: Row) -> Prompt:
    context = f"{row['premise']}\nQuestion: {row['hypothesis']}. True, False or Neither?\nAnswer:"
    return _choose(context, [" True", " False", " Neither"], row["label"])


def _copa(row: Row) -> Prompt:
    connector = {"cause": "because", "effect": "therefore"}[row["question"]]
    choices = [f" {choice[0].lower()}{choice[1:]}" for choice in (row["choice1"], row["choice2"])]
    return _choose(f"{row['premise'].strip()[:-1]} {connector}", choices, row["label"])


def _multirc(row: Row) -> Prompt:
    choices = [f" {row['answer']}\nIs the answer correct? {verdict}" for verdict in ("no", "yes")]
    return _choose(f"{row['paragraph']}\nQuestion: {row['question']}\nAnswer:", choices, row["label"])


def _record(row: Row) -> Prompt:
    text, *highlights = row["passage"].strip().split("\n@highlight\n")
    context = text + "\n\n" + "".join(f"  - {highlight}.\n" for highlight in highlights)
    entities, answers = sorted(set(row["entities"])), sorted(set(row["answers"]))
    choices = [f"  - {row['query']}".replace("@placeholder", entity) for entity in entities]
    return _choose(context, choices, *right_entities(entities, answers))


def right_entities(entities: Sequence[str], answers: Sequence[str]) -> list[int]:
    """Return the right entities: first the one that is the first answer, then all that match an answer as SQuAD does.

    Raises:
        ValueError: The first answer is not among the entities.
    """
    first = entities.index(answers[0])
    right = {_squad_form(answer) for answer in answers}
    return [first] + [n for n, entity in enumerate(entities) if n != first and _squad_form(entity) in right]


def _squad_form(text: str) -> str:
    """Return a text in SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    words = "".join(sign for sign in text.lower() if sign not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", words).split())


def _rte(row: Row) -> Prompt:
    context = f"{row['premise']}\nQuestion: {row['hypothesis']} True or False?\nAnswer:"
    return _choose(context, [" True", " False"], row["label"])


def _wic(row: Row) -> Prompt:
    word = row["sentence1"][row["start1"] : row["end1"]]
    context = (
        f"Sentence 1: {row['sentence1']}\nSentence 2: {row['sentence2']}\n"
        f"Question: Is the word '{word}' used in the same way in the two sentences above?\nAnswer:"
    )
    return _choose(context, [" no", " yes"], row["label"])


def _wsc(row: Row) -> Prompt:
    before = " ".join(row["text"].split()[: row["span2_index"]])  # spans are counted in words
    after = row["text"][len(before) + len(row["span2_text"]) + 1 :]
    passage = _detokenised(f"{before} *{row['span2_text']}*{after}")
    question = f'In the passage above, does the pronoun "*{row["span2_text"]}*" refer to "*{row["span1_text"]}*"?'
    return _choose(f"Passage: {passage}\nQuestion: {question}\nAnswer:", [" no", " yes"], row["label"])


def _detokenised(text: str) -> str:
    for spaced, plain in ((" n't", "n't"), (" )", ")"), ("( ", "("), ('" ', '"'), (' "', '"')):
        text = text.replace(spaced, plain)
    return re.sub(r" (['.,])", r"\1", text)


def _mathqa(row: Row) -> Prompt:
    choices = [option[4:].rstrip(" ,") for option in _OPTION.findall(row["options"])]
    return _choose(f"Question: {row['Problem']}\nAnswer:", _spaced(choices), "abcde".index(row["correct"]))


def _lambada(row: Row) -> Prompt:
    context, last = row["text"].rsplit(" ", 1)
    return _choose(context, [f" {last}"], 0)


_PROMPTS: dict[str, Callable[[Row], Prompt]] = {
    "arc_easy": _arc,
    "arc_challenge": _arc,
    "openbookqa": _openbookqa,
    "hellaswag": _hellaswag,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "boolq": _boolq,
    "cb": _cb,
    "copa": _copa,
    "multirc": _multirc,
    "record": _record,
    "rte": _rte,
    "wic": _wic,
    "wsc": _wsc,
    "mathqa": _mathqa,
    "lambada_openai": _lambada,
}

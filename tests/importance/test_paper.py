"""The paper profile: prompts of the harness of 2022, as strings written by hand from rows invented for the test."""

import random

import pytest

from headcount.importance import Example, load_task
from headcount.importance.prompts.paper import PaperPrompts
from headcount.importance.rows.definitions import paper_tasks

OPTIONS = {"text": ["a stone", "a cloud"], "label": ["A", "B"]}

# task: (row, context, [continuations], right choices)
CASES = {
    "arc_easy": (
        {"question": "What falls?", "choices": OPTIONS, "answerKey": "A"},
        "Question: What falls?\nAnswer:",
        [" a stone", " a cloud"],
        (0,),
    ),
    "arc_challenge": (
        {"question": "What floats?", "choices": {"text": ["lead", "cork"], "label": ["1", "2"]}, "answerKey": "2"},
        "Question: What floats?\nAnswer:",
        [" lead", " cork"],
        (1,),
    ),
    "openbookqa": (
        {"question_stem": "The sky holds", "choices": OPTIONS, "answerKey": " B "},
        "The sky holds",
        [" a stone", " a cloud"],
        (1,),
    ),
    "hellaswag": (
        {
            "activity_label": "Baking",
            "ctx_a": "[header] How to bake [title] Mix flour.",
            "ctx_b": "the cook",
            "endings": ["waits.", "[substeps] Adds  salt.", " sings. ", "sleeps."],
            "label": "1",
        },
        "Baking: How to bake. Mix flour. The cook",
        [" waits.", "  Adds salt.", " sings.", " sleeps."],
        (1,),
    ),
    "piqa": (
        {"goal": "Open a jar.", "sol1": "Twist the lid.", "sol2": "Twist the glass.", "label": 0},
        "Question: Open a jar.\nAnswer:",
        [" Twist the lid.", " Twist the glass."],
        (0,),
    ),
    "boolq": (
        {"passage": "Bees -- Bees make honey.", "question": "do bees make honey", "label": 1},
        "Bees -- Bees make honey.\nQuestion: do bees make honey?\nAnswer:",
        [" no", " yes"],
        (1,),
    ),
    "cb": (
        {"premise": "I think it rains.", "hypothesis": "it rains", "label": 2},
        "I think it rains.\nQuestion: it rains. True, False or Neither?\nAnswer:",
        [" True", " False", " Neither"],
        (2,),
    ),
    "copa": (
        {"premise": "The lamp fell.", "choice1": "It broke.", "choice2": "It sang.", "question": "effect", "label": 0},
        "The lamp fell therefore",
        [" it broke.", " it sang."],
        (0,),
    ),
    "multirc": (
        {
            "paragraph": "Ann has a cat.",
            "question": "What has Ann?",
            "answer": "A cat",
            "idx": {"paragraph": 0, "question": 0, "answer": 0},
            "label": 1,
        },
        "Ann has a cat.\nQuestion: What has Ann?\nAnswer:",
        [" A cat\nIs the answer correct? no", " A cat\nIs the answer correct? yes"],
        (1,),
    ),
    "record": (
        {
            "passage": "The Nile floods Egypt.\n@highlight\nEgypt is wet\n@highlight\nThe Nile rises",
            "query": "People of @placeholder leave.",
            "entities": ["Nile", "the Egypt", "Egypt", "Nile"],
            "answers": ["Egypt"],
        },
        "The Nile floods Egypt.\n\n  - Egypt is wet.\n  - The Nile rises.\n",
        ["  - People of Egypt leave.", "  - People of Nile leave.", "  - People of the Egypt leave."],
        (0, 2),
    ),
    "rte": (
        {"premise": "Bo runs.", "hypothesis": "Bo moves.", "label": 0},
        "Bo runs.\nQuestion: Bo moves. True or False?\nAnswer:",
        [" True", " False"],
        (0,),
    ),
    "wic": (
        {"sentence1": "He sat on the bank.", "sentence2": "Banks lend.", "start1": 14, "end1": 18, "label": 0},
        "Sentence 1: He sat on the bank.\nSentence 2: Banks lend.\n"
        "Question: Is the word 'bank' used in the same way in the two sentences above?\nAnswer:",
        [" no", " yes"],
        (0,),
    ),
    "wsc": (
        {
            "text": "Al did n't see Ed , so he left .",
            "span1_text": "Al",
            "span2_text": "he",
            "span2_index": 7,
            "label": 1,
        },
        "Passage: Al didn't see Ed, so *he* left.\n"
        'Question: In the passage above, does the pronoun "*he*" refer to "*Al*"?\nAnswer:',
        [" no", " yes"],
        (1,),
    ),
    "mathqa": (
        {"Problem": "what is 2 + 2 ?", "options": "a ) 3 , b ) 4.5 , c ) rs . 4 , d ) 5 , e ) none", "correct": "c"},
        "Question: what is 2 + 2 ?\nAnswer:",
        [" 3", " 4.5", " rs . 4", " 5", " none"],
        (2,),
    ),
    "lambada_openai": ({"text": "He opened the\nold door"}, "He opened the\nold", [" door"], (0,)),
}


@pytest.mark.parametrize("name", CASES)
def test_prompts_equal_the_strings_written_by_hand(name):
    row, context, continuations, gold = CASES[name]
    (prompt,) = PaperPrompts(name).prompts([row])
    assert prompt.contexts == (context,) * len(continuations)
    assert prompt.continuations == tuple(continuations)
    assert prompt.gold == gold
    assert prompt.shot == context + continuations[gold[0]] + "\n\n"


def test_winogrande_has_its_options_in_the_context():
    row = {"sentence": "The cup fits the bag because the _ is big.", "option1": "cup", "option2": "bag", "answer": "2"}
    (prompt,) = PaperPrompts("winogrande").prompts([row])
    assert prompt.contexts == (
        "The cup fits the bag because the cup",
        "The cup fits the bag because the bag",
    )
    assert prompt.continuations == (" is big.", " is big.")
    assert prompt.gold == (1,)
    assert prompt.shot == "The cup fits the bag because the bag is big.\n\n"


def test_every_task_has_its_strings():
    assert {*CASES, "winogrande"} == set(paper_tasks())


@pytest.mark.parametrize("name", sorted(paper_tasks()))
def test_on_real_rows_the_profiles_differ_where_they_are_known_to(name, real_rows):
    """An independent check of the paper's prompts: lm-eval's, undone where lm-eval has changed since."""
    paper, harness = (load_task(name, profile, real_rows) for profile in ("paper", "harness"))
    today = {document.index: document for document in harness.documents()}
    for document in paper.documents(limit=100):
        requests, gold = today[document.index].requests, today[document.index].gold
        if name == "cb":
            requests = [Example(r.context.replace("False, or", "False or"), r.continuation) for r in requests]
        if name in {"copa", "record"}:
            requests = [Example(r.context, r.continuation[1:]) for r in requests]
        if name == "multirc":
            requests = reversed(requests)
        assert list(document.requests) == list(requests)
        assert document.gold == gold


def test_documents_are_shuffled_as_in_2022_before_the_first_are_taken(real_rows):
    task = load_task("piqa", "paper", real_rows)
    order = list(range(len(task.rows.scored)))
    random.Random(42).shuffle(order)
    assert [document.index for document in task.documents(limit=20)] == order[:20]
    assert [document.index for document in load_task("piqa", data=real_rows).documents(limit=20)] == list(range(20))


def test_profiles_say_how_text_is_encoded(real_rows):
    assert load_task("piqa", "paper", real_rows).encoding == "apart"
    assert load_task("piqa", "harness", real_rows).encoding == "joint"


def test_multirc_takes_whole_questions_and_counts_them(real_rows):
    task = load_task("multirc", "paper", real_rows)
    documents = task.documents(limit=30)
    assert 0 < len(documents) <= 30
    everything = task.documents()
    for question in {document.group for document in documents}:
        answers = [document.index for document in everything if document.group == question]
        assert sorted(answers) == sorted(document.index for document in documents if document.group == question)
    right = [[0.0, -1.0] if document.gold == (0,) else [-1.0, 0.0] for document in documents]
    questions = len({document.group for document in documents})
    assert task.correct(documents, right, [[False] * 2] * len(documents)) == [True] * questions
    right[0] = right[0][::-1]
    assert sum(task.correct(documents, right, [[False] * 2] * len(documents))) == questions - 1


def test_wsc_shows_positive_rows_only(real_rows):
    task = load_task("wsc", "paper", real_rows)
    assert all(example.continuation == " yes" for example in task.examples(limit=500))
    assert all(document.requests[0].context.count(" yes\n\n") == 4 for document in task.documents(shots=4))
    assert {example.continuation for example in load_task("wsc", data=real_rows).examples()} == {" no", " yes"}

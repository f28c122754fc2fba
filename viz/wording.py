"""The titles of the measures, and plain sentences about each: how to read it and what it does not show."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headcount.results import ExpertScores, HeadScores, LayerScores


@dataclass(frozen=True)
class Reading:
    """A measure in words.

    Attributes:
        title: Its name.
        measures: The meaning of one value of a head.
        reading: The meaning of high and low values.
        caveat: The conclusion that it does not support.
    """

    title: str
    measures: str
    reading: str
    caveat: str


READINGS: Mapping[str, Reading] = MappingProxyType(
    {
        "prefix_matching": Reading(
            title="Prefix matching",
            measures="The share of a head's attention that goes to the tokens which followed earlier occurrences of "
            "the current token, on random tokens that repeat.",
            reading="Bright heads attend to what followed the current token the last time: 1 is all of the attention, "
            "0 is none. An induction head is bright here.",
            caveat="Where a head attends does not show what it writes, and random tokens are not text.",
        ),
        "copying": Reading(
            title="Copying",
            measures="Of the tokens in view, a head's output makes some more likely than their mean. The score is the "
            "share of that gain that goes to the token the head attends to most.",
            reading="Bright heads write what they read: at 1 only the token attended to gains, at 0 it gains nothing. "
            "An induction head is bright here too, on the scale of this map.",
            caveat="The head is scored on the embeddings alone. After the layers below it, it may do something else.",
        ),
        "copying_published": Reading(
            title="Copying as published",
            measures="The copying score as the paper's code computes it: from the value and output of the current "
            "token alone, without the sum over the tokens that the head attends to.",
            reading="Shown for comparison with published numbers. Heads that attend to the current token score high.",
            caveat="A head that copies from other positions can be dark here and bright in the map of copying.",
        ),
        "head_importance": Reading(
            title="Head importance",
            measures="The size, to first order, of a head's effect on the loss on a task's gold continuations, "
            "if its output were set to zero.",
            reading="Bright heads contribute more to the prediction. At 0, setting the head to zero changes nothing, "
            "to first order. The unit is nats of loss: per token that the model reads for the reduction token, "
            "per example for example and signed. Compare heads within one map only.",
            caveat="Gradients give a first-order estimate for each head alone, on the gold continuations of these "
            "documents and prompts. No head was ablated, and the loss from ablating several together is not in it.",
        ),
        "ffn_importance": Reading(
            title="FFN importance",
            measures="The drop in a task's accuracy when the feed-forward network (FFN) of one layer is removed.",
            reading="The task needs the FFN of a layer far above zero. Below zero, the model gets more documents "
            "right without it. Bars are one standard error: of the paired difference over documents, or, for a mean, "
            "over its tasks.",
            caveat="On few documents a drop in accuracy has a large error, and it holds for these documents and "
            "prompts. One FFN was removed at a time: the loss from removing several together is not in it.",
        ),
        "function_vector_effect": Reading(
            title="Function-vector effect",
            measures="The rise of the gold continuation's probability when a head's output at the last token becomes "
            "its mean over prompts of the task, on prompts whose shots have their answers shuffled.",
            reading="Bright heads bring the task back where the shots do not show it. The unit is "
            "probability; by gradient it is a first-order estimate.",
            caveat="A head that a task needs in another way, to find the question, say, has no effect here.",
        ),
        "causal_gates": Reading(
            title="Gates on heads",
            measures="The role of a head by gates that are learned on a task: facilitating, irrelevant or interfering.",
            reading="At 1 the head has the role in every fit, at 0 in none.",
            caveat="Gates tune the model on the examples that they are learned on, as well as measure it. Of heads "
            "that can stand in for one another, single ones may seem irrelevant.",
        ),
        "feeding_heads": Reading(
            title="Heads that feed a head",
            measures="The fall of a later head's score when what this head adds is replaced by its mean in one input "
            "of the later head: its keys, queries or values.",
            reading="Bright heads make what the later head reads there. Below 0 its score rises without them.",
            caveat="On repeated random tokens; the mean over positions may not be what the later head meets in text.",
        ),
    }
)
EXTRAS: Mapping[str, str] = MappingProxyType(
    {
        "self_attention": "Most on itself",
        "bos_attention": "Most on BOS",
        "log_p": "Drop of gold log-probability, nats",
        "routed": "Share of tokens",
    }
)
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "induction": "induction heads",
        "function_vector": "function-vector heads",
        "importance": "heads of highest importance",
        "gates": "heads that gates keep",
    }
)
"""The titles of the kinds of heads that causes are about."""

ABLATIONS: Mapping[str, str] = MappingProxyType(
    {
        "zero": "",
        "mean": ", by the mean over train examples",
        "resample": ", by another prompt's values",
        "patch": ", by values with shuffled answers",
    }
)
"""The words after a title that say which values take the place of ablated parts' outputs; none for zeros."""

QUANTITIES: Mapping[str, str] = MappingProxyType(
    {"head_importance": "importance", "expert_importance": "importance", "ffn_importance": "drop in accuracy"}
)


def title_of(name: str) -> str:
    """Return the title of a measure or an extra: that of a known one, else the name with spaces for underscores."""
    if name in READINGS:
        return READINGS[name].title
    return EXTRAS.get(name) or name.replace("_", " ").capitalize() or "Score"


def kind_title(kind: str) -> str:
    """Return the title of a kind of heads: `function_vector` as "function vector"."""
    return KINDS.get(kind) or kind.replace("_", " ")


def quantity(scores: HeadScores | LayerScores | ExpertScores) -> str:
    """Return the name of the number for the heading of a column or an axis; mean ranks have their own."""
    if scores.definition.startswith("rank-mean"):
        return "mean rank"
    return QUANTITIES.get(scores.measure) or title_of(scores.measure).lower()


def length_range(scores: HeadScores | LayerScores | ExpertScores) -> str:
    """Return the range of the sequences' lengths, to stand after `n`: `, 101 to 893 tokens`; empty for layers."""
    return scores.length_range if isinstance(scores, HeadScores) else ""


def figure_title(scores: HeadScores | LayerScores | ExpertScores) -> str:
    """Return the measure with its definition, task, model and n."""
    definition = f" ({scores.definition})" if scores.definition else ""
    sources = [str(scores.provenance[key]) for key in ("task", "model") if key in scores.provenance]
    return ", ".join([f"{title_of(scores.measure)}{definition}", *sources, f"n = {scores.n}{length_range(scores)}"])

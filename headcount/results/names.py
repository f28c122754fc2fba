"""The grammar of result names: what a run calls each of its results.

    induction/SCORE   control/SCORE   attention/PROMPT
    accuracy/SETTING   importance/PART[-MEASURE][-ABLATION]/SETTING
    pruning/PART[-ABLATION]/SETTING.RANKING   pruning/grid[-ABLATION]/SETTING
    causes/ABLATION/SETTING   verdicts/ABLATION/SETTING   rank/ABLATION/SETTING.RANKING   areas/ABLATION/SETTING
    paths/HEAD-INPUT-PATH   composition/KIND   atlas/heads
    analyses/TOPIC   analyses/TOPIC.Kshot   analyses/capacity/SCORE.SETTING

A MEASURE names settings of importance that change its number and are not the usual ones: `drop`, `verified`, `5steps`.
A SETTING is a task at a number of shots, such as `piqa.5shot`; a mean over tasks may stand in place of the task. A PART
is `heads`, `heads-oracle`, `ffns`, `experts` or `experts-oracle`, `function-vectors`, or one of `gates-facilitating`,
`gates-irrelevant` and `gates-interfering`; one that is removed is `heads`, `ffns`, `kv_groups` or `experts`. A RANKING
is the order in which parts are removed, such as `own` or `random`. An ABLATION is the kind of values that take the
place of a part's output, such as `zero` or `mean`; left out for zeros where it is in brackets. A path to a head is
named by the head, its input and the kind of path, such as `L18H6-key-direct`.
"""

import re
from dataclasses import dataclass

SCORES = ("prefix_matching", "copying", "copying_published")
"""The scores of heads on random tokens, in the order in which they are shown."""

MEANS = {"mean": "mean over tasks", "rank-mean": "mean rank over tasks"}
"""The words that stand for several tasks in a setting, with their titles."""

ZERO = "zero"
ABLATIONS = ("mean", "resample", "patch")
"""The kinds of ablation by other values than zeros."""

_ABLATION = rf"(?:-(?:{'|'.join(ABLATIONS)}))?"
_SETTING = r"(?P<task>[^/]+)\.(?P<shots>\d+)shot"
_GRAMMAR = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<folder>induction|control)/(?P<topic>[\w-]+)",
        r"(?P<folder>attention)/(?P<topic>.+)",
        r"(?P<folder>atlas)/(?P<topic>[\w-]+)",
        rf"(?P<folder>accuracy|importance/[\w-]+|pruning/grid{_ABLATION})/{_SETTING}",
        rf"(?P<folder>pruning/(?:heads|ffns|kv_groups|experts){_ABLATION})/{_SETTING}\.(?P<ranking>[\w-]+)",
        rf"(?P<folder>(?:causes|verdicts|areas)/[a-z]+)/{_SETTING}",
        rf"(?P<folder>rank/[a-z]+)/{_SETTING}\.(?P<ranking>[\w-]+)",
        r"(?P<folder>paths)/(?P<topic>L\d+H\d+-(?:key|query|value)-(?:direct|total))",
        r"(?P<folder>composition)/(?P<topic>[KQV])",
        rf"(?P<folder>analyses/capacity)/(?P<topic>\w+)\.{_SETTING}",
        r"(?P<folder>analyses)/(?P<topic>[\w/-]+)(?:\.(?P<shots>\d+)shot)?",
    )
)


@dataclass(frozen=True)
class Setting:
    """A task, or a mean over tasks, at a number of shots.

    Attributes:
        task: The task's name, or one of `MEANS`.
        shots: The number of solved examples before each document.
    """

    task: str
    shots: int

    def __str__(self) -> str:
        """Return the form that names of results have: `piqa.0shot`."""
        return f"{self.task}.{self.shots}shot"

    @classmethod
    def parse(cls, text: str) -> "Setting | None":
        """Return the setting that a text such as `piqa.0shot` names; None for any other text."""
        match = re.fullmatch(_SETTING, text)
        return cls(match["task"], int(match["shots"])) if match else None

    @property
    def is_mean(self) -> bool:
        """True if it stands for several tasks."""
        return self.task in MEANS

    @property
    def title(self) -> str:
        """The form for people: `piqa, 0 shots`."""
        return f"{MEANS.get(self.task, self.task)}, {shots_title(self.shots)}"

    @property
    def order(self) -> tuple[int, int, str]:
        """The key to sort by: fewer shots first, at each the means, then the tasks by name."""
        return self.shots, [*MEANS, self.task].index(self.task), self.task


@dataclass(frozen=True)
class ResultName:
    """The name of a result, taken apart.

    Attributes:
        folder: The first words, such as `induction`, `importance/heads` or `analyses`.
        topic: The score, the prompt, or the topic of an analysis.
        setting: The task and shots of a result that is about one task or a mean over tasks.
        shots: The number of shots of an analysis over several tasks.
        ranking: The ranking along which parts were removed.
    """

    folder: str
    topic: str = ""
    setting: Setting | None = None
    shots: int | None = None
    ranking: str = ""

    def __str__(self) -> str:
        """Return the name as a run has it."""
        words = [self.topic, "" if self.setting is None else str(self.setting), self.ranking]
        words.append("" if self.shots is None else f"{self.shots}shot")
        return f"{self.folder}/{'.'.join(filter(None, words))}"

    @classmethod
    def parse(cls, text: str) -> "ResultName | None":
        """Take a name apart; None for one that the grammar does not know."""
        for pattern in _GRAMMAR:
            if match := pattern.fullmatch(text):
                groups = match.groupdict(default="")
                shots = int(groups["shots"]) if groups.get("shots") else None
                setting = Setting(groups["task"], shots) if groups.get("task") and shots is not None else None
                topic, ranking = groups.get("topic", ""), groups.get("ranking", "")
                return cls(groups["folder"], topic, setting, None if setting else shots, ranking)
        return None

    @property
    def ablation(self) -> str:
        """The kind of ablation: `zero` for results that are of zeros, or of no ablation."""
        folder, _, word = self.folder.partition("/")
        if folder in ("causes", "verdicts", "rank", "areas"):
            return word
        last = word.rpartition("-")[2]
        return last if folder in ("importance", "pruning") and last in ABLATIONS else ZERO

    @classmethod
    def induction(cls, score: str) -> "ResultName":
        """Return the name of a score on random tokens, or of the loss by repeat (`repeat_loss`)."""
        return cls("induction", score)

    @classmethod
    def control(cls, score: str) -> "ResultName":
        """Return the name of the same score with random weights."""
        return cls("control", score)

    @classmethod
    def attention(cls, prompt: str) -> "ResultName":
        """Return the name of the patterns of every head on a prompt."""
        return cls("attention", prompt)

    @classmethod
    def atlas(cls) -> "ResultName":
        """Return the name of the head atlas."""
        return cls("atlas", "heads")

    @classmethod
    def accuracy(cls, setting: Setting) -> "ResultName":
        """Return the name of an accuracy."""
        return cls("accuracy", setting=setting)

    @classmethod
    def importance(cls, part: str, setting: Setting, ablation: str = ZERO) -> "ResultName":
        """Return the name of the importance of a part, such as `heads`, `heads-oracle` or `ffns`."""
        return cls(f"importance/{ablated_part(part, ablation)}", setting=setting)

    @classmethod
    def curve(cls, component: str, setting: Setting, ranking: str, ablation: str = ZERO) -> "ResultName":
        """Return the name of the accuracy as parts, such as `heads`, are removed along a ranking."""
        return cls(f"pruning/{ablated_part(component, ablation)}", setting=setting, ranking=ranking)

    @classmethod
    def grid(cls, setting: Setting, ablation: str = ZERO) -> "ResultName":
        """Return the name of the accuracy as heads and FFNs are removed together."""
        return cls(f"pruning/{ablated_part('grid', ablation)}", setting=setting)

    @classmethod
    def causes(cls, ablation: str, setting: Setting) -> "ResultName":
        """Return the name of the answers without sets of heads, by the kind of their ablation."""
        return cls(f"causes/{ablation}", setting=setting)

    @classmethod
    def verdicts(cls, ablation: str, setting: Setting) -> "ResultName":
        """Return the name of the verdicts on single heads, by the kind of their ablation."""
        return cls(f"verdicts/{ablation}", setting=setting)

    @classmethod
    def rank(cls, ablation: str, setting: Setting, ranking: str) -> "ResultName":
        """Return the name of the curve as the last heads of a ranking go, in the benchmark of rankings."""
        return cls(f"rank/{ablation}", setting=setting, ranking=ranking)

    @classmethod
    def areas(cls, ablation: str, setting: Setting) -> "ResultName":
        """Return the name of the areas under these curves, for all rankings."""
        return cls(f"areas/{ablation}", setting=setting)

    @classmethod
    def paths(cls, layer: int, head: int, on: str, path: str) -> "ResultName":
        """Return the name of the scores of the heads that feed an input of a head."""
        return cls("paths", f"L{layer}H{head}-{on}-{path}")

    @classmethod
    def composition(cls, kind: str) -> "ResultName":
        """Return the name of the composition of all pairs of heads, by its kind: `K`, `Q` or `V`."""
        return cls("composition", kind)

    @classmethod
    def analysis(cls, topic: str, shots: int | None = None) -> "ResultName":
        """Return the name of an analysis over tasks, such as `heads/correlations`, at a number of shots or over all."""
        return cls("analyses", topic, shots=shots)

    @classmethod
    def capacity(cls, score: str, setting: Setting) -> "ResultName":
        """Return the name of the share of an induction score that remains along a setting's ranking."""
        return cls("analyses/capacity", score, setting)


def scored_part(
    part: str, method: str, reduction: str, ablation: str = ZERO, steps: int = 1, share: float = 0.2
) -> str:
    """Return a part with the settings of its importance as names have them, such as `heads-drop-5steps`.

    Gradients at z towards zero are `heads`, by any of the reductions that are no drop; real ablation is `heads-oracle`.
    The kind of ablation stands behind it, see `ablated_part`.
    """
    usual = method == "gradient" and reduction != "drop" and ablation == ZERO and steps == 1
    words = [part] if usual else [part, reduction if method == "gradient" else method]
    words += [f"share{100 * share:g}".replace(".", "_")] if method == "verified" and share != 0.2 else []
    words += [f"{steps}steps"] if steps > 1 and method != "oracle" else []
    return "-".join(words)


def ablated_part(part: str, ablation: str) -> str:
    """Return a part with the kind of its ablation as names have it: `ffns-mean`; `ffns` for zeros."""
    return part if ablation == ZERO else f"{part}-{ablation}"


def shots_title(shots: int) -> str:
    """Return a number of shots in words: `1 shot`, `5 shots`."""
    return f"{shots} shot{'' if shots == 1 else 's'}"

"""What to try next: rules from figures to a sentence and a command."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from zsretrieve.domain.plain import Result
from zsretrieve.domain.results import EvalReport
from zsretrieve.domain.wording import counted, shorten
from zsretrieve.metrics import wilson

# A pair of classes stands out if it makes a tenth of all mistakes, and at least five.
_PAIR_SHARE, _PAIR_COUNT = 0.1, 5
# So does a class that takes a fifth of the mistakes, from three classes or more.
_GREEDY_SHARE, _GREEDY_FROM = 0.2, 3
# A fitted scale is worth mentioning if it removes a third of an error of five points or more.
_CALIBRATION_ERROR, _CALIBRATION_LEFT = 0.05, 2 / 3
# The precision that an "unknown" answer should bring: the first that is a gain and leaves enough images answered.
_WANTED = (0.95, 0.9, 0.8)
_LEAST_GAIN, _LEAST_ANSWERED, _LEAST_COVERAGE = 0.05, 20, 0.1
_FEW_IMAGES = 30
_SKIPPED_SHARE = 0.01
_FAILING_RECALL = 0.5
_SHOTS = 16
# Prec@5 means little with few classes.
_NEAR_MISS, _NEAR_CLASSES = 0.15, 10
_NAMED = 6


@dataclass(frozen=True)
class Asked(Result):
    """What was evaluated, by the names that a command takes.

    ``prototypes`` is None if they were made from ``classes`` and ``templates`` for this evaluation alone. ``classes``
    is where the class names came from, None if no command can name it. ``is_gallery`` is whether ``source`` is a
    gallery. ``is_probe`` is whether the prototypes are those of a linear probe or an adapter, which have neither names
    nor similarities.
    """

    source: str = "SOURCE"
    prototypes: str | None = "PROTOTYPES"
    classes: str | None = None
    templates: str | None = None
    is_gallery: bool = True
    is_probe: bool = False


@dataclass(frozen=True)
class Advice(Result):
    """``rule`` is the name of the rule that applies; ``command`` is quoted for a shell."""

    rule: str
    text: str
    command: str


@dataclass(frozen=True)
class Case:
    """What the rules look at."""

    report: EvalReport
    asked: Asked

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of all classes, whether they have images or not."""
        return self.report.run.class_names

    @property
    def mistakes(self) -> int:
        return self.report.n_scored - self.report.n_correct

    def evaluate(self, *words: str) -> str:
        """The same evaluation with further options."""
        where = () if self.report.where is None else ("--where", self.report.where)
        shots = ("--include-shots",) if self.report.shots_included else ()
        return _command("evaluate", self.asked.source, *self.against("--prototypes"), *where, *shots, *words)

    def build(self, classes: str, *words: str) -> str:
        """Other prototypes of the same model."""
        options = ("--classes", classes, *words, "--model", self.report.model)
        return _command("index", "prototypes", "NEW-PROTOTYPES", *options)

    def similar(self) -> str:
        """Which prototypes are close to each other."""
        return _command("prompts", "similar", *self.against())

    def against(self, *option: str) -> tuple[str, ...]:
        """What names the prototypes: their index, after its ``option`` if it has one, or what they are made from."""
        if self.asked.prototypes is not None:
            return *option, self.asked.prototypes
        templates = () if self.asked.templates is None else ("--templates", self.asked.templates)
        return "--classes", self.asked.classes or "CLASSES", *templates, "--model", self.report.model


def advise(case: Case) -> tuple[Advice, ...]:
    """What the figures suggest, starting with the figures themselves; empty if nothing stands out."""
    rules = (rule for rule in RULES if not (case.asked.is_probe and rule in _OF_NAMES))
    return tuple(advice for rule in rules if (advice := rule(case)) is not None)


def at_chance(case: Case) -> Advice | None:
    """The model does no better than guessing: something is wrong before names and templates matter."""
    report = case.report
    if not report.is_at_chance:
        return None
    text = (
        f"Prec@1 is {_percent(report.prec_at_1)}, no better than guessing one of {report.n_classes} classes "
        f"({_percent(1 / report.n_classes)}). Check three things first. Weights: are they the trained ones? "
        "Activation: is it the one they were trained with (QuickGELU or GELU)? Labels: does each image have the label "
        "of its own class, or are they shifted, shuffled or numbered differently? This command shows the first two, "
        "and examples of mistakes show the third."
    )
    return Advice("chance", text, _command("models", "show", report.model))


def many_skipped(case: Case) -> Advice | None:
    """At least one input in a hundred could not be read."""
    report, n = case.report, len(case.report.skipped)
    if n < max(1, _SKIPPED_SHARE * (n + report.n_scored + report.unlabelled)):
        return None
    are = "is" if n == 1 else "are"
    text = f"{counted(n, 'image')} could not be read and {are} in no figure. List them with the reasons."
    return Advice("skipped", text, case.evaluate("--skipped", "skipped.csv"))


def empty_classes(case: Case) -> Advice | None:
    """Classes without images can only take images away from others."""
    kept = [score.class_name for score in case.report.per_class]
    occurring = {score.class_id for score in case.report.per_class}
    missing = [name for class_id, name in enumerate(case.class_names) if class_id not in occurring]
    if not missing:
        return None
    have = "has" if len(missing) == 1 else "have"
    text = (
        f"{len(missing)} of {len(case.class_names)} classes {have} no image here: {_named(missing)}. Such a class can "
        "only take images away from others. If your images never show it, leave it out."
    )
    # A list of one name ends in a comma.
    classes = ",".join(kept) if len(kept) > 1 else f"{kept[0]},"
    is_short = len(kept) <= _NAMED and not any("," in name for name in kept)
    return Advice("empty-classes", text, case.build(classes if is_short else "CLASSES"))


def few_images(case: Case) -> Advice | None:
    """With few images per class, recall is uncertain."""
    usual = int(median(score.n_scored for score in case.report.per_class))
    if usual >= _FEW_IMAGES:
        return None
    half = (usual + 1) // 2
    interval = wilson(half, usual)
    text = (
        f"Half of the classes have {counted(usual, 'image')} or fewer. If {half} of {usual} "
        f"{'is' if half == 1 else 'are'} right, the recall may be anywhere from {_percent(interval.low)} to "
        f"{_percent(interval.high)}: judge single classes with care, and score more images."
    )
    if case.asked.is_gallery:
        command = _command("index", "add", case.asked.source, "MORE-LABELLED-IMAGES")
    else:
        command = _command("evaluate", "MORE-LABELLED-IMAGES", *case.against("--prototypes"))
    return Advice("few-images", text, command)


def twins(case: Case) -> Advice | None:
    """If classes share a name, the strict score depends on the tie rule."""
    report, merged = case.report, case.report.merged
    if merged is None or merged.n_correct == report.n_correct:
        return None
    text = (
        f"Classes share a name: {_named(merged.names)}. The strict Prec@1 of {_percent(report.prec_at_1)} depends "
        f"on how their ties are broken; with each name counted as one class it is {_percent(merged.prec_at_1)}. Give "
        "each class a name of its own, or report both figures."
    )
    return Advice("twins", text, case.similar())


def ties(case: Case) -> Advice | None:
    """If prototypes of different names are equal, the score depends on the order of the classes."""
    n = case.report.n_tied
    if not n:
        return None
    text = (
        f"On {counted(n, 'image')}, several classes with different names share the best score, and the first of them "
        "is the answer: their prototypes are equal, so the figures depend on the order of the classes. Find out which "
        "they are, and give them names that the model can distinguish."
    )
    return Advice("ties", text, case.similar())


def dominant_pair(case: Case) -> Advice | None:
    """Two classes, of different names, make a large part of all mistakes."""
    between: Counter[tuple[int, int]] = Counter()
    for confusion in case.report.confusions:
        if confusion.true_class != confusion.predicted_class:
            first, second = sorted((confusion.true_id, confusion.predicted_id))
            between[first, second] += confusion.count
    if case.report.n_classes < 3 or not between:
        return None
    (first, second), count = min(between.items(), key=_most_frequent)
    if count < max(_PAIR_COUNT, _PAIR_SHARE * case.mistakes):
        return None
    names = f"{_quoted(case.class_names[first])} and {_quoted(case.class_names[second])}"
    text = (
        f"{count} of {case.mistakes} mistakes ({_percent(count / case.mistakes)}) are between {names}. See how close "
        "their prototypes are, and try names that say what distinguishes them."
    )
    return Advice("dominant-pair", text, case.similar())


def greedy_class(case: Case) -> Advice | None:
    """A class takes images of many others: its name is too general."""
    taken: Counter[int] = Counter()
    sources: dict[int, set[int]] = {}
    for confusion in case.report.confusions:
        taken[confusion.predicted_id] += confusion.count
        sources.setdefault(confusion.predicted_id, set()).add(confusion.true_id)
    wide = [(class_id, n) for class_id, n in taken.items() if len(sources[class_id]) >= _GREEDY_FROM]
    if not wide:
        return None
    class_id, count = min(wide, key=_most_frequent)
    if count < max(_PAIR_COUNT, _GREEDY_SHARE * case.mistakes):
        return None
    text = (
        f"{_quoted(case.class_names[class_id])} is the answer in {count} of {case.mistakes} mistakes, for images of "
        f"{len(sources[class_id])} classes. Its name may be too general; try a narrower one."
    )
    return Advice("greedy-class", text, case.similar())


def raw_templates(case: Case) -> Advice | None:
    """Bare names lack the context that a sentence gives."""
    if case.report.templates != "raw":
        return None
    text = (
        "The prompts are bare class names. Sentences around them, and the mean of many, usually do better "
        "(Radford et al. 2021, section 3.1.4)."
    )
    return Advice("raw-templates", text, case.build(case.asked.classes or "CLASSES", "--templates", "openai80"))


def calibration(case: Case) -> Advice | None:
    """The probabilities are too high or too low, and another scale corrects them."""
    report, found = case.report, case.report.calibration
    if found is None or found.error < _CALIBRATION_ERROR or found.fitted_error > _CALIBRATION_LEFT * found.error:
        return None
    if report.n_correct in (0, report.n_scored):  # no scale is the best
        return None
    end = {1: " or more", -1: " or less", 0: ""}[found.at_limit]
    mean = sum(one.n * one.mean_probability for one in found.bins) / report.n_scored
    direction = "overconfident" if mean > report.prec_at_1 else "underconfident"
    text = (
        f"The model is {direction}: its probabilities are off by {_points(found.error)} on average. With a logit scale "
        f"of {found.fitted_scale:.3g}{end} instead of {found.scale:.3g} they would be off by "
        f"{_points(found.fitted_error)}. Do not take them at face value; "
    )
    if case.asked.prototypes is None:
        return Advice("calibration", f"{text}this writes the bins as CSV.", case.evaluate("--csv", "figures"))
    command = _command("evaluate", "OTHER-LABELLED-IMAGES", *case.against("--prototypes"), "--fit-scale")
    return Advice("calibration", f"{text}this stores a better scale in the index, fitted to other images.", command)


def unknown_answer(case: Case) -> Advice | None:
    """Leaving the doubtful images unanswered makes the rest right."""
    report = case.report
    if report.rejection is not None:
        return None
    points = [
        (point.n_answered, by, point)
        for by, curve in report.coverage.items()
        for point in curve
        if point.n_answered >= _LEAST_ANSWERED and point.coverage >= _LEAST_COVERAGE
    ]
    for wanted in (wanted for wanted in _WANTED if wanted >= report.prec_at_1 + _LEAST_GAIN):
        enough = [entry for entry in points if entry[2].accuracy >= wanted]
        if enough:
            _, by, point = max(enough, key=lambda entry: entry[0])
            break
    else:
        return None
    text = (
        f"If only images with a {by} of at least {point.threshold:.4g} are answered, {_percent(point.accuracy)} of "
        f"the answers are right instead of {_percent(report.prec_at_1)}: of {_percent(point.coverage)} of the images "
        f"({point.n_answered} of {report.n_scored}). The others could be left to people."
    )
    return Advice("unknown", text, case.evaluate("--wanted-precision", str(wanted), "--by", by))


def failing_classes(case: Case) -> Advice | None:
    """Zero-shot certainly gets some classes wrong more often than right: a few labelled images help."""
    scores = case.report.per_class
    failing = [score for score in scores if score.interval.high < _FAILING_RECALL]
    if not failing:
        return None
    failing.sort(key=lambda score: (score.recall, score.class_id))
    named = [f"{_quoted(one.class_name)} ({one.n_correct} of {one.n_scored})" for one in failing]
    text = (
        f"{counted(len(failing), 'class is', 'classes are')} wrong more often than right, beyond chance: "
        f"{shorten(named, _NAMED, '')}. Mix labelled images into the prototypes."
    )
    # No more than the smallest class has, with one left to be scored if it has two.
    shots = max(1, min(_SHOTS, min(score.n_scored for score in scores) - 1))
    command = _command(
        "index", "prototypes", "NEW-PROTOTYPES", "--classes", case.asked.classes or "CLASSES", "--from-images",
        case.asked.source, "--shots", str(shots), "--mix", "0.5",
    )  # fmt: skip
    return Advice("failing-classes", text, command)


def near_misses(case: Case) -> Advice | None:
    """The true class is often among the best five, though not the best."""
    report, five = case.report, case.report.prec_at.get(5)
    if five is None or report.n_classes <= _NEAR_CLASSES or five - report.prec_at_1 < _NEAR_MISS:
        return None
    text = (
        f"The true class is the best for {_percent(report.prec_at_1)} of the images and among the best five for "
        f"{_percent(five)}: the model gets close and misses the detail. A linear probe on labelled images "
        "distinguishes similar classes."
    )
    return Advice("near-misses", text, _command("probe", case.asked.source, "NEW-PROTOTYPES"))


Rule = Callable[[Case], Advice | None]
RULES: tuple[Rule, ...] = (
    at_chance, many_skipped, empty_classes, few_images, twins, ties, dominant_pair, greedy_class, raw_templates,
    calibration, unknown_answer, failing_classes, near_misses,
)  # fmt: skip
# These advise to look at the similarities of prototypes and to rename classes.
_OF_NAMES = (twins, ties, dominant_pair, greedy_class)


def _most_frequent(entry: tuple[Any, int]) -> Any:
    """Sorts by descending count, then by class ids."""
    return -entry[1], entry[0]


def _command(*words: str) -> str:
    return shlex.join(["zsretrieve", *words])


def _named(names: tuple[str, ...] | list[str]) -> str:
    return shorten(names, _NAMED, "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")


def _quoted(name: str) -> str:
    return _named([name])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"

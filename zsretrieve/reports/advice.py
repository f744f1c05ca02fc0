"""What to try next: rules from figures to a sentence and a command."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from zsretrieve.metrics import end_met, wilson
from zsretrieve.results import ClassScore, CoveragePoint, EvalReport

# A pair of classes stands out if it makes a tenth of all mistakes, and is no matter of one or two images.
_PAIR_SHARE, _PAIR_COUNT = 0.1, 5
# As does a class that takes a fifth of the mistakes, from three classes or more.
_GREEDY_SHARE, _GREEDY_FROM = 0.2, 3
# A fitted scale is worth a word where it takes away a third of an error of five points or more.
_CALIBRATION_ERROR, _CALIBRATION_LEFT = 0.05, 2 / 3
# What an "unknown" answer is to bring, the first that can be had for enough of the images and is worth it.
_WANTED = (0.95, 0.9, 0.8)
_LEAST_GAIN, _LEAST_ANSWERED, _LEAST_COVERAGE = 0.05, 20, 0.1
_FEW_IMAGES = 30
_SKIPPED_SHARE = 0.01
_FAILING_RECALL = 0.5
_SHOTS = 16
# Prec@5 tells little of few classes.
_NEAR_MISS, _NEAR_CLASSES = 0.15, 10
_NAMED = 6


@dataclass(frozen=True)
class Asked:
    """What was evaluated, by the names that a command takes.

    ``classes`` is where the class names came from, None where no command can name it. ``is_gallery`` tells whether
    ``source`` is a gallery rather than pictures, ``is_probe`` whether the prototypes are those of a linear probe, which
    knows nothing of names and has no similarities.
    """

    source: str = "SOURCE"
    prototypes: str = "PROTOTYPES"
    classes: str | None = None
    is_gallery: bool = True
    is_probe: bool = False


@dataclass(frozen=True)
class Advice:
    """``rule`` names what it follows from; ``command`` is as a shell takes it."""

    rule: str
    text: str
    command: str


@dataclass(frozen=True)
class Case:
    """What the rules look at. ``class_names`` are those of all classes, whether an image has them or not."""

    report: EvalReport
    class_names: tuple[str, ...]
    asked: Asked

    @property
    def mistakes(self) -> int:
        return self.report.n_scored - self.report.n_correct

    def evaluate(self, *words: str) -> str:
        """The evaluation once more, with further options."""
        where = () if self.report.where is None else ("--where", self.report.where)
        shots = ("--include-shots",) if self.report.shots_included else ()
        return _command("evaluate", self.asked.source, "--prototypes", self.asked.prototypes, *where, *shots, *words)

    def build(self, classes: str, *words: str) -> str:
        """Other prototypes of the same model."""
        return _command(
            "index", "prototypes", "NEW-PROTOTYPES", "--classes", classes, *words, "--model", self.report.model
        )  # fmt: skip

    def similar(self) -> str:
        """Which prototypes are near each other."""
        return _command("prompts", "similar", self.asked.prototypes)


def advise(case: Case) -> tuple[Advice, ...]:
    """What the figures suggest, what concerns the figures themselves first; empty where nothing stands out."""
    rules = (rule for rule in RULES if not (case.asked.is_probe and rule in _OF_NAMES))
    return tuple(advice for rule in rules if (advice := rule(case)) is not None)


def many_skipped(case: Case) -> Advice | None:
    """At least one input in a hundred could not be read."""
    report, n = case.report, len(case.report.skipped)
    if n < max(1, _SKIPPED_SHARE * (n + report.n_scored + report.unlabelled)):
        return None
    text = f"{_images(n)} could not be read and {'is' if n == 1 else 'are'} in no figure. List them with the reasons."
    return Advice("skipped", text, case.evaluate("--skipped", "skipped.csv"))


def empty_classes(case: Case) -> Advice | None:
    """Classes that no image has can only take images away from others."""
    occurring = {score.class_id for score in case.report.per_class}
    missing = [name for class_id, name in enumerate(case.class_names) if class_id not in occurring]
    if not missing:
        return None
    text = (
        f"{len(missing)} of {len(case.class_names)} classes {'has' if len(missing) == 1 else 'have'} no image here: "
        f"{_some(missing)}. Such a class can only take images away from others. If your pictures never show it, leave "
        "it out."
    )
    kept = [score.class_name for score in case.report.per_class]
    plain = len(kept) <= _NAMED and not any("," in name for name in kept)
    # A list of one ends in a comma.
    classes = ",".join(kept) if len(kept) > 1 else f"{kept[0]},"
    return Advice("empty-classes", text, case.build(classes if plain else "CLASSES"))


def few_images(case: Case) -> Advice | None:
    """With few images a class, its recall is hardly known."""
    usual = int(median(score.n_scored for score in case.report.per_class))
    if usual >= _FEW_IMAGES:
        return None
    half = (usual + 1) // 2
    found = wilson(half, usual)
    text = (
        f"Half of the classes have {_images(usual)} or fewer. Where {half} of {usual} {'is' if half == 1 else 'are'} "
        f"right, the recall may lie anywhere from {_percent(found.low)} to {_percent(found.high)}: judge single "
        "classes with care, and score more images."
    )
    if case.asked.is_gallery:
        command = _command("index", "add", case.asked.source, "MORE-LABELLED-IMAGES")
    else:
        command = _command("evaluate", "MORE-LABELLED-IMAGES", "--prototypes", case.asked.prototypes)
    return Advice("few-images", text, command)


def twins(case: Case) -> Advice | None:
    """Where classes share a name, a part of the strict score is a matter of the tie rule."""
    report, merged = case.report, case.report.merged
    if merged is None or merged.n_correct == report.n_correct:
        return None
    text = (
        f"Classes share a name: {_some(list(merged.names))}. The strict Prec@1 of {_percent(report.prec_at_1)} depends "
        f"on how their ties are broken; counted as one class each it is {_percent(merged.prec_at_1)}. Give each class "
        "a name of its own, or tell both figures."
    )
    return Advice("twins", text, case.similar())


def ties(case: Case) -> Advice | None:
    """Where prototypes of different names are equal, a part of the score is a matter of the order of the classes."""
    n = case.report.n_tied
    if not n:
        return None
    text = (
        f"Of {_images(n)} the best score is that of several classes of different names, so the first of them is taken: "
        "their prototypes are equal, and in another order of the classes the figures are others. Find out which they "
        "are, and give them names that the model can tell apart."
    )
    return Advice("ties", text, case.similar())


def dominant_pair(case: Case) -> Advice | None:
    """Two classes, of other names, between which a large part of all mistakes lies."""
    between: Counter[tuple[int, int]] = Counter()
    for confusion in case.report.confusions:
        if confusion.true_class != confusion.predicted_class:
            first, second = sorted((confusion.true_id, confusion.predicted_id))
            between[first, second] += confusion.count
    if case.report.n_classes < 3 or not between:
        return None
    # Of equal counts the lowest ids, whatever the order of the confusions.
    (first, second), count = min(between.items(), key=lambda entry: (-entry[1], entry[0]))
    if count < max(_PAIR_COUNT, _PAIR_SHARE * case.mistakes):
        return None
    text = (
        f"{count} of {case.mistakes} mistakes ({_percent(count / case.mistakes)}) are between "
        f"{_quoted(case.class_names[first])} and {_quoted(case.class_names[second])}. See how near their prototypes "
        "are, and try names that say what sets them apart."
    )
    return Advice("dominant-pair", text, case.similar())


def greedy_class(case: Case) -> Advice | None:
    """A class that takes images of many others: its name says too little."""
    taken: Counter[int] = Counter()
    sources: dict[int, set[int]] = {}
    for confusion in case.report.confusions:
        taken[confusion.predicted_id] += confusion.count
        sources.setdefault(confusion.predicted_id, set()).add(confusion.true_id)
    wide = {c: n for c, n in taken.items() if len(sources[c]) >= _GREEDY_FROM}
    if not wide:
        return None
    class_id, count = min(wide.items(), key=lambda entry: (-entry[1], entry[0]))
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
        "The prompts are bare class names. Sentences around them, and the mean of many, mostly do better "
        "(Radford et al. 2021, section 3.1.4)."
    )
    return Advice("raw-templates", text, case.build(case.asked.classes or "CLASSES", "--templates", "openai80"))


def calibration(case: Case) -> Advice | None:
    """Probabilities that promise too much or too little, which another scale would mend."""
    report, found = case.report, case.report.calibration
    if found is None or found.error < _CALIBRATION_ERROR or found.fitted_error > _CALIBRATION_LEFT * found.error:
        return None
    if report.n_correct in (0, report.n_scored):  # then no scale is the best
        return None
    end = {1: " or more", -1: " or less", 0: ""}[end_met(found)]
    mean = sum(one.n * one.mean_probability for one in found.bins) / report.n_scored
    text = (
        f"The model is {'surer than it may be' if mean > report.prec_at_1 else 'less sure than it may be'}: its "
        f"probabilities are off by {_points(found.error)} on average. With a logit scale of {found.fitted_scale:.3g}"
        f"{end} instead of {found.scale:.3g} they would be off by {_points(found.fitted_error)}. Do not take them as "
        "they are; this writes the bins as CSV."
    )
    return Advice("calibration", text, case.evaluate("--csv", "figures"))


def unknown_answer(case: Case) -> Advice | None:
    """Where leaving the doubtful images unanswered makes the rest right."""
    report = case.report
    if report.rejection is not None:
        return None
    for wanted in _WANTED:
        best = max(_reaching(report, wanted), key=lambda entry: entry[1].n_answered, default=None)
        if best is not None:
            break
    else:
        return None
    by, point = best
    text = (
        f"Where only images with a {by} of at least {point.threshold:.4g} are answered, {_percent(point.accuracy)} of "
        f"the answers are right instead of {_percent(report.prec_at_1)}: of {_percent(point.coverage)} of the images "
        f"({point.n_answered} of {report.n_scored}). The others could be left to people."
    )
    return Advice("unknown", text, case.evaluate("--wanted-precision", str(wanted), "--by", by))


def failing_classes(case: Case) -> Advice | None:
    """Classes that zero-shot surely gets wrong more often than right: a few labelled images help them."""
    scores = case.report.per_class
    failing = [score for score in scores if wilson(score.n_correct, score.n_scored).high < _FAILING_RECALL]
    if not failing:
        return None
    failing.sort(key=lambda score: (score.recall, score.class_id))
    n = len(failing)
    named = ", ".join(_with_counts(score) for score in failing[:_NAMED])
    text = (
        f"{'1 class is' if n == 1 else f'{n} classes are'} wrong more often than right, beyond chance: {named}"
        f"{f' and {n - _NAMED} more' if n > _NAMED else ''}. Mix labelled images into the prototypes."
    )
    # No more than the smallest class can give, with one left to be scored where it has two.
    fewest = min(score.n_scored for score in scores)
    shots = max(1, min(_SHOTS, fewest - 1))
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
        f"{_percent(five)}: the model knows the neighbourhood and misses the detail. A linear probe on labelled images "
        "tells near classes apart."
    )
    return Advice("near-misses", text, _command("probe", case.asked.source, "NEW-PROTOTYPES"))


Rule = Callable[[Case], Advice | None]
RULES: tuple[Rule, ...] = (
    many_skipped, empty_classes, few_images, twins, ties, dominant_pair, greedy_class, raw_templates, calibration,
    unknown_answer, failing_classes, near_misses,
)  # fmt: skip
# What these advise is to look at the similarities of prototypes and to name classes otherwise.
_OF_NAMES = (twins, ties, dominant_pair, greedy_class)


def _reaching(report: EvalReport, wanted: float) -> Iterator[tuple[str, CoveragePoint]]:
    """The points of every curve at which the wanted accuracy is reached on enough images."""
    if wanted < report.prec_at_1 + _LEAST_GAIN:
        return
    for by, curve in report.coverage.items():
        for point in curve:
            if point.accuracy >= wanted and point.n_answered >= _LEAST_ANSWERED and point.coverage >= _LEAST_COVERAGE:
                yield by, point


def _command(*words: str) -> str:
    return shlex.join(["zsretrieve", *words])


def _with_counts(score: ClassScore) -> str:
    return f"{_quoted(score.class_name)} ({score.n_correct} of {score.n_scored})"


def _some(names: list[str]) -> str:
    shown = ", ".join(_quoted(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _quoted(name: str) -> str:
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"

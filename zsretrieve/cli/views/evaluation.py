"""The figures of evaluations and comparisons as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.domain.comparison import ClassSetComparison, Comparison
    from zsretrieve.domain.results import (
        Baseline,
        Calibration,
        Confusion,
        EvalReport,
        Interval,
        PairedDifference,
        Rejection,
        Retrieval,
    )
    from zsretrieve.evaluation.captions import CaptionReport
    from zsretrieve.evaluation.suite import Suite

_SHOWN_CONFUSIONS = 10
_SHOWN_CHANGES = 5


def show(report: EvalReport, *, per_class: bool = False) -> None:
    """The figures, and the most frequent confusions or, with ``per_class``, all classes."""
    figures = output.table("figure", "value", "95 % interval", "of", right=("value",), whole=("value", "95 % interval"))

    def add(name: str, rate: float, interval: Interval | None, of: str) -> None:
        figures.add_row(name, output.percent(rate), "" if interval is None else between(interval), of)

    n = report.n_scored
    for k, value in report.prec_at.items():
        add(f"Prec@{k}", value, report.prec_interval[k], f"{round(value * n)} / {n} images")
    if (merged := report.merged) is not None:
        names = counted(len(merged.names), "name")
        of = f"{merged.n_correct} / {n} images; {names} of several classes"
        add("Prec@1, equal names as one", merged.prec_at_1, merged.interval, of)
    of = f"{len(report.per_class)} of {report.n_classes} classes occur"
    add("mean per-class recall", report.mean_per_class_recall, report.mean_interval, of)
    if (calibration := report.calibration) is not None:
        add("calibration error", calibration.error, None, _scales(calibration))
    if (rejection := report.rejection) is not None:
        add("answered", rejection.coverage, None, _threshold(rejection, n))
        if rejection.precision is not None:
            of = f"{rejection.n_correct} / {rejection.n_answered} answered images"
            add("precision of answers", rejection.precision, rejection.interval, of)
    if (sets := report.prediction_sets) is not None:
        wanted = f"{100 * sets.calibrated.wanted:g} % wanted, {between(sets.expected_interval)} expected by chance"
        of = f"{sets.n_covered} / {sets.n_scored} images; {wanted}"
        add("coverage of sets", sets.covered, sets.interval, of)
        by = f"{sets.calibrated.by}, calibrated on {sets.calibrated.n_calibration} other images"
        figures.add_row("classes per set", f"{sets.mean_size:.2f}", "", f"{by}; {sets.n_empty} sets are empty")
    of_all = "could not be read" if report.where is None else "of the whole gallery could not be read"
    figures.add_row("skipped", str(len(report.skipped)), "", of_all)
    if report.n_tied:
        figures.add_row("tied", str(report.n_tied), "", "several classes share their best score; the first one counts")
    if report.n_drawn:
        scored = "scored too" if report.shots_included else "not scored"
        figures.add_row("drawn", str(report.n_drawn), "", f"the prototypes were made from them; {scored}")
    if report.n_by_number:
        figures.add_row("labels as numbers", str(report.n_by_number), "", "class numbers, counted from 0")
    if report.unlabelled:
        figures.add_row("unlabelled", str(report.unlabelled), "", "not scored")
    title = f"{report.model}, templates: {report.templates}"
    output.show(figures, title if report.where is None else f"{title}, only images where {report.where}")
    if (baseline := report.baseline) is not None:
        _show_baseline(baseline)
    if report.retrieval is not None:
        _show_retrieval(report.retrieval)
    if per_class:
        _show_classes(report)
    elif report.confusions:
        wrong = output.table("true class", "taken for", "images", right=("images",))
        for confusion in report.confusions[:_SHOWN_CONFUSIONS]:
            wrong.add_row(output.cell(confusion.true_class), output.cell(_predicted(confusion)), str(confusion.count))
        output.show(wrong, "most frequent confusions")


def show_captions(report: CaptionReport) -> None:
    """Recall and median rank in both directions."""
    ranks = tuple(f"recall@{k}" for k in report.mean_recall_at)
    table = output.table("retrieval", *ranks, "median rank", "of", right=(*ranks, "median rank"))
    images, captions = counted(report.image_to_text.n, "image"), counted(report.text_to_image.n, "caption")
    both = (("image to text", report.image_to_text, images), ("text to image", report.text_to_image, captions))
    for name, one, of in both:
        rates = (output.percent(rate) for rate in one.recall_at.values())
        table.add_row(name, *rates, f"{one.median_rank:g}", of)
    table.add_row("mean", *(output.percent(rate) for rate in report.mean_recall_at.values()), "", "both directions")
    split = "" if report.split is None else f", split {report.split}"
    output.show(table, f"{report.model}{split}" + (f", only images where {report.where}" if report.where else ""))
    output.say(f"mean recall {output.percent(report.mean_recall)}")
    if n := report.n_images_without_captions:
        output.note(f"{counted(n, 'image')} without captions: left out")


def show_suite(suite: Suite) -> None:
    """The data sets of a suite, and their macro average."""
    table = output.table("data set", "Prec@1", "95 % interval", "of", "drop, points", right=("Prec@1", "drop, points"))
    for row in suite.rows:
        rate, of = output.percent(row.prec_at_1), f"{row.n_correct} / {row.n_scored} images"
        drop = "" if row is suite.rows[0] else f"{100 * row.drop:+.2f}"
        table.add_row(output.cell(row.name), rate, between(row.interval), of, drop)
    table.add_row("macro average", output.percent(suite.macro_average), "", f"{len(suite.rows)} data sets", "")
    output.show(table, f"{suite.model}; the drop is against {suite.rows[0].name}")


def show_comparison(comparison: Comparison) -> None:
    """Both sides, their difference, and the classes that changed most."""
    table = output.table("", "Prec@1", "95 % interval", "of", "model", "templates", right=("Prec@1",))
    for name, side in (("A", comparison.first), ("B", comparison.second)):
        rate, of = output.percent(side.prec_at_1), f"{side.n_correct} / {comparison.n} images"
        table.add_row(name, rate, between(side.interval), of, output.cell(side.model), output.cell(side.templates))
    paired = comparison.difference
    table.add_row("B - A", *_difference(paired), "percentage points, paired", "", "")
    output.show(table, f"p = {paired.p_value:.3g} (McNemar, exact)")
    images = output.table("images", "", right=("",))
    images.add_row("both right", str(comparison.both_right))
    images.add_row("only A right", str(paired.only_first))
    images.add_row("only B right", str(paired.only_second))
    images.add_row("both wrong", str(comparison.both_wrong))
    output.show(images)
    won, lost = comparison.won, comparison.lost
    changes = output.table("class", "images", "A right", "B right", "recall", right=("images", "A right", "B right"))
    for one in (*won[:_SHOWN_CHANGES], *lost[:_SHOWN_CHANGES]):
        counts = (str(count) for count in (one.n, one.first_correct, one.second_correct))
        changes.add_row(output.cell(one.class_name), *counts, f"{100 * one.change:+.2f}")
    if won or lost:
        title = f"classes: B better at {len(won)}, worse at {len(lost)}, the same at {comparison.n_unchanged}"
        output.show(changes, title)


def _show_baseline(baseline: Baseline) -> None:
    paired = baseline.difference
    table = output.table("compared with", "Prec@1", "95 % interval", "of", right=("Prec@1",))
    rate, of = output.percent(baseline.n_correct / paired.n), f"{baseline.n_correct} / {paired.n} images"
    table.add_row(output.cell(baseline.templates), rate, between(baseline.interval), of)
    table.add_row("difference", *_difference(paired), "percentage points, paired")
    output.show(table, f"p = {paired.p_value:.3g} (McNemar, exact)")


def _difference(paired: PairedDifference) -> tuple[str, str]:
    interval = f"{100 * paired.interval.low:+.2f} to {100 * paired.interval.high:+.2f}"
    return f"{100 * paired.difference:+.2f}", interval


def show_class_sets(found: ClassSetComparison) -> None:
    """How often the added classes draw the images of each group."""
    table = output.table(found.column, "images", "drawn", "95 % interval", "by", right=("images", "drawn"))
    for one in found.groups:
        by = ", ".join(f"{name} ({count})" for name, count in one.drawn_by.items())
        drawn = output.percent(one.n_drawn / one.n)
        table.add_row(output.cell(one.group or ""), str(one.n), drawn, between(one.interval), output.cell(by))
    p = "" if found.p_value is None else f"; p = {found.p_value:.3g} that all groups are drawn equally (chi-squared)"
    output.show(table, f"images nearest to the classes that only B has: {', '.join(found.added)}{p}")


def between(interval: Interval) -> str:
    """An interval of a rate in percent."""
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f} %"


def _predicted(confusion: Confusion) -> str:
    """The predicted class; with its number if it has the name of the true one."""
    same = confusion.true_class == confusion.predicted_class
    return f"{confusion.predicted_class} #{confusion.predicted_id}" if same else confusion.predicted_class


def _show_classes(report: EvalReport) -> None:
    most: dict[int, str] = {}
    for confusion in report.confusions:
        most.setdefault(confusion.true_id, f"{_predicted(confusion)} ({confusion.count})")
    table = output.table("class", "recall", "95 % interval", "right", "most often taken for", right=("recall", "right"))
    for one in sorted(report.per_class, key=lambda c: (c.recall, c.class_id)):
        rate, of = output.percent(one.recall), f"{one.n_correct} / {one.n_scored}"
        taken_for = output.cell(most.get(one.class_id, ""))
        table.add_row(output.cell(one.class_name), rate, between(one.interval), of, taken_for)
    output.show(table, "all classes that occur, worst first")


def _show_retrieval(retrieval: Retrieval) -> None:
    table = output.table("each class as a query", "mean", "95 % interval", right=("mean",))
    average = output.percent(retrieval.mean_average_precision)
    table.add_row("average precision", average, between(retrieval.interval))
    for name, at in (("precision", retrieval.precision_at), ("recall", retrieval.recall_at)):
        for k, value in at.items():
            table.add_row(f"{name}@{k}", output.percent(value), "")
    output.show(table, f"class-to-image retrieval, means over {len(retrieval.per_class)} classes")


def _scales(found: Calibration) -> str:
    scale = f"{found.fitted_scale:.4g}"
    fitted = {1: f"any scale from {scale} up", -1: f"any scale up to {scale}", 0: f"scale {scale}, fitted"}
    some = "" if found.fitted_on is None else f" to {found.fitted_on} images"
    own = f"{found.kind}, scale {found.scale:.4g}"
    return f"{own}; {output.percent(found.fitted_error)} at {fitted[found.at_limit]}{some}"


def _threshold(rejection: Rejection, n: int) -> str:
    words = f"{rejection.n_answered} / {n} images, {rejection.by} of {rejection.threshold:.6g} or more"
    return words if rejection.wanted is None else f"{words}, for a precision of {100 * rejection.wanted:g} %"

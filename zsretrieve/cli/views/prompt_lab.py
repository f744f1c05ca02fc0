"""Results of the prompt lab, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zsretrieve.cli import output
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.domain.plain import flat
from zsretrieve.domain.wording import counted, shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsretrieve.domain.results import Interval, PairedDifference
    from zsretrieve.prompt_lab.compare import (
        Ranking,
        Score,
        ScoredImages,
        Sensitivity,
        SetScore,
        TemplateComparison,
        TemplateScore,
    )
    from zsretrieve.prompt_lab.select import Selection
    from zsretrieve.prompt_lab.similar import Nearest, Pair, Similar

_BINS = 10
_BAR = 40
_SHOWN = 5
_SHOWN_CLOSE = 20
_LEAST_P = 0.0001


def print_comparison(comparison: TemplateComparison, form: OutputFormat) -> None:
    """A table of the sets, and a sentence for each difference."""
    if form is not OutputFormat.TABLE:
        _write(comparison, comparison.sets, form)
        return
    columns = ("templates", "prompts", "Prec@1", "95 % interval", "correct")
    table = output.table("set", *columns, right=columns)
    for row in comparison.sets:
        score = row.score
        table.add_row(
            output.cell(_name(row)),
            str(row.n_templates or ""),
            str(row.n_prompts),
            output.percent(score.prec_at_1),
            _interval(score.interval),
            f"{score.n_correct} / {score.n}",
        )
    output.show(table, _title(comparison.images))
    if len(comparison.sets) > 1:
        _show_differences(
            f"against {comparison.against}", [(_name(row), row.difference) for row in comparison.sets if row.difference]
        )


def _name(row: SetScore) -> str:
    return row.name if row.pooled == "vectors" else f"{row.name}, {row.pooled} averaged"


def print_ranking(ranking: Ranking, form: OutputFormat) -> None:
    """A table of the templates, the best alone first."""
    if form is not OutputFormat.TABLE:
        _write(ranking, ranking.templates, form)
        return
    table = output.table(
        "template", "Prec@1 alone", "95 % interval", "adds, points", "95 % interval", "p",
        right=("Prec@1 alone", "95 % interval", "adds, points", "p"),
    )  # fmt: skip
    for row in ranking.templates:
        adds = ("", "", "") if row.adds is None else _difference_cells(row.adds)
        table.add_row(
            output.cell(row.template), output.percent(row.alone.prec_at_1), _interval(row.alone.interval), *adds
        )
    output.show(table, _title(ranking.images))
    _print(
        f"All {len(ranking.templates)} templates of {ranking.name} together: {_in_words(ranking.together)}. What a "
        "template adds is their Prec@1 minus that without it, on the same images."
    )
    useful = [row.template for row in ranking.templates if row.adds is not None and row.adds.interval.low > 0]
    harmful = [row.template for row in ranking.templates if row.adds is not None and row.adds.interval.high < 0]
    _print(
        f"Judging by intervals that exclude zero, the others do worse without: {_names(useful)}; "
        f"they do better without: {_names(harmful)}."
    )


def print_selection(selection: Selection, form: ReportFormat) -> None:
    """The templates in the order chosen, and the score on the half that was not used to choose them."""
    if form is ReportFormat.JSON:
        output.write_json(selection.to_dict())
        return
    table = output.table("step", "template", "Prec@1 with those before, on the selecting images", right=("step",))
    for number, step in enumerate(selection.steps, start=1):
        table.add_row(str(number), output.cell(step.template), _in_words(step.score))
    output.show(table, _title(selection.images))
    split = selection.halves
    used = "all" if selection.n_looked_at == len(split.selecting) else f"{selection.n_looked_at} drawn at random"
    _print(
        f"Halves by class, seed {split.seed}: {len(split.selecting)} images to select on, of which {used} were "
        f"used (sha256 {split.digests[0][:12]}), {len(split.reporting)} others to report on "
        f"(sha256 {split.digests[1][:12]})."
    )
    _print(
        f"On the reporting half, which the selection has not seen: {_in_words(selection.chosen)} with the "
        f"{len(selection.steps)} chosen, {_in_words(selection.every)} with all {selection.n_candidates} of "
        f"{selection.name}."
    )
    _show_differences(f"against all of {selection.name}", [("chosen", selection.difference)])


def print_sensitivity(sensitivity: Sensitivity, form: ReportFormat) -> None:
    """The spread over single templates, with a histogram."""
    if form is ReportFormat.JSON:
        output.write_json(sensitivity.to_dict())
        return
    table = output.table("Prec@1 of single templates", "value", right=("value",))
    first, median, third = sensitivity.quartiles
    figures = {
        "mean": sensitivity.mean,
        "least": sensitivity.least,
        "first quartile": first,
        "median": median,
        "third quartile": third,
        "most": sensitivity.most,
    }
    for name, value in figures.items():
        table.add_row(name, output.percent(value))
    table.add_row("standard deviation", f"{100 * sensitivity.sd:.2f} points")
    table.add_row(f"all {len(sensitivity.singles)} together", output.percent(sensitivity.together.prec_at_1))
    output.show(table, _title(sensitivity.images))
    bars = output.table("from", "to", "templates", "", right=("from", "to", "templates"))
    bins = _histogram([row.alone.prec_at_1 for row in sensitivity.singles])
    highest = max(count for _, _, count in bins)
    for low, high, count in bins:
        bars.add_row(output.percent(low), output.percent(high), str(count), "#" * -(-count * _BAR // highest))
    output.show(bars)
    for name, some in (("best", sensitivity.singles[:_SHOWN]), ("worst", sensitivity.singles[::-1][:_SHOWN])):
        listed = "; ".join(f"'{row.template}' {output.percent(row.alone.prec_at_1)}" for row in some)
        _print(f"The {name}: {listed}.")


def print_similar(similar: Similar, form: OutputFormat) -> None:
    """A table of the most similar pairs, and one of the classes that are close to another."""
    if form is not OutputFormat.TABLE:
        _write(similar, similar.pairs, form)
        return
    with_counts = similar.pairs[0].n_first is not None
    columns = ("first as second", "second as first") if with_counts else ()
    table = output.table("similarity", "first", "second", "", *columns, right=("similarity", *columns))
    for row in similar.pairs:
        first, second = f"{row.first} ({row.first_id})", f"{row.second} ({row.second_id})"
        counts = _counts(row) if with_counts else ()
        table.add_row(f"{row.similarity:.4f}", output.cell(first), output.cell(second), _mark(row), *counts)
    prototypes = similar.prototypes
    output.show(
        table,
        f"{prototypes.space.model}: the most similar of {len(prototypes.vectors)} classes, "
        f"{prototypes.prompts.templates_source}",
    )
    close = sorted((row for row in similar.nearest if row.close), key=lambda row: -row.similarity)
    _print(
        f"The median similarity to the nearest class is {similar.usual:.4f}. {len(close)} of {len(similar.nearest)} "
        f"classes are closer to another than {similar.fence:.4f} (the third quartile plus 1.5 "
        "interquartile ranges) or equal to it."
    )
    if close:
        _show_close(close, with_counts=with_counts)
    if with_counts:
        mistakes = sum((row.first_as_second or 0) + (row.second_as_first or 0) for row in similar.pairs)
        _print(f"{counted(mistakes, 'image is', 'images are')} mistaken for the other class of one of these pairs.")


def _show_close(close: Sequence[Nearest], *, with_counts: bool) -> None:
    columns = ("mistaken for it",) if with_counts else ()
    table = output.table("class", "close to", "similarity", "", *columns, right=("similarity", *columns))
    for row in close[:_SHOWN_CLOSE]:
        names = output.cell(f"{row.class_name} ({row.class_id})"), output.cell(f"{row.nearest} ({row.nearest_id})")
        twins = "twins" if row.same_name else ""
        table.add_row(*names, f"{row.similarity:.4f}", twins, *(_counts(row)[:1] if with_counts else ()))
    output.show(table, None if len(close) <= _SHOWN_CLOSE else f"the first {_SHOWN_CLOSE} of {len(close)}")


def _counts(row: Pair | Nearest) -> tuple[str, str]:
    return f"{row.first_as_second} / {row.n_first} images", f"{row.second_as_first} / {row.n_second} images"


def _mark(row: Pair) -> str:
    if row.same_name:
        return "twins"
    return "equal" if row.is_equal else ""


def _write(
    result: TemplateComparison | Ranking | Similar, rows: Sequence[SetScore | TemplateScore | Pair], form: OutputFormat
) -> None:
    """The whole result as JSON, or only its rows."""
    if form is OutputFormat.JSON:
        output.write_json(result.to_dict())
        return
    written: list[dict[str, Any]] = [row.to_dict() for row in rows]
    output.write_rows([flat(row) for row in written] if form is OutputFormat.CSV else written, form)


def _show_differences(title: str, named: Sequence[tuple[str, PairedDifference]]) -> None:
    columns = ("difference, points", "95 % interval", "p", "gained", "lost")
    table = output.table("set", *columns, right=columns)
    for name, paired in named:
        table.add_row(output.cell(name), *_difference_cells(paired), str(paired.only_second), str(paired.only_first))
    output.show(table, f"{title}, on the same images")
    for name, paired in named:
        _print(f"{name}: {_verdict(paired)}.")


def _verdict(paired: PairedDifference) -> str:
    """Whether the interval of a difference includes zero, in words."""
    if paired.interval.low > 0:
        return "better, the interval of the difference excludes zero"
    if paired.interval.high < 0:
        return "worse, the interval of the difference excludes zero"
    return "no difference shown; the interval includes zero"


def _difference_cells(paired: PairedDifference) -> tuple[str, str, str]:
    low, high = paired.interval.low, paired.interval.high
    p = f"{paired.p_value:.4f}" if paired.p_value >= _LEAST_P else f"< {_LEAST_P}"
    return f"{100 * paired.difference:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", p


def _histogram(values: Sequence[float]) -> list[tuple[float, float, int]]:
    """Bins of equal width from the least value to the greatest, with the number of values in each."""
    import numpy as np

    if min(values) == max(values):
        return [(values[0], values[0], len(values))]
    counts, edges = np.histogram(values, bins=min(_BINS, len(set(values))))
    return [(float(edges[i]), float(edges[i + 1]), int(count)) for i, count in enumerate(counts)]


def _interval(interval: Interval) -> str:
    return f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _in_words(score: Score) -> str:
    return f"{output.percent(score.prec_at_1)} = {score.n_correct} / {score.n} ({_interval(score.interval)})"


def _names(templates: Sequence[str]) -> str:
    return shorten(templates, _SHOWN) or "none"


def _title(images: ScoredImages) -> str:
    left_out = f", {images.n_unlabelled} without a label left out" if images.n_unlabelled else ""
    only = "" if images.where is None else f", only images where {images.where}"
    occur = f"{images.n_classes} classes of {images.classes}, {images.n_classes_scored} occur"
    return f"{images.model}: {images.n_scored} images{left_out}{only}; {occur}"


def _print(text: str) -> None:
    output.say(text)

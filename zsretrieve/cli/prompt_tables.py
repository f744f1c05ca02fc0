"""What the prompt lab found, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.cli import prompt_rows as rows
from zsretrieve.cli.output import OutputFormat, ReportFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsretrieve.results import Interval, PairedDifference
    from zsretrieve.verbs.prompt_lab import Comparison, Pictures, Ranking, Sensitivity, Share, TemplateScore
    from zsretrieve.verbs.prompt_select import Selection

_BINS = 10
_BAR = 40
_SHOWN = 5
_LEAST_P = 0.0001


def print_comparison(found: Comparison, form: OutputFormat) -> None:
    """A table of the sets, and a sentence for each difference."""
    match form:
        case OutputFormat.JSON:
            content = {**rows.pictures(found.pictures), "against": found.against}
            output.write_json({**content, "sets": [rows.set_row(row) for row in found.sets]})
        case OutputFormat.JSONL | OutputFormat.CSV:
            output.write_rows([rows.set_row(row) for row in found.sets], form)
        case OutputFormat.TABLE:
            _show_comparison(found)


def print_ranking(found: Ranking, form: OutputFormat) -> None:
    """A table of the templates, the best alone first."""
    ranked = [rows.template_row(row) for row in found.templates]
    match form:
        case OutputFormat.JSON:
            content = {**rows.pictures(found.pictures), "templates": found.name, **rows.share("all", found.together)}
            output.write_json({**content, "ranked": ranked})
        case OutputFormat.JSONL | OutputFormat.CSV:
            output.write_rows(ranked, form)
        case OutputFormat.TABLE:
            _show_ranking(found)


def print_selection(found: Selection, form: ReportFormat) -> None:
    """The templates in the order taken, and the score on the half that was not looked at."""
    if form is ReportFormat.JSON:
        output.write_json(rows.selection(found))
    else:
        _show_selection(found)


def print_sensitivity(found: Sensitivity, form: ReportFormat) -> None:
    """The spread over single templates, with a histogram."""
    if form is ReportFormat.JSON:
        output.write_json(rows.sensitivity(found))
    else:
        _show_sensitivity(found)


def _show_comparison(found: Comparison) -> None:
    table = output.table(
        "set", "templates", "prompts", "Prec@1", "95 % interval", "correct",
        right=("templates", "prompts", "Prec@1", "95 % interval", "correct"),
    )  # fmt: skip
    for row in found.sets:
        table.add_row(
            output.cell(row.name), str(row.n_templates or ""), str(row.n_prompts), output.percent(row.share.prec_at_1),
            _interval(row.share.interval), f"{row.share.n_correct} / {row.share.n}",
        )  # fmt: skip
    output.show(table, _title(found.pictures))
    if len(found.sets) > 1:
        _show_differences(f"against {found.against}", [(row.name, row.difference) for row in found.sets])


def _show_ranking(found: Ranking) -> None:
    alone = output.table(
        "template", "Prec@1 alone", "95 % interval", "it adds, points", "95 % interval", "p",
        right=("Prec@1 alone", "95 % interval", "it adds, points", "p"),
    )  # fmt: skip
    for row in found.templates:
        adds = ("", "", "") if row.adds is None else _difference_cells(row.adds)
        alone.add_row(
            output.cell(row.template), output.percent(row.alone.prec_at_1), _interval(row.alone.interval), *adds
        )
    output.show(alone, _title(found.pictures))
    _say(
        f"All {len(found.templates)} templates of {found.name} together: {_told(found.together)}. What a template "
        "adds is their Prec@1 less that without it, on the same images."
    )
    harmful = [row for row in found.templates if row.adds is not None and row.adds.interval.high < 0]
    useful = [row for row in found.templates if row.adds is not None and row.adds.interval.low > 0]
    _say(
        f"By an interval that excludes zero, the others do worse without it: {_names(useful)}; "
        f"they do better without it: {_names(harmful)}."
    )


def _show_selection(found: Selection) -> None:
    steps = output.table("taken", "template", "Prec@1 with those before, on the selecting images", right=("taken",))
    for number, step in enumerate(found.steps, start=1):
        steps.add_row(str(number), output.cell(step.template), _told(step.share))
    output.show(steps, _title(found.pictures))
    split = found.halves
    of_all = "all" if found.n_looked_at == len(split.selecting) else f"{found.n_looked_at} drawn"
    _say(
        f"Halves by class, seed {split.seed}: {len(split.selecting)} images to select on, of which {of_all} were "
        f"looked at (sha256 {split.digests[0][:12]}), {len(split.reporting)} others to report on "
        f"(sha256 {split.digests[1][:12]})."
    )
    _say(
        f"On the reporting half, which the selection has not seen: {_told(found.chosen)} by the {len(found.steps)} "
        f"chosen, {_told(found.every)} by all {found.n_candidates} of {found.name}."
    )
    _show_differences(f"against all of {found.name}", [("chosen", found.difference)])


def _show_sensitivity(found: Sensitivity) -> None:
    table = output.table("Prec@1 of single templates", "value", right=("value",))
    first, median, third = found.quartiles
    figures = {
        "mean": found.mean, "least": found.least, "first quartile": first, "median": median, "third quartile": third,
        "most": found.most,
    }  # fmt: skip
    for name, value in figures.items():
        table.add_row(name, output.percent(value))
    table.add_row("standard deviation", f"{100 * found.sd:.2f} points")
    table.add_row(f"all {len(found.singles)} together", output.percent(found.together.prec_at_1))
    output.show(table, _title(found.pictures))
    bars = output.table("from", "to", "templates", "", right=("from", "to", "templates"))
    counted = _histogram([row.alone.prec_at_1 for row in found.singles])
    highest = max(count for _, _, count in counted)
    for low, high, count in counted:
        bars.add_row(output.percent(low), output.percent(high), str(count), "#" * -(-count * _BAR // highest))
    output.show(bars)
    ends = [("best", found.singles[:_SHOWN]), ("worst", found.singles[::-1][:_SHOWN])]
    for name, some in ends:
        listed = "; ".join(f"'{row.template}' {output.percent(row.alone.prec_at_1)}" for row in some)
        _say(f"The {name}: {listed}.")


def _show_differences(to: str, named: Sequence[tuple[str, PairedDifference | None]]) -> None:
    table = output.table(
        "set", "difference, points", "95 % interval", "p", "gained", "lost",
        right=("difference, points", "95 % interval", "p", "gained", "lost"),
    )  # fmt: skip
    sentences = []
    for name, found in named:
        if found is None:
            continue
        table.add_row(output.cell(name), *_difference_cells(found), str(found.only_second), str(found.only_first))
        sentences.append(_verdict(name, found))
    output.show(table, f"{to}, on the same images")
    for sentence in sentences:
        _say(sentence)


def _verdict(name: str, found: PairedDifference) -> str:
    """Whether the interval of a difference includes zero, in words."""
    if found.interval.low > 0:
        return f"{name}: better, the interval of the difference excludes zero."
    if found.interval.high < 0:
        return f"{name}: worse, the interval of the difference excludes zero."
    return f"{name}: no difference shown, its interval includes zero."


def _difference_cells(found: PairedDifference) -> tuple[str, str, str]:
    low, high = found.interval.low, found.interval.high
    p = f"{found.p_value:.4f}" if found.p_value >= _LEAST_P else f"< {_LEAST_P}"
    return f"{100 * found.difference:+.2f}", f"{100 * low:+.2f} to {100 * high:+.2f}", p


def _histogram(values: Sequence[float]) -> list[tuple[float, float, int]]:
    """Bins of equal width from the least value to the greatest, and how many values lie in each."""
    import numpy as np

    if min(values) == max(values):
        return [(values[0], values[0], len(values))]
    counts, edges = np.histogram(values, bins=min(_BINS, len(set(values))))
    return [(float(edges[i]), float(edges[i + 1]), int(count)) for i, count in enumerate(counts)]


def _interval(found: Interval) -> str:
    return f"{100 * found.low:.2f} to {100 * found.high:.2f}"


def _told(found: Share) -> str:
    return f"{output.percent(found.prec_at_1)} = {found.n_correct} / {found.n} ({_interval(found.interval)})"


def _names(some: Sequence[TemplateScore]) -> str:
    shown = ", ".join(f"'{row.template}'" for row in some[:_SHOWN])
    more = f" and {len(some) - _SHOWN} more" if len(some) > _SHOWN else ""
    return f"{shown}{more}" if some else "none"


def _title(of: Pictures) -> str:
    left = f", {of.n_unlabelled} without a label left out" if of.n_unlabelled else ""
    only = "" if of.where is None else f", only images where {of.where}"
    occur = f"{of.n_classes} classes of {of.classes}, {of.n_classes_scored} occur"
    return f"{of.model}: {of.n_scored} images{left}{only}; {occur}"


def _say(text: str) -> None:
    output.out().print(text, markup=False, soft_wrap=True)

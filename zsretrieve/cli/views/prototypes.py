"""Probes and few-shot curves, for people and for programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zsretrieve.cli import output
from zsretrieve.cli.output import OutputFormat, ReportFormat
from zsretrieve.domain.plain import flat
from zsretrieve.domain.wording import counted, shorten

if TYPE_CHECKING:
    from zsretrieve.prototypes.adapters import TrainedAdapter
    from zsretrieve.prototypes.images import TrainedPrototypes
    from zsretrieve.prototypes.learning_curve import FewShotCurve
    from zsretrieve.prototypes.probe import TrainedProbe

_SHOWN = 5


def note_training(trained: TrainedPrototypes, out: Path) -> None:
    """Note which images were not used, which classes have too few, and what was written."""
    training, manifest = trained.training, trained.prototypes.manifest
    if trained.unlabelled:
        output.note(f"{trained.unlabelled} images without a label were not used")
    if trained.fewer:
        _note_fewer(trained.fewer, training.shots)
    if trained.empty:
        have = counted(len(trained.empty), "class has", "classes have")
        output.note(f"{have} no images and use text only: {shorten(trained.empty, _SHOWN)}")
    if manifest.cut_prompts:
        output.note(f"prompts longer than the model's context, which were cut: {manifest.cut_prompts}")
    output.note(f"{manifest.count} classes, {training.n_images} images -> {out}")


def print_probe(trained: TrainedProbe, form: ReportFormat) -> None:
    """The sweep of a probe."""
    sweep = trained.sweep
    if form is ReportFormat.JSON:
        output.write_json(trained.to_dict())
        return
    if not sweep.steps:
        table = output.table("C", "images")
        table.add_row(f"{sweep.c:.4g}", str(sweep.n_fit))
        output.show(table, "nothing was swept: C is given, or there are no images to choose it by")
        return
    table = output.table("C", "accuracy", "loss", "", right=("C", "accuracy", "loss"))
    for step in sweep.steps:
        words = [*(["chosen"] if step.c == sweep.c else []), *([] if step.converged else ["not converged"])]
        table.add_row(f"{step.c:.4g}", output.percent(step.accuracy), f"{step.loss:.4f}", ", ".join(words))
    output.show(
        table, f"fitted to {sweep.n_fit} images and judged on {sweep.n_validation} others; the probe is fitted to all"
    )


def print_adapter(trained: TrainedAdapter, form: ReportFormat) -> None:
    """The search of an adapter's weights, or what LP++ has learnt."""
    if form is ReportFormat.JSON:
        output.write_json(trained.to_dict())
        return
    search, losses = trained.search, trained.losses
    learnt = "" if losses is None else f"loss of the training images {losses[0]:.4f} -> {losses[1]:.4f}"
    if search is None or not search.steps:
        table = output.table("alpha", "beta", "images")
        weights = ("learnt", "") if search is None else (f"{search.alpha:.4g}", f"{search.beta:.4g}")
        table.add_row(*weights, str(trained.training.n_images))
        output.show(
            table, learnt or "nothing was searched: the weights are given, or there are no images to choose them by"
        )
        return
    table = output.table("alpha", "beta", "accuracy", "loss", "", right=("alpha", "beta", "accuracy", "loss"))
    for step in search.steps:
        is_chosen = (step.alpha, step.beta) == (search.alpha, search.beta)
        words = [*([] if step.alpha else ["zero-shot"]), *(["chosen"] if is_chosen else [])]
        rate = output.percent(step.accuracy)
        table.add_row(f"{step.alpha:.4g}", f"{step.beta:.4g}", rate, f"{step.loss:.4f}", ", ".join(words))
    judged = f"{search.n_fit} images were keys and {search.n_validation} others judged; now all are keys"
    output.show(table, "; ".join(filter(None, (judged, learnt))))


def print_curve(curve: FewShotCurve, form: OutputFormat) -> None:
    """The points of a curve, rates in percent for people and as fractions for programs."""
    if form is not OutputFormat.TABLE:
        rows = [point.to_dict() for point in curve.points]
        if form is OutputFormat.CSV:
            rows = [
                {
                    **flat(row),
                    **{key: " ".join(map(str, row[key])) for key in ("n_correct", "c", "n_trained", "alpha", "beta")},
                }
                for row in rows
            ]
        output.write_rows(rows, form)
        return
    adapted = ("alpha / beta",) if any(point.alpha for point in curve.points) else ()
    columns = ("shots", "images", "Prec@1", "95 % interval", "spread", "C", *adapted)
    table = output.table("method", *columns, right=columns, whole=["Prec@1", "95 % interval"])
    for point in curve.points:
        low, high = 100 * point.interval.low, 100 * point.interval.high
        spread = f"{100 * point.spread:.2f}" if len(point.n_correct) > 1 else ""
        rate, chosen = output.percent(point.prec_at_1), ", ".join(f"{c:.3g}" for c in point.c)
        trained = " to ".join(map(str, sorted({min(point.n_trained), max(point.n_trained)})))
        weights = ", ".join(f"{a:.3g}/{b:.3g}" for a, b in zip(point.alpha, point.beta, strict=True))
        cells = [trained, rate, f"{low:.2f} to {high:.2f}", spread, chosen, *([weights] if adapted else [])]
        table.add_row(point.method, str(point.shots), *cells)
    output.show(
        table,
        f"{curve.model}, templates: {curve.templates}; {curve.n_classes} classes; {counted(len(curve.seeds), 'draw')} "
        f"from {curve.n_train} images, scored on {curve.n_scored} others",
    )


def note_curve(curve: FewShotCurve) -> None:
    """Note what was left out of a curve, and what did not converge."""
    if curve.n_left_out:
        output.note(f"{curve.n_left_out} images of the test gallery are left out: they are training images")
    if curve.unlabelled:
        output.note(f"{curve.unlabelled} images without a label were not used")
    if curve.fewer:
        _note_fewer(curve.fewer, max(point.shots for point in curve.points))
    for point in curve.points:
        if not point.converged:
            output.note(f"a fit of the probe with {counted(point.shots, 'shot')} did not converge")


def _note_fewer(names: tuple[str, ...], shots: int | None) -> None:
    have = counted(len(names), "class has", "classes have")
    output.note(f"{have} fewer than {shots} images: {shorten(names, _SHOWN)}")

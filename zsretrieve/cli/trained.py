"""What was trained on pictures, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zsretrieve.cli import output
from zsretrieve.cli.output import Verbosity

if TYPE_CHECKING:
    from zsretrieve.verbs.curve import CurvePoint, FewShotCurve
    from zsretrieve.verbs.few_shot import Trained
    from zsretrieve.verbs.probing import TrainedProbe

_SHOWN = 5


def tell_of_images(verbosity: Verbosity, made: Trained, shots: int | None) -> None:
    """Say which images were not used, and which classes have too few."""
    if made.unlabelled:
        output.note(verbosity, f"{made.unlabelled} images without a label were not used")
    if made.fewer:
        output.note(verbosity, f"{len(made.fewer)} classes have fewer than {shots} images: {_some(made.fewer)}")
    if made.empty:
        output.note(verbosity, f"{len(made.empty)} classes have no image and are text alone: {_some(made.empty)}")


def tell_of_curve(verbosity: Verbosity, result: FewShotCurve) -> None:
    """Say what was left out of a curve, and what did not converge."""
    if result.n_left_out:
        output.note(verbosity, f"{result.n_left_out} images of the test gallery are left out: they are training images")
    if result.unlabelled:
        output.note(verbosity, f"{result.unlabelled} images without a label were not used")
    if result.fewer:
        most = max(point.shots for point in result.points)
        output.note(verbosity, f"{len(result.fewer)} classes have fewer than {most} images: {_some(result.fewer)}")
    for point in result.points:
        if not point.converged:
            output.note(verbosity, f"a fit of the probe with {point.shots} shots did not converge")


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def show_probe(trained: TrainedProbe) -> None:
    """The sweep of a probe as a table."""
    sweep = trained.sweep
    if not sweep.steps:
        chosen = output.table("C", "images")
        chosen.add_row(f"{sweep.c:.4g}", str(sweep.n_fit))
        output.show(chosen, "nothing was swept: C is given, or there are no images to choose it by")
        return
    table = output.table("C", "accuracy", "loss", "", right=("C", "accuracy", "loss"))
    for step in sweep.steps:
        words = [*(["chosen"] if step.c == sweep.c else []), *([] if step.converged else ["not converged"])]
        table.add_row(f"{step.c:.4g}", output.percent(step.accuracy), f"{step.loss:.4f}", ", ".join(words))
    output.show(table, f"{sweep.n_fit} images fitted, {sweep.n_validation} others judged; then all are fitted")


def probe_as_json(trained: TrainedProbe) -> dict[str, Any]:
    """The sweep of a probe; accuracies are fractions of ``n_validation`` images."""
    sweep, made = trained.sweep, trained.made
    return {
        "c": sweep.c,
        "converged": trained.converged,
        "n_images": made.training.n_images,
        "n_classes": len(made.prototypes.vectors),
        "shots": made.training.shots,
        "seed": made.training.seed,
        "n_fit": sweep.n_fit,
        "n_validation": sweep.n_validation,
        "sweep": [
            {"c": step.c, "accuracy": step.accuracy, "loss": step.loss, "converged": step.converged}
            for step in sweep.steps
        ],
    }


def show_curve(result: FewShotCurve) -> None:
    """A curve as a table, rates in per cent."""
    table = output.table(
        "method", "shots", "Prec@1", "95 % interval", "spread", "C",
        right=("shots", "Prec@1", "95 % interval", "spread", "C"),
    )  # fmt: skip
    for point in result.points:
        low, high = 100 * point.interval.low, 100 * point.interval.high
        spread = f"{100 * point.spread:.2f}" if len(point.n_correct) > 1 else ""
        table.add_row(
            str(point.method), str(point.shots), output.percent(point.prec_at_1), f"{low:.2f} to {high:.2f}", spread,
            ", ".join(f"{c:.3g}" for c in point.c),
        )  # fmt: skip
    draws = "1 draw" if len(result.seeds) == 1 else f"{len(result.seeds)} draws"
    output.show(
        table,
        f"{result.model}, templates: {result.templates}; {result.n_classes} classes; {draws} from {result.n_train} "
        f"images, scored on {result.n_scored} others",
    )


def point_of(result: FewShotCurve, point: CurvePoint, *, flat: bool) -> dict[str, Any]:
    """A point of a curve, rates as fractions; ``flat`` writes lists as words with blanks between."""
    return {
        "method": str(point.method),
        "shots": point.shots,
        "prec@1": point.prec_at_1,
        "low": point.interval.low,
        "high": point.interval.high,
        "spread": point.spread,
        "n_scored": result.n_scored,
        "n_train": result.n_train,
        "n_correct": " ".join(map(str, point.n_correct)) if flat else list(point.n_correct),
        "c": " ".join(map(str, point.c)) if flat else list(point.c),
        "converged": point.converged,
    }

"""Runs and their figures, made of lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from zsretrieve.domain.results import EvalReport, Run
from zsretrieve.evaluation.report import confusions, merged, scores_of_classes
from zsretrieve.metrics import bootstrap_mean, coverage_curve, hits_at, mean_per_class_recall, wilson


def run_of(
    truth: Sequence[int],
    predicted: Sequence[int],
    names: Sequence[str],
    probabilities: Sequence[float] | None = None,
    paths: Sequence[str] | None = None,
) -> Run:
    """A run of two columns: what is predicted, and the next class; margins follow the probabilities."""
    n, n_classes = len(truth), len(names)
    best = np.array(predicted, dtype=np.int64)
    sure = np.full(n, 0.8) if probabilities is None else np.array(probabilities, dtype=np.float64)
    ranked = np.stack([best, (best + 1) % n_classes], axis=1) if n_classes > 1 else best[:, None]
    k = ranked.shape[1]
    return Run(
        paths=tuple(paths) if paths is not None else tuple(f"photos/{row}.png" for row in range(n)),
        digests=("",) * n,
        truth=np.array(truth, dtype=np.int64),
        ranked=ranked,
        scores=np.stack([sure / 2, np.full(n, 0.1)], axis=1)[:, :k].astype(np.float32),
        probabilities=np.stack([sure, (1 - sure) / 2], axis=1)[:, :k],
        class_names=tuple(names),
        class_keys=(None,) * n_classes,
        model="demo",
        templates="standard",
    )


def report_of(run: Run, **changes: Any) -> EvalReport:
    """The figures of a run, as the evaluation makes them, and others put in their place."""
    n, correct = len(run.truth), run.correct
    per_class = scores_of_classes(run)
    ks = range(1, run.ranked.shape[1] + 1)
    made = EvalReport(
        run=run,
        n_scored=n,
        n_correct=int(correct.sum()),
        prec_at={k: float(hits_at(run.ranked, run.truth, k).mean()) for k in ks},
        prec_interval={k: wilson(int(hits_at(run.ranked, run.truth, k).sum()), n) for k in ks},
        mean_per_class_recall=mean_per_class_recall(correct, run.truth),
        mean_interval=bootstrap_mean(np.array([score.recall for score in per_class])),
        n_classes=len(run.class_names),
        per_class=per_class,
        confusions=confusions(run),
        skipped=(),
        unlabelled=0,
        model=run.model,
        templates=run.templates,
        merged=merged(run),
        coverage={
            "probability": coverage_curve(run.probabilities[:, 0], correct),
            "margin": coverage_curve(run.margins, correct),
        },
    )
    return replace(made, **changes)

"""Prediction sets hold the true class as often as they say, on images that did not calibrate them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.scored import random_world
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import SourceError, UsageError
from zsretrieve.domain.prediction_sets import Coverage
from zsretrieve.evaluation.answers import OfPrototypes, OfShares
from zsretrieve.evaluation.prediction_sets import calibrate, score_sets, set_sizes
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.evaluation.splits import random_halves

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def chances_of(vectors: np.ndarray, prototypes: zs.Prototypes) -> np.ndarray:
    logits = prototypes.head.scale * (vectors.astype(np.float64) @ prototypes.vectors.astype(np.float64).T)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def naive_scores(chances: np.ndarray, by: str) -> np.ndarray:
    """One score for each image and class, by the definition."""
    if by == "lac":
        return 1 - chances
    return np.array([[sum(p for p in row if p >= row[c]) for c in range(len(row))] for row in chances])


@pytest.mark.parametrize("by", ["lac", "aps"])
def test_the_threshold_and_the_sets_are_those_of_the_definition(by: str) -> None:
    some, prototypes = random_world(150, 6, seed=1)
    others, _ = random_world(80, 6, seed=1)
    coverage = Coverage(0.8, by)
    found = calibrate(OfPrototypes(some.vectors, prototypes), some.truth, coverage)
    scores = naive_scores(chances_of(some.vectors, prototypes), by)[np.arange(150), some.truth]
    assert found.threshold == pytest.approx(np.sort(scores)[int(np.ceil(151 * 0.8)) - 1], abs=1e-6)
    assert found.n_calibration == 150
    sizes = set_sizes(OfPrototypes(others.vectors, prototypes).ranked(slice(None), 6), found)
    of_others = naive_scores(chances_of(others.vectors, prototypes), by)
    certain = (np.abs(of_others - found.threshold) > 1e-5).all(axis=1)
    assert certain.mean() > 0.9
    assert np.array_equal(sizes[certain], (of_others <= found.threshold).sum(axis=1)[certain])


@pytest.mark.parametrize("by", ["lac", "aps"])
def test_coverage_on_fresh_images_is_what_is_wanted(by: str) -> None:
    """Over 50 draws of both halves: each within its interval as often as an interval of 95 % should be, and the mean
    within the error of a mean.
    """
    world, prototypes = random_world(400 * 50, 8, seed=3)
    inside, rates, expected = 0, [], 0.0
    for seed in range(50):
        report = score_sets(
            OfPrototypes(world.vectors[400 * seed : 400 * (seed + 1)], prototypes),
            world.at(np.arange(400 * seed, 400 * (seed + 1))),
            Coverage(0.9, by, seed),
        )
        assert (report.calibrated.n_calibration, report.n_scored) == (200, 200)
        inside += report.expected_interval.low <= report.covered <= report.expected_interval.high
        rates.append(report.covered)
        expected = Coverage(0.9).rank(200) / 201
    # Of 50 intervals of at least 95 %, fewer than 43 miss by chance once in 30,000 times.
    assert inside >= 43
    assert np.mean(rates) == pytest.approx(expected, abs=4 * np.std(rates) / np.sqrt(50))
    assert np.std(rates) > 0.005, "the draws differ"


def test_the_report_counts_what_the_sets_hold() -> None:
    some, prototypes = random_world(120, 6, seed=2)
    coverage = Coverage(0.85, "lac", 5)
    calibrating, scored = random_halves(some, 5)
    assert not set(calibrating) & set(scored)
    assert len(calibrating) + len(scored) == 120
    found = calibrate(OfPrototypes(some.vectors[calibrating], prototypes), some.truth[calibrating], coverage)
    ranked = OfPrototypes(some.vectors[scored], prototypes).ranked(slice(None), 6)
    sizes = set_sizes(ranked, found)
    covered = sum(
        some.truth[row] in classes[:size] for row, classes, size in zip(scored, ranked.classes, sizes, strict=True)
    )
    report = score_sets(OfPrototypes(some.vectors, prototypes), some, coverage)
    assert report.calibrated == found
    assert report.n_covered == covered
    assert report.mean_size == pytest.approx(sizes.mean())
    assert report.sizes == {int(size): int((sizes == size).sum()) for size in np.unique(sizes)}
    assert report.n_empty == (sizes == 0).sum()
    assert evaluate_labelled(some, prototypes, coverage=coverage).prediction_sets == report


def test_equal_images_are_in_one_half_and_count_once() -> None:
    some, _ = random_world(40, 3, seed=4)
    twice = some.at(np.repeat(np.arange(40), 2))
    calibrating, scored = random_halves(twice, 0)
    assert len(calibrating) == len(scored) == 20
    assert not {twice.items[row].digest for row in calibrating} & {twice.items[row].digest for row in scored}
    shuffled = twice.at(np.random.default_rng(0).permutation(80))
    again = random_halves(shuffled, 0)[0]
    assert {shuffled.items[row].digest for row in again} == {twice.items[row].digest for row in calibrating}


def test_shares_are_ranked_as_scores_are() -> None:
    shares = np.array([[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])
    ranked = OfShares(shares, ("a", "b", "c")).ranked(slice(None), 3)
    assert ranked.classes.tolist() == [[1, 2, 0], [2, 1, 0]], "ties go to the lowest class"
    assert np.array_equal(ranked.chances, [[0.4, 0.4, 0.2], [0.7, 0.2, 0.1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """Galleries of the same twelve classes of scenes, one of them labelled, and their text prototypes."""
    root = tmp_path_factory.mktemp("sets")
    names = sorted(path.name for path in scene_folder.iterdir())[:12]
    (root / "photos").mkdir()
    for name in names:
        (root / "photos" / name).symlink_to(scene_folder / name)
    zs.build_gallery(root / "photos", root / "gallery", HashingEncoder())
    zs.build_prototypes(root / "text", ",".join(names), HashingEncoder(), templates="raw")
    return root


def test_classify_answers_with_sets(folder: Path) -> None:
    gallery = zs.open_gallery(folder / "gallery")
    done = zs.classify(gallery, folder / "text", coverage=Coverage(0.9), calibrate=gallery)
    sizes = [result.set_size for result in done.results]
    covered = [
        result.label in [one.class_name for one in result.predictions[: result.set_size]] for result in done.results
    ]
    # Of the very images that calibrate, the ranks alone decide.
    assert sum(covered) >= Coverage(0.9).rank(36)
    assert [len(result.predictions) for result in done.results] == [max(1, size or 0) for size in sizes]
    wider = zs.classify(gallery, folder / "text", k=12, coverage=Coverage(0.9), calibrate=gallery)
    assert [result.set_size for result in wider.results] == sizes
    assert {len(result.predictions) for result in wider.results} == {12}


def test_the_commands(folder: Path, run_cli: Run) -> None:
    words = ["classify", str(folder / "gallery"), "-p", str(folder / "text"), "--coverage", "0.8"]
    calibrated = [*words, "--calibrate", str(folder / "gallery"), "--sets-by", "aps"]
    answers = json.loads(CliRunner().invoke(app, [*calibrated, "--format", "json"]).stdout)
    assert all({"path", "predictions", "set_size"} == set(answer) for answer in answers)
    done = CliRunner().invoke(app, [*calibrated, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert rows[0]["set_size"] == str(answers[0]["set_size"])
    assert "classes on average" in done.stderr
    assert "set" in CliRunner().invoke(app, calibrated).stdout.splitlines()[1]
    refused = run_cli(*words)
    assert refused.returncode == 2
    assert "both a --coverage and a labelled gallery to --calibrate on" in refused.stderr
    words = ["evaluate", str(folder / "gallery"), "-p", str(folder / "text")]
    table = CliRunner().invoke(app, [*words, "--coverage", "0.8", "--seed", "3"]).stdout
    assert "coverage of sets" in table
    assert "classes per set" in table
    report = json.loads(CliRunner().invoke(app, [*words, "--coverage", "0.8", "--format", "json"]).stdout)
    assert (report["prediction_sets"]["n_calibration"], report["prediction_sets"]["n_scored"]) == (18, 18)
    assert CliRunner().invoke(app, [*words, "--sets-by", "lac"]).exit_code


def test_what_cannot_be_calibrated(folder: Path, tmp_path: Path) -> None:
    gallery = zs.open_gallery(folder / "gallery")
    with pytest.raises(UsageError, match="need both"):
        zs.classify(gallery, folder / "text", calibrate=gallery)
    with pytest.raises(SourceError, match=r"36 images are too few to calibrate a coverage of 0\.99"):
        zs.classify(gallery, folder / "text", coverage=Coverage(0.99), calibrate=gallery)
    with pytest.raises(SourceError, match="18 images are too few"):
        zs.evaluate(gallery, folder / "text", coverage=Coverage(0.95))
    probe = zs.train_probe(gallery, tmp_path / "probe", regularisation=zs.Regularisation(1.0)).prototypes
    with pytest.raises(SourceError, match="made from these very images"):
        zs.classify(gallery, probe, coverage=Coverage(0.9), calibrate=gallery)
    with pytest.raises(UsageError, match="are not in the graph"):
        zs.classify(gallery, folder / "text", coverage=Coverage(0.9), calibrate=gallery, propagate=zs.Propagation())

"""Label propagation is the formula of the paper, computed here by dense inverses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.scored import prototypes_of
from kits.vector_gallery import vector_gallery
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import SourceError, SpaceMismatchError, UsageError
from zsretrieve.domain.propagation import Propagation
from zsretrieve.domain.vectors import Vectors, unit_rows
from zsretrieve.evaluation.answers import OfPrototypes
from zsretrieve.evaluation.paired import compare_runs
from zsretrieve.evaluation.propagation import Graph
from zsretrieve.store.indexes import Gallery, Prototypes

DIM, N, N_CLASSES = 8, 60, 4
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((N, DIM)) + 0.7)
    # Three equal images: each is the others' neighbour, not its own.
    vectors[11] = vectors[12] = vectors[10]
    return zs.open_gallery(vector_gallery(tmp_path_factory.mktemp("graph") / "gallery", vectors))


@pytest.fixture(scope="module")
def text() -> Prototypes:
    return prototypes_of(unit_rows(np.random.default_rng(1).standard_normal((N_CLASSES, DIM)) + 0.5))


def joined(vectors: Vectors, images: Vectors, text: Vectors, how: Propagation, *, own: bool = False) -> np.ndarray:
    """The weights of each vector with the classes and then the images, by sorting all similarities."""
    weights = np.zeros((len(vectors), len(text) + len(images)))
    for row, vector in enumerate(vectors.astype(np.float64)):
        likeness = images.astype(np.float64) @ vector
        if own:
            likeness[row] = -np.inf
        # To the precision in which the search tells scores apart.
        near = np.argsort(-likeness.astype(np.float32), kind="stable")[: how.neighbours]
        weights[row, len(text) + near] = np.maximum(likeness[near], 0)
        likeness = text.astype(np.float64) @ vector
        near = np.argsort(-likeness.astype(np.float32), kind="stable")[: how.neighbours]
        weights[row, near] = np.maximum(likeness[near], 0) ** how.gamma
    return weights


def naive(images: Vectors, text: Vectors, how: Propagation) -> np.ndarray:
    """L^-1 with all nodes, dense."""
    n = len(text) + len(images)
    w = np.zeros((n, n))
    w[len(text) :] = joined(images, images, text, how, own=True)
    w = w + w.T
    degrees = w.sum(axis=1)
    degrees[degrees == 0] = 1
    w = w / np.sqrt(degrees)[:, None] / np.sqrt(degrees)[None]
    return np.linalg.inv(np.eye(n) - how.alpha * w)


def shares(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(
    "how",
    [
        Propagation(),
        Propagation(1, 1.0, 0.9),
        Propagation(3, 0.0, 0.5),
        Propagation(80, 2.0, 0.2),
        Propagation(alpha=0),
    ],
)
def test_the_images_of_the_graph(gallery: Gallery, text: Prototypes, how: Propagation) -> None:
    found = Graph.of(gallery, text, how).own(gallery.ids).shares
    inverse = naive(gallery.vectors, text.vectors, how)[N_CLASSES:, :N_CLASSES]
    if how.alpha == 0:
        assert np.allclose(found, 1 / N_CLASSES), "nothing goes from node to node"
    else:
        assert np.abs(found - shares(inverse)).max() < 1e-6


@pytest.mark.parametrize("sparse", [False, True])
def test_other_images_by_their_neighbours(gallery: Gallery, text: Prototypes, sparse: bool) -> None:
    how = Propagation(neighbours=4, gamma=2.0, alpha=0.6, sparse=sparse)
    others = unit_rows(np.random.default_rng(7).standard_normal((30, DIM)) + 0.6)
    inverse = naive(gallery.vectors, text.vectors, how)[:, :N_CLASSES]
    if sparse:
        best = inverse.argmax(axis=1)
        inverse = np.where(np.arange(N_CLASSES) == best[:, None], inverse, 0.0)
    weights = joined(others, gallery.vectors, text.vectors, how)
    found = Graph.of(gallery, text, how).others(others)
    assert np.abs(found.shares - shares(weights @ inverse)).max() < 1e-6
    ranked = found.ranked(slice(None), N_CLASSES)
    assert np.array_equal(ranked.classes[:, 0], shares(weights @ inverse).astype(np.float32).argmax(axis=1))


def test_the_answer_of_the_paper_for_one_image_at_a_time(gallery: Gallery, text: Prototypes) -> None:
    """Solved once for all images it is what the paper solves once for each, with the image's weights on the right."""
    how = Propagation()
    other = unit_rows(np.random.default_rng(8).standard_normal((1, DIM)) + 0.6)
    right = joined(other, gallery.vectors, text.vectors, how)[0]
    expected = naive(gallery.vectors, text.vectors, how) @ right
    found = Graph.of(gallery, text, how).others(other).shares
    assert found[0] == pytest.approx(expected[:N_CLASSES] / expected[:N_CLASSES].sum(), abs=1e-6)


def test_a_filter_is_a_gallery_of_its_own(gallery: Gallery, text: Prototypes, tmp_path: Path) -> None:
    rows = np.arange(5, 45)
    smaller = zs.open_gallery(vector_gallery(tmp_path / "part", gallery.vectors[rows]))
    one = Graph.of(gallery, text, Propagation(), rows=rows).own(gallery.ids[rows]).shares
    other = Graph.of(smaller, text, Propagation()).own(smaller.ids).shares
    assert np.abs(one - other).max() < 1e-8
    done = zs.classify(gallery, text, propagate=Propagation(), where="id >= 5 and id < 45")
    assert [result.predictions[0].probability for result in done.results] == pytest.approx(one.max(axis=1))


def test_classify_and_evaluate_say_the_same(gallery: Gallery, text: Prototypes) -> None:
    names = tuple(str(digit) for digit in range(10))
    ten = prototypes_of(unit_rows(np.random.default_rng(3).standard_normal((10, DIM)) + 0.5), names)
    how = Propagation(neighbours=6)
    done = zs.classify(gallery, ten, propagate=how, k=3)
    report = zs.evaluate(gallery, ten, propagate=how, coverage=zs.Coverage(0.8))
    assert report.run.ranked[:, :3].tolist() == [
        [one.class_id for one in result.predictions] for result in done.results
    ]
    assert report.calibration is None
    alone = zs.evaluate(gallery, ten)
    assert report.baseline is not None
    assert report.baseline.difference == compare_runs(alone.run, report.run).difference
    assert report.baseline.n_correct == alone.n_correct
    assert report.prediction_sets is not None
    assert report.prediction_sets.n_scored == 30
    assert (
        zs.evaluate(gallery, ten, propagate=how, graph=gallery.folder).run.ranked.tolist() == report.run.ranked.tolist()
    )


def test_the_graph_of_another_gallery(gallery: Gallery, text: Prototypes, tmp_path: Path) -> None:
    others = zs.open_gallery(
        vector_gallery(tmp_path / "others", unit_rows(np.random.default_rng(9).standard_normal((15, DIM)) + 0.5))
    )
    done = zs.classify(others, text, propagate=Propagation(), graph=gallery, k=N_CLASSES)
    expected = Graph.of(gallery, text, Propagation()).others(others.vectors).ranked(slice(None), N_CLASSES)
    assert [[one.class_id for one in result.predictions] for result in done.results] == expected.classes.tolist()


def test_one_image_has_only_classes_as_neighbours(text: Prototypes, tmp_path: Path) -> None:
    alone = zs.open_gallery(vector_gallery(tmp_path / "one", text.vectors[:1]))
    found = Graph.of(alone, text, Propagation()).own(alone.ids).ranked(slice(None), 1)
    assert found.classes[0, 0] == 0


def test_what_does_not_spread(gallery: Gallery, text: Prototypes, tmp_path: Path) -> None:
    with pytest.raises(SpaceMismatchError):
        Graph.of(gallery, prototypes_of(unit_rows(np.eye(3, DIM + 1))), Propagation())
    probe = zs.train_probe(gallery, tmp_path / "probe", regularisation=zs.Regularisation(1.0)).prototypes
    with pytest.raises(SourceError, match="labels spread from text prototypes"):
        zs.classify(gallery, probe, propagate=Propagation())
    with pytest.raises(UsageError, match="`graph` has no effect without `propagate`"):
        zs.classify(gallery, text, graph=gallery)
    for graph in (None, gallery):
        with pytest.raises(UsageError, match="`sparse` has no effect on the images of the graph"):
            zs.classify(gallery, text, propagate=Propagation(sparse=True), graph=graph)
    with pytest.raises(UsageError, match="`retrieval_at` has no effect with `propagate`"):
        zs.evaluate(gallery, text, propagate=Propagation(), retrieval_at=(1,))
    with pytest.raises(UsageError, match=r"alpha must be a number from 0 to 0\.999"):
        Propagation(alpha=1.0)
    with pytest.raises(UsageError, match="neighbours must be"):
        Propagation(neighbours=0)


def test_the_command(small_gallery: Path, scene_folder: Path, tmp_path: Path, run_cli: Run) -> None:
    zs.build_prototypes(tmp_path / "text", "scenes", HashingEncoder(), templates="raw")
    words = ["classify", str(small_gallery), "-p", str(tmp_path / "text"), "--propagate", "--format", "json"]
    answers = json.loads(CliRunner().invoke(app, words).stdout)
    assert len(answers) == 360
    assert all(0 <= one["probability"] <= 1 for answer in answers for one in answer["predictions"])
    other = json.loads(CliRunner().invoke(app, [*words, "--neighbours", "2", "--gamma", "1", "--alpha", "0.9"]).stdout)
    assert other != answers
    table = CliRunner().invoke(app, ["evaluate", str(small_gallery), "-p", str(tmp_path / "text"), "--propagate"])
    assert table.exit_code == 0, table.stderr
    assert "compared with" in table.stdout
    assert "--gamma has no effect without --propagate" in run_cli(*words[:4], "--gamma", "1").stderr
    assert "as --graph" in run_cli("classify", scene_folder, *words[2:]).stderr


def test_a_model_alone_is_not_propagation(gallery: Gallery, text: Prototypes) -> None:
    alone = OfPrototypes(gallery.vectors, text).ranked(slice(None), 1).classes
    spread = Graph.of(gallery, text, Propagation(alpha=0.9)).own(gallery.ids).ranked(slice(None), 1).classes
    assert 0 < (alone != spread).mean() < 1

"""The few-shot curve: every point against a count of its own, and on the bundled world."""

from __future__ import annotations

import random
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.labelled import clusters, labelled
from sklearn.linear_model import LogisticRegression

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.demo import scenes
from zsretrieve.domain.errors import OptionalDependencyError, SourceError, SpaceMismatchError, UsageError
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.shots import Shots
from zsretrieve.domain.training import ADAPTERS
from zsretrieve.evaluation.labelled import Labelled, labelled_gallery
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.evaluation.splits import draw, held_out
from zsretrieve.prototypes.adapters import train_adapter
from zsretrieve.prototypes.images import TrainingImages
from zsretrieve.prototypes.learning_curve import CurvePoint, FewShotCurve, Method, few_shot_curve
from zsretrieve.prototypes.text import make_prototypes
from zsretrieve.store.indexes import Prototypes

BACKEND = FaissBackend("cpu")


@pytest.fixture(scope="module")
def some() -> Labelled:
    return labelled(*clusters(6, 20, dim=32, noise=2.0))


@pytest.fixture(scope="module")
def text(some: Labelled) -> Prototypes:
    return make_prototypes(some.prompts, HashingEncoder(), BACKEND).prototypes


def curve(some: Labelled, text: Prototypes, test: Labelled | None = None, **options: Any) -> FewShotCurve:
    settings = {"shots": (0, 2, 5), "seeds": (3, 4), "regularisation": zs.Regularisation(1.0), **options}
    return few_shot_curve(some, text, BACKEND, zs.CurveSettings(**settings), test=test)


def points(found: FewShotCurve, method: Method) -> dict[int, CurvePoint]:
    return {point.shots: point for point in found.points if point.method is method}


def test_every_point_is_what_it_says(some: Labelled, text: Prototypes) -> None:
    found = curve(some, text, text_weight=0.25)
    train, test = held_out(some, 0.5)
    assert (found.n_train, found.n_scored, found.n_classes) == (60, 60, 6)
    assert [(point.method, point.shots) for point in found.points] == [
        (Method.ZERO_SHOT, 0), *((method, n) for method in list(Method)[1:4] for n in (2, 5)),
    ]  # fmt: skip
    (zero,) = points(found, Method.ZERO_SHOT).values()
    assert zero.n_correct == (evaluate_labelled(test, text).n_correct,)
    assert [point.n_trained for point in found.points] == [(0,), *([(12, 12), (30, 30)] * 3)]
    for n in (2, 5):
        for place, seed in enumerate((3, 4)):
            rows = draw(train, n, seed).rows
            means = np.stack([train.vectors[rows[train.truth[rows] == c]].mean(axis=0) for c in range(6)])
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            mixed = 0.25 * text.vectors + 0.75 * means
            mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
            probe = LogisticRegression(C=1.0, max_iter=1000).fit(train.vectors[rows], train.truth[rows])
            for method, said in (
                (Method.MULTI_SHOT, (test.vectors @ means.T).argmax(axis=1)),
                (Method.MIX, (test.vectors @ mixed.T).argmax(axis=1)),
                (Method.PROBE, probe.predict(test.vectors)),
            ):
                point = points(found, method)[n]
                assert point.n_correct[place] == int((said == test.truth).sum())
                assert point.prec_at_1 == pytest.approx(sum(point.n_correct) / 120)
                assert point.interval.low <= point.prec_at_1 <= point.interval.high


def test_adapters_are_points_of_the_curve(some: Labelled, text: Prototypes) -> None:
    by = zs.Regularisation(1.0, validation=0.3, by="accuracy")
    found = curve(some, text, adapters=("tip", "tip-f", "lp++"), regularisation=by)
    train, test = held_out(some, 0.5)
    for method in (Method.TIP, Method.TIP_F, Method.LP):
        for n, point in points(found, method).items():
            settings = zs.AdapterSettings(str(method), validation=0.3, by="accuracy")
            images = TrainingImages(train, text.head, text.manifest.encoding, "here")
            made = [train_adapter(images, Shots(n, seed), text, BACKEND, settings) for seed in (3, 4)]
            assert point.n_correct == tuple(evaluate_labelled(test, one.prototypes).n_correct for one in made)
            searched = [one.search for one in made if one.search is not None]
            assert point.alpha == tuple(one.alpha for one in searched)
            assert point.beta == tuple(one.beta for one in searched)
            assert point.interval.low <= point.prec_at_1 <= point.interval.high
    assert [point for point in found.points if str(point.method) not in ADAPTERS] == list(
        curve(some, text, regularisation=by).points
    )
    with pytest.raises(UsageError, match="'clip-adapter' is not an adapter"):
        zs.CurveSettings(adapters=("clip-adapter",))


def test_seeds_reproduce_whatever_the_order(some: Labelled, text: Prototypes) -> None:
    shuffled = some.at(np.random.default_rng(0).permutation(len(some.truth)))
    one, again, other = curve(some, text), curve(shuffled, text), curve(some, text, seeds=(7, 8))
    assert one == again
    assert one.points != other.points
    assert (one.n_scored, one.n_train) == (other.n_scored, other.n_train)


def test_what_is_scored_does_not_change_what_is_trained(some: Labelled, text: Prototypes) -> None:
    train, test = held_out(some, 0.5)
    among = {item.digest for item in test.items}
    turned = np.array([item.digest in among for item in some.items])
    poisoned = replace(some, vectors=np.where(turned[:, None], -some.vectors, some.vectors))
    alone = replace(test, vectors=-test.vectors)
    settings = zs.CurveSettings(shots=(2,), seeds=(0,), regularisation=zs.Regularisation(validation=0.5))
    expected = few_shot_curve(train, text, BACKEND, settings, test=alone)
    found = few_shot_curve(poisoned, text, BACKEND, settings)
    assert found.points == expected.points


def test_images_of_a_test_set_that_may_train_are_left_out(some: Labelled, text: Prototypes) -> None:
    found = curve(some, text, test=labelled(*clusters(6, 25, dim=32, noise=2.0)))
    assert (found.n_train, found.n_left_out, found.n_scored) == (120, 120, 30)
    with pytest.raises(SourceError, match="every image of the test gallery is one of the training images"):
        curve(some, text, test=some)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shots": (0, 11)}, r"6 classes have fewer than 11 different images: 'c0' \(10\)"),
        ({"shots": ()}, "must be 0 or more"),
        ({"shots": (-1, 2)}, "must be 0 or more"),
        ({"seeds": ()}, "at least one seed"),
        ({"held_out": 1.0}, "the held-out share must be between 0 and 1, got 1.0"),
    ],
)
def test_what_cannot_be_drawn(some: Labelled, text: Prototypes, options: dict[str, object], message: str) -> None:
    with pytest.raises((SourceError, UsageError), match=message):
        curve(some, text, **options)


def test_wrong_prototypes(some: Labelled, text: Prototypes) -> None:
    other = make_prototypes(some.prompts, HashingEncoder(seed=1), BACKEND).prototypes
    with pytest.raises(SpaceMismatchError):
        curve(some, other)


def test_fewer_images_where_that_is_allowed(some: Labelled, text: Prototypes) -> None:
    found = curve(some, text, shots=(0, 16), allow_fewer=True)
    assert found.fewer == some.prompts.class_names
    assert points(found, Method.MULTI_SHOT)[16].spread == 0.0, "every draw is all there is"
    with pytest.raises(SourceError, match="no image to train on: 'c5'"):
        curve(some.at(np.flatnonzero(some.truth < 5)), text, allow_fewer=True)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, demo_encoder: Encoder) -> Labelled:
    """Scenes by how their object is filled and how large it is, of which the bundled model has little to say."""
    root = tmp_path_factory.mktemp("kinds")
    rng = random.Random(6)
    names = scenes.class_names()
    counts: dict[str, int] = {}
    while sum(counts.values()) < 6 * 20:
        scene = scenes.single(rng.choice(names), rng)
        thing = scene.things[0]
        label = f"{thing.size} {thing.fill}"
        if thing.size == "medium" or thing.fill == "dotted" or counts.get(label, 0) == 20:
            continue
        counts[label] = counts.get(label, 0) + 1
        path = root / "images" / label / f"{counts[label]}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scenes.draw(scene).save(path)
    gallery = zs.build_gallery(root / "images", root / "gallery", demo_encoder)
    return labelled_gallery(gallery, zs.read_prompts(sorted(counts), ["a {} shape"]))


def test_more_shots_are_not_worse_on_the_bundled_world(kinds: Labelled, demo_encoder: Encoder) -> None:
    """Later points do not lie below earlier ones by more than their intervals; and the probe learns in earnest."""
    text = make_prototypes(kinds.prompts, demo_encoder, BACKEND).prototypes
    settings = zs.CurveSettings(shots=(0, 1, 4, 10), seeds=(0, 1), text_weight=0.5)
    found = few_shot_curve(kinds, text, BACKEND, settings)
    for method in (Method.MULTI_SHOT, Method.MIX, Method.PROBE):
        ordered = [points(found, method)[n] for n in (1, 4, 10)]
        for place, later in enumerate(ordered):
            assert all(later.interval.high >= earlier.interval.low for earlier in ordered[:place])
    probe = points(found, Method.PROBE)
    assert probe[10].prec_at_1 > probe[1].prec_at_1
    assert probe[10].interval.low > 1 / 6, "better than chance"
    assert len(probe[10].c) == 2


def test_a_plot_is_drawn(some: Labelled, text: Prototypes, tmp_path: Path) -> None:
    found = curve(some, text, text_weight=0.5)
    zs.plot_curve(found, tmp_path / "a.svg")
    drawn = ET.parse(tmp_path / "a.svg").getroot()
    texts = {"".join(node.itertext()) for node in drawn.iter() if node.tag.endswith("text")}
    methods = {str(point.method) for point in found.points}
    assert all(any(text.startswith(method) for text in texts) for method in methods)
    assert {str(point.shots) for point in found.points} <= texts
    assert len([node for node in drawn.iter() if node.tag.endswith("circle")]) == len(found.points)
    pytest.importorskip("matplotlib")
    zs.plot_curve(found, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_needs_the_extra_and_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match=r"must be named \.png, \.svg or \.pdf"):
        zs.check_plot(tmp_path / "curve.txt")
    with pytest.raises(SourceError, match="no such folder"):
        zs.check_plot(tmp_path / "nowhere" / "curve.png")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(OptionalDependencyError, match="matplotlib") as caught:
        zs.check_plot(tmp_path / "curve.png")
    zs.check_plot(tmp_path / "curve.svg")
    assert str(caught.value.hint).endswith(" matplotlib")

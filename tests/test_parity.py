"""Everything against the plain path: open_clip's own model and preprocessing, a matmul, an argmax, a full sort."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from kits.exact_index import NumpyBackend
from PIL import Image

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.domain import prompts
from zsretrieve.domain.ports import Encoder, IndexBackend
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.catalog.bundled_prompts import provide
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER
from zsretrieve.encoders.loading import Model
from zsretrieve.gallery.build import build_gallery
from zsretrieve.gallery.ingest import Ingest
from zsretrieve.prototypes import text
from zsretrieve.store.indexes import Gallery, Prototypes

BACKENDS = {"numpy": NumpyBackend(), "faiss": FaissBackend("cpu")}


class Plain:
    """The plain path over a list of files."""

    def __init__(self, paths: list[Path], names: list[str], templates: list[str]) -> None:
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{DEMO_FOLDER}")
        tokenizer = open_clip.get_tokenizer(f"local-dir:{DEMO_FOLDER}")
        model.eval()
        self.classifier = open_clip.build_zero_shot_classifier(model, tokenizer, names, templates).T.numpy()
        with torch.no_grad():
            self.images = np.concatenate(
                [
                    model.encode_image(
                        torch.stack([preprocess(Image.open(p)) for p in paths[i : i + 50]]), normalize=True
                    )
                    for i in range(0, len(paths), 50)
                ]
            )
            self.queries = model.encode_text(tokenizer(names), normalize=True).numpy()


def with_tie_rule(scores: np.ndarray, mine: np.ndarray, rows: np.ndarray) -> None:
    """Our lists are a full sort of the plain scores: where float32 products of two paths order a near-tie
    differently, the plain scores of the two entries may differ by rounding alone."""
    expected = np.argsort(-scores, axis=1, kind="stable")[:, : rows.shape[1]]
    differ = rows != expected
    plain_mine, plain_expected = np.take_along_axis(scores, rows, 1), np.take_along_axis(scores, expected, 1)
    assert np.abs(plain_mine - plain_expected)[differ].max(initial=0.0) < 1e-6
    np.testing.assert_allclose(mine, plain_mine, atol=1e-5)


@pytest.fixture(scope="module")
def paths(scene_folder: Path, odd_photos: Path) -> list[Path]:
    return [*sorted(scene_folder.rglob("*.png")), *sorted(odd_photos.iterdir())]


@pytest.fixture(scope="module")
def templates() -> list[str]:
    return list(prompts.read_templates("openai7", provide).templates)


@pytest.fixture(scope="module")
def plain(paths: list[Path], templates: list[str]) -> Plain:
    return Plain(paths, list(prompts.read_classes("scenes", provide).names), templates)


@pytest.fixture(scope="module", params=list(BACKENDS))
def backend_used(request: pytest.FixtureRequest) -> IndexBackend:
    return BACKENDS[request.param]


@pytest.fixture(scope="module")
def gallery(
    paths: list[Path], demo_encoder: Encoder, backend_used: IndexBackend, tmp_path_factory: pytest.TempPathFactory
) -> Gallery:
    out = tmp_path_factory.mktemp("parity") / "gallery"
    reading = Reading(exif=False)
    return build_gallery(out, zs.open_source(paths), Ingest(Model.of(demo_encoder), backend_used, reading))


@pytest.fixture(scope="module")
def prototypes(demo_encoder: Encoder, backend_used: IndexBackend) -> Prototypes:
    return text.make_prototypes(zs.read_prompts("scenes", "openai7"), demo_encoder, backend_used).prototypes


def test_there_are_enough_pictures(paths: list[Path]) -> None:
    assert len(paths) >= 400


def test_image_vectors(gallery: Gallery, plain: Plain) -> None:
    np.testing.assert_allclose(gallery.vectors, plain.images, atol=1e-5)


def test_prototypes(prototypes: Prototypes, plain: Plain) -> None:
    np.testing.assert_allclose(prototypes.vectors, plain.classifier, atol=1e-5)


def test_every_top_1_is_the_argmax(gallery: Gallery, prototypes: Prototypes, plain: Plain) -> None:
    scores = plain.images @ plain.classifier.T
    found = zs.classify(gallery, prototypes, k=1).results
    rows = np.array([[r.predictions[0].class_id] for r in found])
    with_tie_rule(scores, np.array([[r.predictions[0].score] for r in found]), rows)


def test_names_given_twice_go_to_the_lowest_id(
    gallery: Gallery, demo_encoder: Encoder, backend_used: IndexBackend, paths: list[Path], templates: list[str]
) -> None:
    names = ["blue star", "red circle", "green heart", "red circle", "blue star"]
    made = text.make_prototypes(zs.read_prompts(names, "openai7"), demo_encoder, backend_used).prototypes
    plain = Plain(paths[:1], names, templates).classifier
    merged = {0: 0, 1: 1, 2: 2, 3: 1, 4: 0}
    expected = [merged[c] for c in (gallery.vectors @ plain.T).argmax(axis=1).tolist()]
    found = zs.classify(gallery, made, k=5).results
    assert [r.predictions[0].class_id for r in found] == expected
    for result in found:
        order = [p.class_id for p in result.predictions]
        assert order.index(0) + 1 == order.index(4)
        assert order.index(1) + 1 == order.index(3)


def test_every_top_10_is_a_full_sort(gallery: Gallery, prototypes: Prototypes, plain: Plain) -> None:
    mine, rows = prototypes.index.search(gallery.vectors, 10)
    with_tie_rule(plain.images @ plain.classifier.T, mine, rows)
    queries = np.concatenate([plain.queries, plain.classifier])
    mine, rows = gallery.index.search(np.ascontiguousarray(queries), 10)
    with_tie_rule(queries @ plain.images.T, mine, rows)


def test_text_search_end_to_end(gallery: Gallery, demo_encoder: Encoder, plain: Plain) -> None:
    names = list(prompts.read_classes("scenes", provide).names)
    for number in (0, 17, 58, 119):
        hits = zs.search(gallery, names[number], demo_encoder, k=10)
        expected = np.argsort(-(plain.queries[number] @ plain.images.T), kind="stable")[:10]
        assert [hit.id for hit in hits] == expected.tolist()


def test_probabilities_are_the_model_s_own(gallery: Gallery, prototypes: Prototypes, plain: Plain) -> None:
    scale = prototypes.manifest.head.scale
    assert scale != 100
    expected = torch.softmax(torch.tensor(scale * plain.images @ plain.classifier.T), dim=1).numpy()
    for row, result in enumerate(zs.classify(gallery, prototypes, k=3).results):
        for p in result.predictions:
            assert p.probability == pytest.approx(expected[row, p.class_id], abs=1e-4)


def test_evaluate_equals_a_count_over_the_plain_path(
    scene_folder: Path, demo_encoder: Encoder, prototypes: Prototypes, plain: Plain, paths: list[Path]
) -> None:
    names = list(prototypes.prompts.class_names)
    predicted = (plain.images @ plain.classifier.T).argmax(axis=1)
    right = sum(names[predicted[i]] == p.parent.name for i, p in enumerate(paths[:360]))
    report = zs.evaluate(scene_folder, prototypes, demo_encoder)
    assert (report.n_correct, report.n_scored) == (right, 360)


def test_bf16_scores_the_same(scene_folder: Path, demo_encoder: Encoder) -> None:
    fast = zs.Model("demo", zs.Compute(device="cpu", precision="bf16")).load()
    exact_report, fast_report = (
        zs.evaluate(scene_folder, zs.make_prototypes("scenes", e).prototypes, e) for e in (demo_encoder, fast)
    )
    assert abs(exact_report.prec_at_1 - fast_report.prec_at_1) <= 0.002

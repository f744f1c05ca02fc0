"""The published tables on a stand-in: a hashing encoder, and a table of three of its seeds."""

from __future__ import annotations

import gc
import hashlib
import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.pictures import Counting, pictures

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend
from zsretrieve.cli.views.reproduction import notes
from zsretrieve.domain.errors import ClassMappingError, OutputExistsError, SourceError, WeightsUnavailableError
from zsretrieve.domain.ports import Encoder
from zsretrieve.domain.records import PromptSet
from zsretrieve.domain.results import Interval
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.baseline import RESNET50
from zsretrieve.images import sources
from zsretrieve.images.sources import Source
from zsretrieve.metrics import wilson
from zsretrieve.reproduction.run import Job, Reproduction, Row, data_digest, reproduce
from zsretrieve.reproduction.tables import SUPERVISED, Figure, Table, TableModel

FP32 = zs.Compute(precision=zs.Precision.FP32)
CLASSES = ["class 0", "class 1", "class 2"]
PROMPTS = {"standard": zs.read_prompts(CLASSES, "standard"), "raw": zs.read_prompts(CLASSES, "raw")}
TABLE = Table(
    "stand-in", "three", ("standard", "raw"),
    tuple(TableModel(f"seed/{seed}", f"Seed {seed}", (Figure("paper", "raw", 30.0),)) for seed in range(3)),
    {"paper": "a paper"}, 0.3, images=60,
)  # fmt: skip


class Seeds:
    """Models by their seed; those of ``missing`` cannot be loaded, and ``at_most`` images are encoded in all."""

    def __init__(self, missing: Sequence[int] = (), at_most: int | None = None, known: bool = True) -> None:
        self.loaded: list[str] = []
        self.encoders: list[Counting] = []
        self.known = known
        self._missing = missing
        self._at_most = at_most

    def __call__(self, name: str) -> zs.Model:
        return Seeded(name, self)

    def load(self, name: str) -> Encoder:
        if int(name[-1]) in self._missing:
            raise WeightsUnavailableError(f"no weights of {name}")
        self.loaded.append(name)
        left = None if self._at_most is None else self._at_most - self.count
        self.encoders.append(Counting(left, seed=int(name[-1])))
        return self.encoders[-1]

    @property
    def count(self) -> int:
        return sum(encoder.count for encoder in self.encoders)


class Seeded(zs.Model):
    def __init__(self, name: str, seeds: Seeds) -> None:
        super().__init__()
        self.name = name
        self._seeds = seeds

    @property
    def identity(self) -> str | None:
        return f"seed:{self.name[-1]}" if self._seeds.known else None  # type: ignore[index]

    def _load(self) -> Encoder:
        return self._seeds.load(str(self.name))


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return sources.folder(pictures(tmp_path_factory.mktemp("sixty"), 60))


def run(
    source: Source,
    work: Path,
    models: Seeds,
    table: Table = TABLE,
    *,
    compute: zs.Compute = FP32,
    prompts: Mapping[str, PromptSet] = PROMPTS,
) -> Reproduction:
    return reproduce(table, Job(source, work, compute, models, FaissBackend("cpu")), prompts)


def test_figures_are_those_of_a_plain_count(sixty: Source, tmp_path: Path) -> None:
    done = run(sixty, tmp_path, Seeds())
    assert [(row.model, row.templates) for row in done.rows] == [
        (f"seed/{seed}", name) for seed in range(3) for name in ("standard", "raw")
    ]
    assert (done.n_images, done.n_classes, done.n_classes_scored, done.failed) == (60, 3, 3, ())
    for row in done.rows:
        encoder = HashingEncoder(seed=int(row.model[-1]))
        found = zs.classify(sixty, zs.make_prototypes(PROMPTS[row.templates], encoder).prototypes, encoder, k=1)
        right = [one.predictions[0].class_name == one.label for one in found.results]
        assert (row.n_correct, row.n_scored) == (sum(right), 60)
        assert row.interval == wilson(sum(right), 60)
        assert row.comparable
        if row.templates == "raw":
            assert row.difference == pytest.approx(100 * sum(right) / 60 - 30)
            assert row.off is (abs(100 * sum(right) / 60 - 30) > 0.3)
        else:
            assert (row.difference, row.off) == (None, None)


def test_ties_are_counted_and_named(sixty: Source, tmp_path: Path) -> None:
    twice = {"raw": zs.read_prompts(["class 0", "class 1", "class 2", "class 1"], "raw")}
    table = replace(TABLE, templates=("raw",), notes=("measured in the dark",))
    done = run(sixty, tmp_path, Seeds(), table, prompts=twice)
    for row in done.rows:
        encoder = HashingEncoder(seed=int(row.model[-1]))
        found = zs.classify(sixty, zs.make_prototypes(twice["raw"], encoder).prototypes, encoder, k=2)
        n_tied = sum(one.predictions[0].score == one.predictions[1].score for one in found.results)
        assert (row.n_tied, row.tied) == (n_tied, ("class 1",) if n_tied else ())
        assert row.to_dict()["tied"] == list(row.tied)
    lines = notes(done)
    assert lines[0] == "measured in the dark"
    tied = [line for line in lines if "of which the lowest class id wins: 'class 1'" in line]
    assert len(tied) == sum(bool(row.n_tied) for row in done.rows) > 0
    assert run(sixty, tmp_path, Seeds(), table, prompts=twice) == done, "counts that were stored"


@pytest.mark.parametrize("at_most", [0, 32, 100, 150])
def test_an_interrupted_run_goes_on_and_ends_the_same(sixty: Source, tmp_path: Path, at_most: int) -> None:
    whole = run(sixty, tmp_path / "whole", Seeds())
    stopped = Seeds(at_most=at_most)
    with pytest.raises(KeyboardInterrupt):
        run(sixty, tmp_path / "work", stopped)
    rest = Seeds()
    assert run(sixty, tmp_path / "work", rest) == whole
    # What was committed when the first was stopped is not encoded again.
    assert 180 - stopped.count <= rest.count <= 180 - 60 * (stopped.count // 60)
    again = Seeds()
    assert run(sixty, tmp_path / "work", again) == whole
    assert again.loaded == []


def test_what_decides_a_figure_has_a_folder_of_its_own(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 12)
    run(sources.folder(root), tmp_path / "work", Seeds())
    for changed in ({"precision": zs.Precision.BF16}, {"engine": zs.Engine.TORCH}, {"device": "cpu"}):
        models = Seeds()
        run(sources.folder(root), tmp_path / "work", models, compute=replace(FP32, **changed))
        assert models.count == 36
    before = data_digest(sources.folder(root))
    (root / "class 0" / "0000.png").rename(root / "class 1" / "0000.png")
    assert data_digest(sources.folder(root)) != before
    models = Seeds()
    run(sources.folder(root), tmp_path / "work", models)
    assert models.count == 36
    assert len(list((tmp_path / "work").iterdir())) == 15


def test_other_templates_are_counted_without_encoding_the_pictures_again(sixty: Source, tmp_path: Path) -> None:
    prompts = {**PROMPTS, "openai7": zs.read_prompts(CLASSES, "openai7")}
    run(sixty, tmp_path, Seeds())
    models = Seeds()
    done = run(sixty, tmp_path, models, prompts=prompts)
    assert len(done.rows) == 9
    assert (models.count, len(models.loaded)) == (0, 3)


def test_a_damaged_result_is_counted_again(sixty: Source, tmp_path: Path) -> None:
    whole = run(sixty, tmp_path, Seeds())
    for content in ("", "{}", "[]", '{"decided_by": 3}'):
        for file in tmp_path.glob("*/result.json"):
            file.write_text(content)
        models = Seeds()
        assert run(sixty, tmp_path, models) == whole
        assert models.count == 0


def test_models_that_cannot_be_loaded_are_listed_and_the_others_run(sixty: Source, tmp_path: Path) -> None:
    for known in (True, False):
        done = run(sixty, tmp_path, Seeds(missing=[1], known=known))
        assert [(one.model, one.reason) for one in done.failed] == [("seed/1", "no weights of seed/1")]
        assert {row.model for row in done.rows} == {"seed/0", "seed/2"}
        assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(WeightsUnavailableError, match="none of the 3 models can be loaded; the first is 'seed/0'"):
        run(sixty, tmp_path / "new", Seeds(missing=[0, 1, 2]))


def test_labels_are_checked_before_anything_is_loaded(sixty: Source, tmp_path: Path) -> None:
    models = Seeds()
    strange = replace(sixty, files=(replace(sixty.files[0], label="class 9"), *sixty.files[1:]))
    with pytest.raises(ClassMappingError, match="'class 9'"):
        run(strange, tmp_path, models)
    bare = replace(sixty, files=tuple(replace(file, label=None) for file in sixty.files))
    with pytest.raises(SourceError, match="none of the images has a label"):
        run(bare, tmp_path, models)
    assert models.loaded == []
    assert list(tmp_path.iterdir()) == []


def test_other_images_are_not_compared(sixty: Source, tmp_path: Path) -> None:
    fewer = replace(sixty, files=sixty.files[:59])
    two_classes = replace(sixty, files=tuple(file for file in sixty.files if file.label != "class 1"))
    for number, (source, classes) in enumerate([(fewer, 3), (two_classes, 2)]):
        done = run(source, tmp_path / str(number), Seeds(), replace(TABLE, models=TABLE.models[:1]))
        assert done.n_classes_scored == classes
        assert [row.off for row in done.rows] == [None, None]
        assert not any(row.comparable for row in done.rows)
    anyway = run(two_classes, tmp_path / "2", Seeds(), replace(TABLE, images=None, models=TABLE.models[:1]))
    assert not anyway.rows[0].comparable


def test_unreadable_pictures_are_counted_as_skipped(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 6)
    (root / "class 0" / "broken.png").write_bytes(b"no")
    for _ in range(2):  # the second time from what is kept
        done = run(sources.folder(root), tmp_path / "work", Seeds())
        assert {(row.n_scored, row.n_skipped) for row in done.rows} == {(6, 1)}
        assert [one.path for one in done.skipped] == ["class 0/broken.png"]


def test_figures_are_compared_only_of_as_many_scored_images(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 60)
    source = sources.folder(root)
    unlabelled = replace(source, files=(replace(source.files[0], label=None), *source.files[1:]))
    (root / "class 2" / "0002.png").write_bytes(b"no")
    for number, one in enumerate([unlabelled, source]):
        done = run(one, tmp_path / str(number), Seeds(), replace(TABLE, models=TABLE.models[:1]))
        assert done.n_images == 60
        assert done.rows[0].n_scored < 60
        assert not any(row.comparable for row in done.rows)


def test_a_class_of_which_nothing_can_be_read_is_not_scored(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 6)
    for file in (root / "class 1").iterdir():
        file.write_bytes(b"no")
    table = replace(TABLE, images=None, models=TABLE.models[:1])
    for _ in range(2):  # the second time from what is kept
        done = run(sources.folder(root), tmp_path / "work", Seeds(), table)
        assert (done.n_classes, done.n_classes_scored) == (3, 2)
        assert not any(row.comparable for row in done.rows)


@pytest.mark.parametrize(("n_correct", "off"), [(31500, False), (31499, True), (31800, False), (31801, True)])
def test_just_the_tolerance_is_not_off(n_correct: int, off: bool) -> None:
    figure = Figure("tutorial", "openai80", 63.3)
    row = Row("ViT-B-32/openai", "CLIP ViT-B/32", "openai80", n_correct, 50_000, 0, (figure,), 0.3, True)
    assert row.off is off


def test_a_run_begun_from_another_folder_is_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pictures", 60)
    with pytest.raises(KeyboardInterrupt):
        run(sources.folder(root), tmp_path / "work", Seeds(at_most=32))
    with pytest.raises(OutputExistsError, match="differs in source") as refused:
        run(sources.folder(root.rename(tmp_path / "moved")), tmp_path / "work", Seeds())
    assert "`force`" not in str(refused.value.hint)
    assert str(next((tmp_path / "work").iterdir())) in str(refused.value.hint)


def test_one_model_at_a_time_is_in_memory(sixty: Source, tmp_path: Path) -> None:
    alive: list[weakref.ref[Encoder]] = []

    class Watched(Seeds):
        def load(self, name: str) -> Encoder:
            gc.collect()
            assert [ref() for ref in alive if ref() is not None] == []
            encoder = HashingEncoder(seed=int(name[-1]))
            alive.append(weakref.ref(encoder))
            return encoder

    run(sixty, tmp_path, Watched(known=False))
    assert len(alive) == 3


class Classifier(HashingEncoder):
    """A supervised classifier that always says the class whose row in it is greatest."""

    def class_vectors(self, keys: Sequence[str | None]) -> Vectors:
        if None in keys:
            raise ClassMappingError("a class has no synset id")
        rows = [int(str(key)[1:]) for key in keys]
        return HashingEncoder(seed=9).encode_texts([f"{row} {row}" for row in rows])


class Baseline(Seeds):
    def load(self, name: str) -> Encoder:
        return Classifier() if name == RESNET50 else super().load(name)


def test_the_supervised_baseline_brings_its_own_classes(sixty: Source, tmp_path: Path) -> None:
    figure = Figure("torchvision", SUPERVISED, 76.13)
    table = replace(TABLE, models=(*TABLE.models[:1], TableModel(RESNET50, "ResNet", (figure,))))
    # Without synset ids it is listed as failed.
    done = run(sixty, tmp_path, Baseline(), table)
    assert [one.reason for one in done.failed] == ["a class has no synset id"]
    keys = ("n00000002", "n00000000", "n00000001")
    prompts: dict[str, PromptSet] = {name: replace(one, class_keys=keys) for name, one in PROMPTS.items()}
    done = run(sixty, tmp_path, Baseline(), table, prompts=prompts)
    row = done.rows[-1]
    assert (row.templates, row.figures) == (SUPERVISED, (figure,))
    encoder = Classifier()
    images = zs.build_gallery(sixty, tmp_path / "gallery", encoder, reading=zs.Reading(exif=False))
    scores = images.vectors.astype(np.float64) @ encoder.class_vectors(keys).T.astype(np.float64)
    truth = [int(str(item.label)[-1]) for item in images.items]
    assert row.n_correct == int((scores.argmax(axis=1) == truth).sum())
    assert isinstance(row.interval, Interval)


def test_a_run_of_an_earlier_version_is_taken_up(sixty: Source, tmp_path: Path) -> None:
    run(sixty, tmp_path, Seeds(), replace(TABLE, models=TABLE.models[:1]))
    (result,) = tmp_path.glob("*/result.json")
    decided_by = json.loads(result.read_text())["decided_by"]
    assert decided_by == {
        "format": 1, "weights": "seed:0", "data": data_digest(sixty), "device": "auto", "precision": "fp32",
        "engine": "auto", "exif": False, "decoding": "exact",
    }  # fmt: skip
    key = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:12]
    assert result.parent.name == f"seed-0-{key}"

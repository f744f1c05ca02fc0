"""Training from a gallery: what comes out, what is kept of what is stopped, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from kits.models import write_model
from kits.training import QUICK
from safetensors.torch import load_file, save_file

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.domain.model_training import Loss, TrainedModel
from zsretrieve.training import losses
from zsretrieve.training.place import STATE

WEIGHTS = "open_clip_model.safetensors"


def weights_of(trained: TrainedModel) -> dict[str, torch.Tensor]:
    return load_file(Path(trained.out) / WEIGHTS)


def test_a_text_tower_from_scratch_learns_from_vectors_alone(scene_folder: Path, tmp_path: Path) -> None:
    """On the bundled model's image tower, the labels of ten classes."""
    for folder in scene_folder.glob("red *"):
        shutil.copytree(folder, tmp_path / "red" / folder.name)
    zs.build_gallery(tmp_path / "red", tmp_path / "gallery", "demo")
    settings = zs.TrainingSettings(steps=60, batch_size=30, from_scratch=True, held_out=0, lr=3e-3)
    done = zs.train_from_gallery(tmp_path / "model", tmp_path / "gallery", templates="standard", settings=settings)
    assert (done.n_images, done.n_captions, done.n_held_out, done.best_step) == (30, 10, 0, 60)
    assert done.history[-1].loss < 0.5 * done.history[1].loss  # type: ignore[operator]
    classes = sorted(path.name for path in (tmp_path / "red").iterdir())
    torch_model = zs.Model(done.model, zs.Compute(device="cpu", engine="torch"))
    for model in ("demo", torch_model):
        found = zs.evaluate(tmp_path / "gallery", classes=classes, templates="standard", model=model)
        assert found.prec_at_1 > 0.9


def test_only_the_text_side_changes(trained: TrainedModel, base: str) -> None:
    before = open_clip.create_model(base).state_dict()
    after = weights_of(trained)
    assert before.keys() == after.keys()
    for name, value in before.items():
        if name.startswith("visual."):
            assert torch.equal(value, after[name]), name
    name = "text.text_projection.weight"
    assert not torch.equal(before[name], after[name])
    assert json.loads((Path(trained.out) / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"] == 64
    assert trained.n_images + trained.n_held_out == 360
    assert trained.skipped == ()


def test_the_measurements_are_those_of_open_clip(trained: TrainedModel, gallery: Path, captions: Path) -> None:
    """Recall among the held-out images, by a plain loop over what open_clip encodes."""
    rows = [line.split(",", 1) for line in captions.read_text().splitlines()[1:]]
    opened = zs.open_gallery(gallery)
    texts_of: dict[str, list[str]] = {}
    for path, text in rows:
        texts_of.setdefault(path, []).append(text.strip('"'))
    order = np.random.default_rng([QUICK["seed"], 0]).permutation(360)
    held_out = np.sort(order[: round(0.1 * 360)])
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{trained.out}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{trained.out}")
    texts = sorted({text for row in held_out for text in texts_of[opened.items[row].path]})
    with torch.no_grad():
        vectors = model.eval().encode_text(tokenizer(texts), normalize=True).numpy()
    images = opened.vectors[held_out]
    found = [
        texts[place] in texts_of[opened.items[row].path]
        for row, place in zip(held_out, (images @ vectors.T).argmax(1), strict=True)
    ]
    assert trained.best.image_to_text == pytest.approx(np.mean(found))
    back = [
        text in texts_of[opened.items[held_out[place]].path]
        for text, place in zip(texts, (vectors @ images.T).argmax(1), strict=True)
    ]
    assert trained.best.text_to_image == pytest.approx(np.mean(back))


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_old_gallery_is_searched_with_the_new_texts(gallery: Path, trained: TrainedModel, engine: str) -> None:
    model = zs.Model(trained.model, zs.Compute(device="cpu", engine=engine))
    hits = zs.search(gallery, "a photo of a red star", model, k=5)
    opened = zs.open_gallery(gallery)
    tower, _, _ = open_clip.create_model_and_transforms(trained.model)
    tokens = open_clip.get_tokenizer(trained.model)(["a photo of a red star"])
    with torch.no_grad():
        vector = tower.eval().encode_text(tokens, normalize=True).numpy()[0]
    scores = opened.vectors @ vector
    assert [hit.id for hit in hits] == [opened.items[row].id for row in np.argsort(-scores, kind="stable")[:5]]
    assert hits[0].score == pytest.approx(scores.max(), abs=1e-3)
    own = zs.search(gallery, "a photo of a red star", k=5)
    assert abs(own[0].score - hits[0].score) > 1e-4  # type: ignore[operator]


def test_every_verb_takes_it_beside_the_old_gallery(
    gallery: Path, trained: TrainedModel, base: str, scene_folder: Path, tmp_path: Path
) -> None:
    model, classes = trained.model, ["red star", "blue circle"]
    where = "label in ('red star', 'blue circle')"
    zs.build_prototypes(tmp_path / "new", classes, model, templates="standard")
    at_once = zs.evaluate(gallery, classes=classes, templates="standard", model=model, where=where)
    assert zs.evaluate(gallery, tmp_path / "new", where=where).run.scores == pytest.approx(at_once.run.scores, abs=1e-5)
    assert zs.classify(gallery, classes, model, where=where).results[0].predictions
    # New prototypes with images that either model encodes, and old ones with those of the new.
    photo = next((scene_folder / "red star").iterdir())
    zs.build_prototypes(tmp_path / "old", classes, base, templates="standard")
    stored = next(row for row in zs.classify(gallery, tmp_path / "new").results if row.path == str(photo))
    for prototypes, encodes in (("new", base), ("new", None), ("old", model)):
        scores = [one.score for one in zs.classify(photo, tmp_path / prototypes, encodes).results[0].predictions]
        same = scores == pytest.approx([one.score for one in stored.predictions], abs=1e-2)
        assert same is (prototypes == "new")
    shutil.copytree(gallery, tmp_path / "gallery")
    scenes.draw(scenes.single("red star", random.Random(9))).save(tmp_path / "more.png")
    assert zs.add(tmp_path / "gallery", tmp_path / "more.png", model).encoded == 1
    encoder = zs.Model(base, zs.Compute(device="cpu", precision="fp32")).load()
    (vector,) = encoder.encode_prepared([encoder.prepare(zs.read_image(tmp_path / "more.png"))])
    assert zs.open_gallery(tmp_path / "gallery").vectors[-1] @ vector == pytest.approx(1, abs=1e-3)
    assert zs.compare_templates(gallery, ["standard", "raw"], model, classes=classes, where=where)
    zs.build_image_prototypes(
        tmp_path / "mixed", gallery, model, classes=classes, templates="standard", text_weight=0.5, where=where
    )
    assert zs.read_manifest(tmp_path / "mixed").space.weights == zs.Model(model).identity


def test_the_manifest_knows_whose_images_it_goes_with(trained: TrainedModel, gallery: Path, tmp_path: Path) -> None:
    zs.build_prototypes(tmp_path / "new", ["red star", "blue circle"], trained.model)
    space, old = zs.read_manifest(tmp_path / "new").space, zs.read_manifest(gallery).space
    assert space.images_of == old.weights
    assert space.weights != old.weights
    content = json.loads((tmp_path / "new" / "manifest.json").read_text())
    assert content["format_version"] == 5  # which older versions refuse
    content = json.loads((gallery / "manifest.json").read_text())
    assert content["format_version"] == 2
    assert "images_of" not in content["space"]


def test_a_pack_of_it_goes_with_the_old_gallery_too(trained: TrainedModel, gallery: Path, tmp_path: Path) -> None:
    zs.export_pack(trained.model, tmp_path / "tuned.pack")
    from_pack = zs.search(gallery, "a blue circle", f"pack:{tmp_path / 'tuned.pack'}", k=3)
    assert [hit.id for hit in from_pack] == [hit.id for hit in zs.search(gallery, "a blue circle", trained.model, k=3)]
    with pytest.raises(zs.UsageError, match="no weights that can be trained"):
        zs.train_from_gallery(tmp_path / "again", gallery, model=f"pack:{tmp_path / 'tuned.pack'}")


def test_training_goes_on_from_what_was_trained(trained: TrainedModel, gallery: Path, tmp_path: Path) -> None:
    settings = zs.TrainingSettings(tune="linear", **QUICK)
    twice = zs.train_from_gallery(tmp_path / "twice", gallery, model=trained.model, settings=settings)
    record = json.loads((tmp_path / "twice" / "zsretrieve.json").read_text())
    assert record["images_of"] == zs.read_manifest(gallery).space.weights
    assert twice.base == trained.model
    assert zs.search(gallery, "a red star", twice.model, k=1)


def test_a_record_only_counts_for_its_own_weights(trained: TrainedModel, gallery: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.out, tmp_path / "model")
    weights = load_file(tmp_path / "model" / WEIGHTS)
    name = next(name for name, value in weights.items() if name.startswith("visual.") and value.ndim > 1)
    weights[name] += 0.01
    save_file(weights, tmp_path / "model" / WEIGHTS)
    with pytest.raises(zs.SpaceMismatchError, match="was built with 'local-dir:"):
        zs.search(gallery, "a red star", f"local-dir:{tmp_path / 'model'}")


def test_texts_of_two_text_sides_never_meet(trained: TrainedModel, base: str, tmp_path: Path) -> None:
    zs.build_prototypes(tmp_path / "old", ["red star", "blue circle"], base)
    with pytest.raises(zs.SpaceMismatchError):
        zs.verify_deep(tmp_path / "old", trained.model)
    (tmp_path / "words.txt").write_text("red star\nblue circle\n")
    zs.build_gallery(zs.open_texts(tmp_path / "words.txt"), tmp_path / "words", base)
    with pytest.raises(zs.SpaceMismatchError):
        zs.search(tmp_path / "words", "a red star", trained.model)


def stop_after(steps: int) -> Any:
    def on_stage(stage: str, done: int, total: int) -> None:
        if stage == "training" and done == steps:
            raise KeyboardInterrupt

    return on_stage


@pytest.mark.parametrize(
    "settings", [{"lr": 1e-3}, {"tune": "linear"}, {"tune": "lora"}, {"from_scratch": True, "loss": "clip"}]
)
def test_an_interrupted_training_ends_as_an_undisturbed_one(
    gallery: Path, captions: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    wanted = zs.TrainingSettings(**QUICK, **settings)
    whole = zs.train_from_gallery(tmp_path / "whole", gallery, captions, settings=wanted)
    for steps in (5, 9):
        with pytest.raises(KeyboardInterrupt):
            zs.train_from_gallery(tmp_path / "cut", gallery, captions, settings=wanted, on_stage=stop_after(steps))
        assert (tmp_path / "cut" / STATE).is_file()
    cut = zs.train_from_gallery(tmp_path / "cut", gallery, captions, settings=wanted)
    assert cut.steps == whole.steps == 12
    assert [point.step for point in cut.history] == [point.step for point in whole.history]
    assert cut.history[0].loss is whole.history[0].loss is None
    assert [one.loss for one in cut.history[1:]] == pytest.approx([one.loss for one in whole.history[1:]], rel=1e-4)
    for name, value in weights_of(whole).items():
        assert torch.allclose(value, weights_of(cut)[name], atol=1e-5), name
    assert not (tmp_path / "cut" / STATE).exists()


def test_another_training_does_not_take_over_a_state(gallery: Path, captions: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        zs.train_from_gallery(
            tmp_path / "out", gallery, captions, settings=zs.TrainingSettings(**QUICK), on_stage=stop_after(2)
        )
    other = zs.TrainingSettings(**{**QUICK, "seed": 4})
    with pytest.raises(zs.OutputExistsError, match="unfinished training of other"):
        zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=other)
    done = zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=other, force=True)
    with pytest.raises(zs.OutputExistsError, match="already a model"):
        zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=other)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(zs.OutputExistsError, match="left alone"):
        zs.train_from_gallery(tmp_path / "notes", gallery, captions, force=True)
    assert done.seed == 4


def test_a_loss_that_explodes_keeps_the_best_weights(
    gallery: Path, captions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = losses.siglip_loss, iter(range(100))

    def explodes(*args: Any) -> torch.Tensor:
        loss = real(*args)
        return loss * float("nan") if next(calls) == 7 else loss

    with monkeypatch.context() as patched:
        patched.setitem(losses.LOSSES, Loss.SIGLIP, explodes)
        with pytest.raises(
            zs.TrainingError, match=r"loss became nan at step 8; the weights of step \d are kept"
        ) as raised:
            zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=zs.TrainingSettings(**QUICK, lr=1e-3))
    assert "lower `lr` than 0.001" in str(raised.value.hint)
    done = zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=zs.TrainingSettings(**QUICK, lr=1e-4))
    assert done.steps == 12
    assert all(torch.isfinite(value).all() for value in weights_of(done).values())


def test_a_full_disk_loses_nothing(
    gallery: Path, captions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = zs.TrainingSettings(**QUICK)
    with pytest.raises(KeyboardInterrupt):
        zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings, on_stage=stop_after(4))
    kept = (tmp_path / "out" / STATE).read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("zsretrieve.training.state.write_file", full)
        with pytest.raises(zs.IndexFolderError, match="No space left on device"):
            zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings, on_stage=stop_after(8))
    assert (tmp_path / "out" / STATE).read_bytes() == kept
    with monkeypatch.context() as patched:
        patched.setattr("zsretrieve.training.folder.save_file", full)
        with pytest.raises(zs.IndexFolderError, match="No space left on device"):
            zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings)
    done = zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings)
    assert done.steps == 12


def test_a_damaged_state_is_said_so(gallery: Path, captions: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / STATE).parent.mkdir(parents=True)
    (tmp_path / "out" / STATE).write_bytes(b"no state")
    settings = zs.TrainingSettings(steps=1, batch_size=8)
    with pytest.raises(zs.IntegrityError, match="is damaged"):
        zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings)
    assert zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings, force=True).steps == 1


def test_patience_ends_a_training_that_does_not_improve(gallery: Path, captions: Path, tmp_path: Path) -> None:
    settings = zs.TrainingSettings(steps=200, batch_size=16, patience=2, lr=1.0)
    done = zs.train_from_gallery(tmp_path / "out", gallery, captions, settings=settings)
    assert done.stopped_early
    assert done.steps < 200
    recalls = [point.recall or 0 for point in done.history]
    assert done.best.recall == max(recalls)
    assert done.history.index(done.best) < len(recalls) - 2


@pytest.fixture
def other(tmp_path: Path) -> str:
    return f"local-dir:{write_model('vit-quickgelu', tmp_path / 'other')}"


def test_what_cannot_be_trained_is_refused_first(
    gallery: Path, captions: Path, tmp_path: Path, base: str, other: str, hashing_encoder: object
) -> None:
    out = tmp_path / "out"
    for error, message, how in (
        (zs.SpaceMismatchError, "was built with 'local-dir:", {"model": other}),
        (zs.UsageError, "a loaded encoder", {"model": hashing_encoder}),
        (zs.UsageError, "captions are used as they are", {"captions": captions, "templates": "standard"}),
        (zs.SourceError, "nothing to learn", {"where": "label = 'red star'", "templates": "a photo of a {}."}),
        (zs.FilterError, "no image", {"where": "label = 'a unicorn'"}),
        (zs.ClassMappingError, "are not classes", {"classes": ["red star"]}),
        (zs.DeviceError, "trained in torch", {"model": zs.Model(base, zs.Compute(engine="openvino"))}),
        (zs.ReportError, "it is a folder", {"report": tmp_path}),
    ):
        with pytest.raises(error, match=message):
            zs.train_from_gallery(out, gallery, **how)
        assert not out.exists()


def test_images_and_captions_without_each_other_are_listed(gallery: Path, tmp_path: Path) -> None:
    file = tmp_path / "captions.csv"
    paths = [item.path for item in zs.open_gallery(gallery).items[:20]]
    lines = [f"{path},caption {number}" for number, path in enumerate(paths)]
    file.write_text("\n".join(["image,caption", *lines, "gone.png,a unicorn", f"{paths[0]},"]) + "\n")
    done = zs.train_from_gallery(
        tmp_path / "out", gallery, file, settings=zs.TrainingSettings(steps=1, batch_size=8, held_out=0.2)
    )
    assert (done.n_images, done.n_held_out) == (16, 4)
    reasons = [one.reason for one in done.skipped]
    assert reasons.count("no caption") == 340
    assert sum("there is no image" in reason for reason in reasons) == 1
    assert len(reasons) == 342


def test_the_card_and_the_report_say_what_was_done(trained: TrainedModel) -> None:
    card = (Path(trained.out) / "MODEL_CARD.md").read_text()
    assert "12 steps of 32, seed 3" in card
    assert f"| {100 * trained.best.image_to_text:.2f} % |" in card  # type: ignore[operator]
    page = Path(trained.out).with_suffix(".html").read_text()
    assert page.count("<svg") == 4
    assert 'http-equiv="refresh"' not in page
    assert "12 of 12 steps" in page
    assert str(round(trained.history[-1].scale, 2))[:4] in page

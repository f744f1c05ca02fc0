"""Training on images by open_clip's trainer, in processes of its own, on small models."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from kits.waiting import eventually
from open_clip.loss import ClipLoss, SigLipLoss
from PIL import Image
from safetensors.torch import load_file

import zsretrieve as zs
from zsretrieve.api.image_training import _begun
from zsretrieve.domain.model_training import TrainedModel
from zsretrieve.encoders.catalog.files import configuration
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER, parse_model_name
from zsretrieve.encoders.torch import loading
from zsretrieve.training import images
from zsretrieve.training.job import JobFolder
from zsretrieve.training.place import FOLDER

# So few steps that each is a round, with a checkpoint and a measurement.
QUICK: dict[str, Any] = {"steps": 6, "batch_size": 24, "seed": 3, "workers": 0, "lr": 1e-3, "crop": 1.0}
CPU = zs.Compute(device="cpu", precision="fp32")


def train(
    photos: Path, out: Path, model: str, captions: Path | None = None, compute: zs.Compute = CPU, **settings: Any
) -> TrainedModel:
    wanted = zs.ImageTrainingSettings(**{**QUICK, **settings})
    return zs.train(photos, out, zs.Model.to_train(model, compute), captions, settings=wanted)


def losses(trained: TrainedModel) -> list[float]:
    """Of each step."""
    assert [point.step for point in trained.history] == list(range(trained.steps + 1))
    return [point.loss for point in trained.history if point.loss is not None]


def weights_of(trained: TrainedModel) -> dict[str, torch.Tensor]:
    return load_file(Path(trained.out) / "open_clip_model.safetensors")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, scene_folder: Path) -> Path:
    """Three scenes of each of 24 classes."""
    root = tmp_path_factory.mktemp("few")
    for folder in sorted(scene_folder.iterdir())[:24]:
        shutil.copytree(folder, root / folder.name)
    return root


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """A caption of its own for each image."""
    rows = [f"{path.relative_to(photos)},{path.parent.name} number {n}" for n, path in enumerate(photos.glob("*/*"))]
    file = tmp_path_factory.mktemp("captions") / "captions.csv"
    file.write_text("\n".join(["image,caption", *rows]) + "\n")
    return file


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, photos: Path, captions: Path, base: str) -> TrainedModel:
    """A training that nothing disturbed."""
    return train(photos, tmp_path_factory.mktemp("whole") / "model", base, captions)


def test_every_verb_opens_what_was_trained(whole: TrainedModel, photos: Path, tmp_path: Path) -> None:
    assert (whole.n_images, whole.n_held_out, whole.n_captions, whole.steps) == (65, 7, 72, 6)
    assert whole.trained == "both towers"
    zs.build_gallery(photos, tmp_path / "gallery", whole.model)
    assert len(zs.search(tmp_path / "gallery", "a red star", k=5)) == 5
    assert zs.classify(photos, ["red star", "blue circle"], whole.model).results
    card = (Path(whole.out) / "MODEL_CARD.md").read_text()
    assert "both towers, trained by zsretrieve" in card
    assert "6 steps of 24, seed 3" in card
    assert "unchanged" not in card
    assert not (Path(whole.out) / FOLDER).exists()


@pytest.mark.parametrize("loss", ["clip", "siglip"])
def test_the_first_loss_is_that_of_open_clip(
    photos: Path, captions: Path, base: str, tmp_path: Path, loss: str
) -> None:
    """Of the first batch, by open_clip's own model, preprocessing and loss."""
    trained = train(photos, tmp_path / "model", base, captions, steps=1, batch_size=80, held_out=0, loss=loss)
    model, _, prepare = open_clip.create_model_and_transforms(base)
    tokens = open_clip.get_tokenizer(base)
    rows = [line.split(",", 1) for line in captions.read_text().splitlines()[1:]]
    pixels = torch.stack([prepare(Image.open(photos / path)) for path, _ in rows])
    with torch.no_grad():
        seen = model.train().encode_image(pixels, normalize=True)
        texts = model.encode_text(tokens([text for _, text in rows]), normalize=True)
    if loss == "clip":
        expected = ClipLoss()(seen, texts, model.logit_scale.exp())
    else:
        expected = SigLipLoss()(seen, texts, model.logit_scale.exp(), model.logit_bias)
    assert losses(trained) == pytest.approx([expected.item()], rel=1e-4)


def test_two_processes_train_as_one_with_the_same_batch(
    whole: TrainedModel, photos: Path, captions: Path, base: str, tmp_path: Path
) -> None:
    both = train(photos, tmp_path / "model", base, captions, processes=2)
    assert losses(both) == pytest.approx(losses(whole), rel=1e-3)
    assert both.steps == whole.steps


def test_a_killed_training_ends_as_an_undisturbed_one(
    whole: TrainedModel, photos: Path, captions: Path, base: str, tmp_path: Path
) -> None:
    """The command and the trainer are killed in the middle; the same command goes on. Computing activations again
    changes nothing.
    """
    out = tmp_path / "model"
    words = [sys.executable, "-m", "zsretrieve", "train", photos, out, "--model", base, "--captions", captions]
    words += [f"--{name.replace('_', '-')}={value}" for name, value in QUICK.items()]
    words += ["--device=cpu", "--precision=fp32", "--checkpointing"]
    with subprocess.Popen([*map(str, words)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        folder = JobFolder(out / FOLDER)
        eventually(lambda: len(folder.read_progress().history) > 2)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run([*map(str, words), "--format", "json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "continuing after step" in done.stderr
    content = json.loads(done.stdout)
    assert content["steps"] == whole.steps
    assert [point["loss"] for point in content["history"]][1:] == pytest.approx(losses(whole), rel=1e-4)
    weights = load_file(out / "open_clip_model.safetensors")
    for name, value in weights_of(whole).items():
        assert torch.allclose(value, weights[name], atol=1e-4), name


def test_a_locked_image_tower_goes_with_the_old_galleries(photos: Path, tmp_path: Path) -> None:
    """The tower is one of timm, whose projection open_clip leaves free."""
    gallery = zs.build_gallery(photos, tmp_path / "gallery", zs.Model("demo", CPU))
    trained = train(photos, tmp_path / "model", "demo", lock="image", steps=3)
    before = open_clip.create_model(f"local-dir:{DEMO_FOLDER}").state_dict()
    after = weights_of(trained)
    changed = {name.startswith("visual.") for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {False}
    assert trained.trained == "text tower"
    assert zs.search(gallery, "a red star", trained.model, k=3)
    assert "galleries of" in (Path(trained.out) / "MODEL_CARD.md").read_text()


def test_a_locked_text_tower_stays(photos: Path, base: str, gallery: Path, tmp_path: Path) -> None:
    trained = train(photos, tmp_path / "model", base, lock="text", steps=2)
    before = open_clip.create_model(base).state_dict()
    changed = {name for name, value in weights_of(trained).items() if not torch.equal(value, before[name])}
    assert {name for name in changed if not name.startswith("visual.")} <= {"logit_scale", "logit_bias"}
    with pytest.raises(zs.SpaceMismatchError):
        zs.search(gallery, "a red star", trained.model)


def test_from_a_configuration_and_early_stop(photos: Path, tmp_path: Path) -> None:
    """Random weights that learn nothing at such a rate, in mixed precision."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    config = {"embed_dim": 32, "vision_cfg": vision, "text_cfg": text}
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    name = f"local-dir:{tmp_path / 'start'}"
    how = {"from_scratch": True, "lr": 1e-9, "steps": 60, "patience": 2, "held_out": 0.2}
    trained = train(photos, tmp_path / "model", name, compute=zs.Compute("cpu", "bf16"), **how)
    assert trained.stopped_early
    assert trained.steps < 60
    assert trained.trained == "both towers from random weights"
    assert zs.Model(trained.model, CPU).load().encode_texts(["a red star"]).shape == (1, 32)


def test_a_loss_that_is_no_number_keeps_what_was_trained(photos: Path, tmp_path: Path) -> None:
    """The best weights, not those of the last checkpoint, which are ruined; also from a training of the other kind."""
    out, gallery = tmp_path / "model", zs.build_gallery(photos, tmp_path / "gallery", zs.Model("demo", CPU))
    how = {"steps": 12, "held_out": 0.4}
    with pytest.raises(zs.TrainingError, match=r"became \S+ at step \d+; the weights of step 0 are kept") as raised:
        train(photos, out, "demo", lr=1e3, **how)
    assert "lower `lr` than 1000" in str(raised.value.hint)
    with pytest.raises(zs.OutputExistsError, match="unfinished training of other data"):
        zs.train_from_gallery(out, gallery)
    done = train(photos, out, "demo", lr=1e-6, **how)
    assert [point.step for point in done.history] == list(range(13))
    assert max(losses(done)) < 2
    before = open_clip.create_model(f"local-dir:{DEMO_FOLDER}").state_dict()
    for name, value in weights_of(done).items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.allclose(value, before[name], atol=1e-3), name


def test_a_full_disk_keeps_the_last_checkpoint(photos: Path, captions: Path, base: str, tmp_path: Path) -> None:
    out = tmp_path / "model"
    (out / FOLDER).mkdir(parents=True)  # as if it had been full already when the job was written
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(zs.IndexFolderError, match="could not write to") as raised:
            train(photos, out, base, captions)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "Free some space" in str(raised.value.hint)
    assert train(photos, out, base, captions).steps == 6


def test_images_that_cannot_be_read_are_listed(photos: Path, base: str, tmp_path: Path) -> None:
    """Also those that are held out, in whose place none is measured."""
    shutil.copytree(photos, tmp_path / "photos")
    broken = sorted((tmp_path / "photos").glob("*/*"))[::3]
    for path in broken:
        path.write_bytes(b"broken")
    trained = train(tmp_path / "photos", tmp_path / "model", base, held_out=0.5, steps=2, workers=1)
    assert sorted(one.path for one in trained.skipped) == [
        str(path.relative_to(tmp_path / "photos")) for path in broken
    ]
    assert all("not a readable image" in one.reason for one in trained.skipped)
    assert trained.n_images + trained.n_held_out == 72 - len(broken)
    assert 0 < trained.n_held_out < 36
    for path in (tmp_path / "photos").glob("*/*"):
        path.write_bytes(b"broken")
    with pytest.raises(zs.SourceError, match="no image of the source can be read"):
        train(tmp_path / "photos", tmp_path / "none", base, steps=2, workers=1)


def test_what_cannot_be_trained_is_refused_first(photos: Path, captions: Path, base: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for error, message, how in (
        (zs.UsageError, "there is no model to train", {}),
        (zs.ModelNameError, "is not a model name", {"model": "RseNet"}),
        (zs.UsageError, "captions are used as they are", {"model": base, "captions": captions, "templates": "raw"}),
        (zs.ClassMappingError, "are not classes", {"model": base, "classes": ["red star"]}),
        (zs.SourceError, "none of 72 captions", {"model": base, "captions": captions, "source": tmp_path / "one"}),
        (zs.SourceError, "nothing to learn", {"model": base, "source": tmp_path / "one", "templates": "one {}."}),
        (zs.UsageError, "cannot be divided", {"model": base, "settings": zs.ImageTrainingSettings(processes=3)}),
        (zs.UsageError, "fewer than a batch", {"model": base, "settings": zs.ImageTrainingSettings(processes=2)}),
    ):
        (tmp_path / "one" / "a thing").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "one" / "a thing" / "x.png")
        with pytest.raises(error, match=message):
            zs.train(how.pop("source", photos), out, **how)  # type: ignore[arg-type]
        assert not out.exists()


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [("cpu", None, {}), ("cuda", "1,2", {}), ("cuda:3", None, "3"), ("cuda:1,cuda:0", "4,GPU-7", "GPU-7,4")],
)
def test_gpus_by_number_are_the_only_ones(device: str, visible: str | None, expected: object) -> None:
    only = images.only_gpus(device.split(","), visible)
    assert only == ({"CUDA_VISIBLE_DEVICES": expected} if expected else {})


def test_an_architecture_begins_with_random_weights(photos: Path, tmp_path: Path) -> None:
    """One of open_clip's is too large for a test: what is said after it was found, and how it would begin."""
    with pytest.raises(zs.UsageError, match="cannot be divided among 3"):
        train(photos, tmp_path / "out", "ViT-B-32", processes=3, batch_size=64)
    name, settings = _begun(zs.Model.to_train("ViT-B-32"), zs.ImageTrainingSettings())
    assert settings.from_scratch
    assert settings.peak_lr == 5e-4
    assert configuration(name).model["embed_dim"] == 512
    with pytest.raises(zs.ModelNameError, match="is not a model name"):
        zs.Model("ViT-B-32")


def test_images_are_prepared_as_the_model_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag may prepare images otherwise than its architecture does by default."""
    asked: dict[str, Any] = {}

    def create(name: str, **options: Any) -> None:
        asked.update(options, name=name)

    monkeypatch.setattr(open_clip, "create_model", create)
    loading.untrained(parse_model_name("MobileCLIP-S1/datacompdr"))
    assert asked["name"] == "MobileCLIP-S1"
    assert asked["force_preprocess_cfg"] == configuration(parse_model_name("MobileCLIP-S1/datacompdr")).scaling
    assert asked["force_preprocess_cfg"]["mean"] == [0.0, 0.0, 0.0]
    assert asked["load_weights"] is False


def test_the_command_names_options_of_the_other_way(photos: Path, tmp_path: Path, gallery: Path) -> None:
    for words, said in (
        ([photos, tmp_path / "out", "--model", "demo", "--tune", "linear"], "--tune is for training from a gallery"),
        ([tmp_path / "out", "--from-gallery", gallery, "--lock", "image"], "--lock is for training on images"),
        ([tmp_path / "out"], "train takes a source of images and a folder, got 1"),
        (
            [tmp_path / "out", "--from-gallery", gallery, "--ground-truth", "x.csv"],
            "a gallery has its vectors and labels",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "zsretrieve", "train", *map(str, words)], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert said in done.stderr

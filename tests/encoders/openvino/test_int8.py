"""int8: calibrated on the user's images, measured against fp32 on others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.images import open_image
from kits.models import write_model
from typer.testing import CliRunner

import zsretrieve as zs
from zsretrieve.api import models
from zsretrieve.cli.app import app
from zsretrieve.domain.errors import ConversionError, DeviceError, SourceError, SpaceMismatchError
from zsretrieve.domain.ports import Pixels
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Vectors
from zsretrieve.encoders.openvino import int8
from zsretrieve.encoders.openvino.encoder import OpenVinoEncoder
from zsretrieve.store import manifest as manifests
from zsretrieve.system import hardware

pytest.importorskip("nncf", reason="the extra int8 is not installed")

# Without them a calibration is rightly refused as too lossy.
pytestmark = pytest.mark.skipif(not hardware.cpu_has_int8(), reason="this processor has no instructions for int8")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return f"local-dir:{write_model('vit-quickgelu', tmp_path / 'model')}"


@pytest.fixture
def photos(tmp_path: Path, scene_folder: Path) -> tuple[Path, Path]:
    """Two folders of 24 scenes each."""
    folders = (tmp_path / "photos" / "a", tmp_path / "photos" / "b")
    files = sorted(scene_folder.rglob("*.png"))
    for place, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for file in files[place * 24 : place * 24 + 24]:
            shutil.copy(file, folder)
    return folders


def test_int8_is_calibrated_measured_and_kept_in_the_manifest(model: str, scene_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is not calibrated for int8") as refused:
        zs.build_gallery(scene_folder, tmp_path / "gallery", zs.Model(model, zs.Compute(precision="int8")).load())
    assert f"models export {model} --int8 FOLDER" in str(refused.value.hint)
    assert not zs.is_calibrated(model)
    made = zs.calibrate(model, zs.open_source([scene_folder]))
    assert zs.is_calibrated(model)
    assert (made.calibrated_on, made.measured_on) == (270, 90)  # of 360 scenes
    assert 0.98 <= made.mean_cosine < 1
    assert made.least_cosine <= made.mean_cosine

    small = zs.Model(model, zs.Compute(precision="int8")).load()
    exact = zs.Model(model, zs.Compute(precision="fp32")).load()
    assert small.space == exact.space
    assert (small.encoding.engine, small.encoding.precision) == ("openvino", "int8")
    gallery = zs.build_gallery(scene_folder, tmp_path / "gallery", small)
    encoding = manifests.read(tmp_path / "gallery").encoding
    assert (encoding.cosine_to_fp32, encoding.least_cosine_to_fp32, encoding.calibration) == (
        made.mean_cosine, made.least_cosine, made.digest,
    )  # fmt: skip
    reference = zs.build_gallery(scene_folder, tmp_path / "exact", exact)
    encoding = manifests.read(tmp_path / "exact").encoding
    assert (encoding.cosine_to_fp32, encoding.least_cosine_to_fp32, encoding.calibration) == (None, None, None)
    cosines = (gallery.vectors * reference.vectors).sum(axis=1)
    assert cosines.mean() >= 0.98
    assert not np.array_equal(gallery.vectors, reference.vectors)


def test_what_loses_too_much_is_refused_unless_forced(
    model: str, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST_COSINE", 1.1)
    source = zs.open_source([photos[0]])
    with pytest.raises(ConversionError, match="int8 loses too much") as refused:
        zs.calibrate(model, source)
    assert f"zsretrieve models export {model} --int8 FOLDER --force" in str(refused.value.hint)
    assert not zs.is_calibrated(model)
    assert zs.calibrate(model, source, force=True).mean_cosine < 1.1
    assert zs.is_calibrated(model)


def test_a_processor_without_its_instructions_refuses_unless_forced(
    model: str, photos: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(hardware, "cpu_has_int8", lambda: False)
    int8_model = zs.Model(model, zs.Compute(precision="int8"))
    with pytest.raises(DeviceError, match=r"no instructions for int8 \(VNNI\): fp32 is faster") as refused:
        zs.build_gallery(photos[0], tmp_path / "gallery", int8_model)
    assert f"zsretrieve models export {model} --int8 FOLDER --force" in str(refused.value.hint)
    assert not zs.is_calibrated(model)
    assert not (tmp_path / "gallery").exists()
    made = zs.calibrate(model, zs.open_source([photos[0]]), force=True)
    assert zs.calibrate(model, zs.open_source([photos[0]]), again=False) == made
    caplog.clear()
    built = zs.build_gallery(photos[0], tmp_path / "gallery", int8_model)
    assert built.manifest.encoding.precision == "int8"
    assert "this processor has no instructions for int8 (VNNI): fp32 is faster" in caplog.messages


@pytest.mark.parametrize("force", [False, True])
def test_nan_is_refused(model: str, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, force: bool) -> None:
    class Broken(OpenVinoEncoder):
        def encode_prepared(self, batch: list[Pixels]) -> Vectors:  # type: ignore[override]
            made = super().encode_prepared(batch)
            if self.encoding.precision == "int8":
                made[0] = np.nan
            return made

    monkeypatch.setattr(int8, "OpenVinoEncoder", Broken)
    with pytest.raises(ConversionError, match="returns NaN in int8"):
        zs.calibrate(model, zs.open_source([photos[0]]), force=force)
    assert not zs.is_calibrated(model)


def test_too_few_images_are_refused(model: str, odd_photos: Path) -> None:
    few = sorted(odd_photos.iterdir())[:12]
    with pytest.raises(SourceError, match="calibrating for int8 needs 16 images, and only 12 can be read"):
        zs.calibrate(model, zs.open_source(few))


def test_calibrations_are_told_apart_and_not_mixed(model: str, photos: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (zs.open_source([folder]) for folder in photos)
    made = zs.calibrate(model, first)
    out = tmp_path / "out"
    opened = zs.Model(model, zs.Compute(precision="int8")).load()
    zs.build_gallery(first, out, opened)
    used_later = zs.Model(model, zs.Compute(precision="int8")).load()
    again = zs.calibrate(model, second)
    assert again.digest != made.digest
    assert not made.folder.exists(), "one calibration is kept"

    # What was opened before keeps its own tower, although that was not compiled when the files went.
    picture = [opened.prepare(open_image(next(photos[0].iterdir())).image)]
    np.testing.assert_array_equal(used_later.encode_prepared(picture), opened.encode_prepared(picture))
    assert used_later.encoding.calibration == made.digest

    other = zs.Model(model, zs.Compute(precision="int8")).load()
    with pytest.raises(
        SpaceMismatchError, match=f"of calibration {made.digest}, and the model's is {again.digest}"
    ) as no:
        zs.add(out, second, other)
    assert "index rebuild" in str(no.value.hint)
    assert len(zs.open_gallery(out).items) == 24
    zs.add(out, second, used_later)
    assert manifests.read(out).encoding.precision == "int8"
    rebuilt = zs.rebuild(out, other).gallery
    assert rebuilt.manifest.encoding.calibration == again.digest
    assert rebuilt.manifest.encoding.least_cosine_to_fp32 == again.least_cosine
    # The same pictures give the same tower, so what was lost can be made again.
    assert zs.calibrate(model, first).digest == made.digest


def test_deep_verification_knows_what_int8_loses(model: str, photos: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (zs.open_source([folder]) for folder in photos)
    zs.calibrate(model, first)
    small = zs.Model(model, zs.Compute(precision="int8")).load()
    zs.build_gallery(first, tmp_path / "mixed", zs.Model(model).load())
    zs.add(tmp_path / "mixed", second, small)
    encoding = manifests.read(tmp_path / "mixed").encoding
    assert encoding.precision.endswith("+int8")
    assert encoding.calibration == small.encoding.calibration
    zs.build_gallery(first, tmp_path / "small", small)
    assert zs.verify_deep(tmp_path / "small", small).n_same == 24
    zs.calibrate(model, second)
    others = zs.Model(model, zs.Compute(precision="int8")).load()
    assert others.encoding.calibration != encoding.calibration
    for out, count in (("mixed", 48), ("small", 24)):
        for encoder in (None, others, zs.Model(model, zs.Compute(precision="fp32")).load()):
            checked = zs.verify_deep(tmp_path / out, encoder)
            assert (checked.n_same, checked.damages) == (count, ())
    turned = zs.Model(model, zs.Compute(precision="fp32")).load()
    turned.encode_prepared = lambda batch: np.roll(others.encode_prepared(batch), 1, axis=1)  # type: ignore[method-assign]
    assert len(zs.verify_deep(tmp_path / "small", turned).damages) == 24
    damage_vectors(tmp_path / "small")
    with pytest.raises(SpaceMismatchError, match="of calibration"):
        zs.repair(tmp_path / "small", others)
    assert zs.repair(tmp_path / "small").recovered == 24
    assert "int8+" in manifests.read(tmp_path / "small").encoding.precision


def damage_vectors(gallery: Path) -> None:
    for path in gallery.glob("segments/*/vectors.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def test_texts_need_no_calibration_and_are_not_of_int8(
    model: str, photos: tuple[Path, Path], tmp_path: Path, run_cli
) -> None:  # type: ignore[no-untyped-def]
    plain = zs.build_prototypes(tmp_path / "plain", "cat,dog", zs.Model(model).load()).prototypes
    done = run_cli("index", "prototypes", tmp_path / "p", "-c", "cat,dog", "--model", model, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert manifests.read(tmp_path / "p").encoding == plain.manifest.encoding
    zs.build_gallery(photos[0], tmp_path / "out", zs.Model(model).load())
    found = run_cli("search", tmp_path / "out", "a cat", "--precision", "int8")
    assert found.returncode == 0, found.stderr
    note = f"int8 is for images: the text is encoded in {plain.manifest.encoding.precision}"
    assert note in done.stderr
    assert note in found.stderr
    seen = run_cli("search", tmp_path / "out", next(photos[1].iterdir()), "--precision", "int8")
    assert "is not calibrated for int8" in seen.stderr
    assert "int8 is for images" not in seen.stderr
    zs.calibrate(model, zs.open_source([photos[0]]))
    built = zs.build_prototypes(
        tmp_path / "q", "cat,dog", zs.Model(model, zs.Compute(precision="int8")).load()
    ).prototypes
    assert built.manifest.encoding == plain.manifest.encoding
    np.testing.assert_array_equal(built.vectors, plain.vectors)


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (("--engine", "torch"), "int8 runs in openvino on the CPU, not in 'torch'", "Leave out --engine"),
        (("--device", "cuda"), "int8 runs in openvino on the CPU, not on 'cuda'", "Leave out --device"),
    ],
)
def test_int8_elsewhere_is_refused_before_it_is_calibrated(
    model: str, photos: tuple[Path, Path], tmp_path: Path, run_cli, options: tuple[str, ...], message: str, hint: str
) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("index", "gallery", photos[0], tmp_path / "out", "--model", model, "--precision", "int8", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert hint in done.stderr
    assert not zs.is_calibrated(model)
    with pytest.raises(DeviceError, match=message):
        zs.Compute(precision="int8", **{options[0].strip("-"): options[1]})


@pytest.mark.parametrize("command", ["gallery", "classify", "evaluate"])
def test_it_is_calibrated_on_images_read_as_the_command_reads(
    model: str, scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    readings = []

    def sample(_source: object, _encoder: object, reading: Reading, _count: int) -> list[Pixels]:
        readings.append(reading)
        return []

    monkeypatch.setattr(models, "sample", sample)
    words = {
        "gallery": ["index", "gallery", str(scene_folder), str(tmp_path / "out"), "--model", model],
        "classify": ["classify", str(scene_folder), "--labels", "cat,dog", "--model", model],
        "evaluate": ["evaluate", str(scene_folder), "--prototypes", str(tmp_path / "p")],
    }[command]
    if command == "evaluate":
        names = sorted(path.name for path in scene_folder.iterdir())
        zs.build_prototypes(tmp_path / "p", names, zs.Model(model).load())
    words += ["--precision", "int8", "--no-exif", "--max-megapixels", "0.5", "--fast-decode"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SourceError)
    assert readings == [Reading(exif=False, max_pixels=500_000, fast=True)]


def test_another_conversion_does_not_delete_the_int8_tower(model: str, photos: tuple[Path, Path], run_cli) -> None:  # type: ignore[no-untyped-def]
    zs.calibrate(model, zs.open_source([photos[0]]))
    done = run_cli("models", "export", model, "--force")
    assert done.returncode == 2
    assert f"converting '{model}' again would delete its int8 image tower" in done.stderr
    assert f"zsretrieve models cache clear {model}" in done.stderr
    assert zs.is_calibrated(model)
    done = run_cli("models", "export", model, "--int8", photos[1], "--force")
    assert done.returncode == 0, done.stderr
    assert "int8 calibrated on 18 images" in done.stderr
    assert zs.is_calibrated(model)


def test_the_command_line_calibrates_on_what_it_encodes(
    model: str, scene_folder: Path, tmp_path: Path, run_cli
) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("index", "gallery", scene_folder, tmp_path / "out", "--model", model, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "int8 calibrated on 270 images; cosine similarity to fp32 on 90 others: mean 0.9" in done.stderr
    assert done.stdout == ""
    info = run_cli("index", "info", tmp_path / "out")
    assert "cosine to fp32" in info.stdout
    assert f"(calibration {manifests.read(tmp_path / 'out').encoding.calibration})" in info.stdout
    again = run_cli("index", "add", tmp_path / "out", scene_folder, "--precision", "int8")
    assert again.returncode == 0, again.stderr
    assert "calibrated on" not in again.stderr
    checked = run_cli("index", "verify", tmp_path / "out", "--deep")
    assert checked.returncode == 0, checked.stderr
    assert "re-encoded a sample of 64, all match" in checked.stdout

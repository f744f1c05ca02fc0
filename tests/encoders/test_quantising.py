"""int8: calibrated on the user's pictures, measured against fp32 on others."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from kits.models import write_model
from typer.testing import CliRunner

from zsretrieve import api
from zsretrieve.api import calibrating
from zsretrieve.cli.app import app
from zsretrieve.encoders import quantising
from zsretrieve.encoders.openvino_engine import OpenVinoEncoder
from zsretrieve.errors import ConversionError, DeviceError, SourceError, SpaceMismatchError
from zsretrieve.images import open_picture
from zsretrieve.ports import Pixels
from zsretrieve.store import manifest as passport
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.ahead import Reading

pytest.importorskip("nncf", reason="the extra int8 is not installed")


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


def test_int8_is_calibrated_measured_and_kept_in_the_passport(model: str, scene_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is not calibrated for int8") as refused:
        api.build_gallery(scene_folder, tmp_path / "gallery", api.load_encoder(model, precision="int8"))
    assert f"models export {model} --int8 FOLDER" in str(refused.value.hint)
    assert not api.is_calibrated(model)
    made = api.calibrate(model, api.open_source([scene_folder]))
    assert api.is_calibrated(model)
    assert (made.calibrated_on, made.measured_on) == (270, 90)  # of 360 scenes
    assert 0.98 <= made.mean_cosine < 1
    assert made.least_cosine <= made.mean_cosine

    small = api.load_encoder(model, precision="int8")
    exact = api.load_encoder(model, precision="fp32")
    assert small.space == exact.space
    assert (small.encoding.engine, small.encoding.precision) == ("openvino", "int8")
    gallery = api.build_gallery(scene_folder, tmp_path / "gallery", small)
    told = passport.read(tmp_path / "gallery").encoding
    assert (told.cosine_to_fp32, told.least_cosine_to_fp32, told.calibration) == (
        made.mean_cosine, made.least_cosine, made.digest,
    )  # fmt: skip
    reference = api.build_gallery(scene_folder, tmp_path / "exact", exact)
    told = passport.read(tmp_path / "exact").encoding
    assert (told.cosine_to_fp32, told.least_cosine_to_fp32, told.calibration) == (None, None, None)
    cosines = (gallery.vectors * reference.vectors).sum(axis=1)
    assert cosines.mean() >= 0.98
    assert not np.array_equal(gallery.vectors, reference.vectors)


def test_what_loses_too_much_is_refused_unless_forced(
    model: str, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantising, "LEAST_COSINE", 1.1)
    source = api.open_source([photos[0]])
    with pytest.raises(ConversionError, match="int8 loses too much") as refused:
        api.calibrate(model, source)
    assert f"zsretrieve models export {model} --int8 FOLDER --force" in str(refused.value.hint)
    assert not api.is_calibrated(model)
    assert api.calibrate(model, source, force=True).mean_cosine < 1.1
    assert api.is_calibrated(model)


@pytest.mark.parametrize("force", [False, True])
def test_vectors_that_are_no_numbers_are_refused(
    model: str, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    class Broken(OpenVinoEncoder):
        def encode_prepared(self, batch: list[Pixels]) -> Vectors:  # type: ignore[override]
            made = super().encode_prepared(batch)
            if self.encoding.precision == "int8":
                made[0] = np.nan
            return made

    monkeypatch.setattr(quantising, "OpenVinoEncoder", Broken)
    with pytest.raises(ConversionError, match="vectors that are no numbers"):
        api.calibrate(model, api.open_source([photos[0]]), force=force)
    assert not api.is_calibrated(model)


def test_too_few_pictures_are_refused(model: str, odd_photos: Path) -> None:
    few = sorted(odd_photos.iterdir())[:12]
    with pytest.raises(SourceError, match="int8 needs 16 pictures to be calibrated on, and 12 can be read"):
        api.calibrate(model, api.open_source(few))


def test_calibrations_are_told_apart_and_not_mixed(model: str, photos: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (api.open_source([folder]) for folder in photos)
    made = api.calibrate(model, first)
    out = tmp_path / "out"
    opened = api.load_encoder(model, precision="int8")
    api.build_gallery(first, out, opened)
    used_later = api.load_encoder(model, precision="int8")
    again = api.calibrate(model, second)
    assert again.digest != made.digest
    assert not made.folder.exists(), "one calibration is kept"

    # What was opened before keeps its own tower, although that was not compiled when the files went.
    picture = [opened.prepare(open_picture(next(photos[0].iterdir())).image)]
    np.testing.assert_array_equal(used_later.encode_prepared(picture), opened.encode_prepared(picture))
    assert used_later.encoding.calibration == made.digest

    other = api.load_encoder(model, precision="int8")
    with pytest.raises(
        SpaceMismatchError, match=f"of calibration {made.digest}, and the model's is {again.digest}"
    ) as no:
        api.add(out, second, other)
    assert "index rebuild" in str(no.value.hint)
    assert len(api.open_gallery(out).items) == 24
    api.add(out, second, used_later)
    assert passport.read(out).encoding.precision == "int8"
    rebuilt = api.rebuild(out, other).gallery
    assert rebuilt.manifest.encoding.calibration == again.digest
    assert rebuilt.manifest.encoding.least_cosine_to_fp32 == again.least_cosine
    # The same pictures give the same tower, so what was lost can be made again.
    assert api.calibrate(model, first).digest == made.digest


def test_deep_verification_knows_what_int8_loses(model: str, photos: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = (api.open_source([folder]) for folder in photos)
    api.calibrate(model, first)
    small = api.load_encoder(model, precision="int8")
    api.build_gallery(first, tmp_path / "mixed", api.load_encoder(model))
    api.add(tmp_path / "mixed", second, small)
    encoding = passport.read(tmp_path / "mixed").encoding
    assert encoding.precision.endswith("+int8")
    assert encoding.calibration == small.encoding.calibration
    api.build_gallery(first, tmp_path / "small", small)
    assert api.verify_deep(tmp_path / "small", small).n_same == 24
    api.calibrate(model, second)
    others = api.load_encoder(model, precision="int8")
    assert others.encoding.calibration != encoding.calibration
    for out, count in (("mixed", 48), ("small", 24)):
        for encoder in (None, others, api.load_encoder(model, precision="fp32")):
            checked = api.verify_deep(tmp_path / out, encoder)
            assert (checked.n_same, checked.damages) == (count, ())
    turned = api.load_encoder(model, precision="fp32")
    turned.encode_prepared = lambda batch: np.roll(others.encode_prepared(batch), 1, axis=1)  # type: ignore[method-assign]
    assert len(api.verify_deep(tmp_path / "small", turned).damages) == 24
    damage_vectors(tmp_path / "small")
    with pytest.raises(SpaceMismatchError, match="of calibration"):
        api.repair(tmp_path / "small", others)
    assert api.repair(tmp_path / "small").recovered == 24
    assert "int8+" in passport.read(tmp_path / "small").encoding.precision


def damage_vectors(gallery: Path) -> None:
    for path in gallery.glob("segments/*/vectors.npy"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def test_texts_need_no_calibration_and_are_not_of_int8(
    model: str, photos: tuple[Path, Path], tmp_path: Path, run_cli
) -> None:  # type: ignore[no-untyped-def]
    plain = api.build_prototypes(tmp_path / "plain", "cat,dog", api.load_encoder(model)).prototypes
    done = run_cli("index", "prototypes", tmp_path / "p", "-c", "cat,dog", "--model", model, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert passport.read(tmp_path / "p").encoding == plain.manifest.encoding
    api.build_gallery(photos[0], tmp_path / "out", api.load_encoder(model))
    found = run_cli("search", tmp_path / "out", "a cat", "--precision", "int8")
    assert found.returncode == 0, found.stderr
    seen = run_cli("search", tmp_path / "out", next(photos[1].iterdir()), "--precision", "int8")
    assert "is not calibrated for int8" in seen.stderr
    api.calibrate(model, api.open_source([photos[0]]))
    built = api.build_prototypes(tmp_path / "q", "cat,dog", api.load_encoder(model, precision="int8")).prototypes
    assert built.manifest.encoding == plain.manifest.encoding
    np.testing.assert_array_equal(built.vectors, plain.vectors)


@pytest.mark.parametrize(
    ("options", "told", "hint"),
    [
        (("--engine", "torch"), "int8 runs in openvino on the CPU, not in 'torch'", "Leave out --engine"),
        (("--device", "cuda"), "int8 runs in openvino on the CPU, not on 'cuda'", "Leave out --device"),
    ],
)
def test_int8_elsewhere_is_refused_before_it_is_calibrated(
    model: str, photos: tuple[Path, Path], tmp_path: Path, run_cli, options: tuple[str, ...], told: str, hint: str
) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("index", "gallery", photos[0], tmp_path / "out", "--model", model, "--precision", "int8", *options)
    assert done.returncode == 1
    assert told in done.stderr
    assert hint in done.stderr
    assert not api.is_calibrated(model)
    with pytest.raises(DeviceError, match=told):
        api.load_encoder(model, precision="int8", **{options[0].strip("-"): options[1]})


@pytest.mark.parametrize("command", ["gallery", "classify", "evaluate"])
def test_it_is_calibrated_on_pictures_read_as_the_command_reads(
    model: str, scene_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    readings = []

    def sample(_source: object, _encoder: object, reading: Reading, _count: int) -> list[Pixels]:
        readings.append(reading)
        return []

    monkeypatch.setattr(calibrating, "sample", sample)
    words = {
        "gallery": ["index", "gallery", str(scene_folder), str(tmp_path / "out"), "--model", model],
        "classify": ["classify", str(scene_folder), "--labels", "cat,dog", "--model", model],
        "evaluate": ["evaluate", str(scene_folder), "--prototypes", str(tmp_path / "p")],
    }[command]
    if command == "evaluate":
        names = sorted(path.name for path in scene_folder.iterdir())
        api.build_prototypes(tmp_path / "p", names, api.load_encoder(model))
    words += ["--precision", "int8", "--no-exif", "--max-megapixels", "0.5", "--fast-decode"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, SourceError)
    assert readings == [Reading(exif=False, max_pixels=500_000, fast=True)]


def test_a_conversion_made_anew_does_not_take_the_int8_model_with_it(
    model: str, photos: tuple[Path, Path], run_cli
) -> None:  # type: ignore[no-untyped-def]
    api.calibrate(model, api.open_source([photos[0]]))
    done = run_cli("models", "export", model, "--force")
    assert done.returncode == 2
    assert "it would delete the int8 model" in " ".join(done.stderr.split())
    assert api.is_calibrated(model)
    done = run_cli("models", "export", model, "--int8", photos[1], "--force")
    assert done.returncode == 0, done.stderr
    assert "int8 calibrated on 18 images" in done.stderr
    assert api.is_calibrated(model)


def test_the_command_line_calibrates_on_what_it_encodes(
    model: str, scene_folder: Path, tmp_path: Path, run_cli
) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("index", "gallery", scene_folder, tmp_path / "out", "--model", model, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "int8 calibrated on 270 images; cosine similarity to fp32 on 90 others: mean 0.9" in done.stderr
    assert done.stdout == ""
    told = run_cli("index", "info", tmp_path / "out")
    assert "cosine to fp32" in told.stdout
    assert f"(calibration {passport.read(tmp_path / 'out').encoding.calibration})" in told.stdout
    again = run_cli("index", "add", tmp_path / "out", scene_folder, "--precision", "int8")
    assert again.returncode == 0, again.stderr
    assert "calibrated on" not in again.stderr
    checked = run_cli("index", "verify", tmp_path / "out", "--deep")
    assert checked.returncode == 0, checked.stderr
    assert "64 of a sample encoded again agree" in checked.stdout

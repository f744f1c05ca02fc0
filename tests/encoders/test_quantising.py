"""int8: calibrated on the user's pictures, measured against fp32 on others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kits.models import write_model

from zsretrieve import api
from zsretrieve.encoders import quantising
from zsretrieve.errors import ConversionError, DeviceError, SourceError
from zsretrieve.store import manifest as passport

pytest.importorskip("nncf", reason="the extra int8 is not installed")


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return f"local-dir:{write_model('vit-quickgelu', tmp_path / 'model')}"


def test_int8_is_calibrated_measured_and_kept_in_the_passport(model: str, scene_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is not calibrated for int8") as refused:
        api.load_encoder(model, precision="int8")
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
    assert small.encoding.cosine_to_fp32 == made.mean_cosine
    gallery = api.build_gallery(scene_folder, tmp_path / "gallery", small)
    assert passport.read(tmp_path / "gallery").encoding.cosine_to_fp32 == made.mean_cosine
    reference = api.build_gallery(scene_folder, tmp_path / "exact", exact)
    assert passport.read(tmp_path / "exact").encoding.cosine_to_fp32 is None
    cosines = (gallery.vectors * reference.vectors).sum(axis=1)
    assert cosines.mean() >= 0.98
    assert not np.array_equal(gallery.vectors, reference.vectors)


def test_what_loses_too_much_is_refused_unless_forced(
    model: str, scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantising, "LEAST_COSINE", 1.1)
    source = api.open_source(sorted(scene_folder.rglob("*.png"))[:24])
    with pytest.raises(ConversionError, match="int8 loses too much"):
        api.calibrate(model, source)
    assert not api.is_calibrated(model)
    assert api.calibrate(model, source, force=True).mean_cosine < 1.1
    assert api.is_calibrated(model)


def test_too_few_pictures_are_refused(model: str, odd_photos: Path) -> None:
    few = sorted(odd_photos.iterdir())[:12]
    with pytest.raises(SourceError, match="int8 needs 16 pictures to be calibrated on, and 12 can be read"):
        api.calibrate(model, api.open_source(few))


def test_the_command_line_calibrates_on_what_it_encodes(
    model: str, scene_folder: Path, tmp_path: Path, run_cli
) -> None:  # type: ignore[no-untyped-def]
    done = run_cli("index", "gallery", scene_folder, tmp_path / "out", "--model", model, "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "int8 calibrated on 270 images; cosine similarity to fp32 on 90 others: mean 0.9" in done.stderr
    assert done.stdout == ""
    told = run_cli("index", "info", tmp_path / "out")
    assert "cosine to fp32" in told.stdout
    again = run_cli("index", "add", tmp_path / "out", scene_folder, "--precision", "int8")
    assert again.returncode == 0, again.stderr
    assert "calibrated on" not in again.stderr
    checked = run_cli("index", "verify", tmp_path / "out", "--deep")
    assert checked.returncode == 0, checked.stderr
    assert "64 of a sample encoded again agree" in checked.stdout

"""What the verbs refuse before they open or load anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from kits.hashing_encoder import HashingEncoder
from PIL import Image

import zsretrieve as zs
from zsretrieve.domain.errors import UsageError


@pytest.mark.parametrize(
    "outputs",
    [
        zs.Outputs(run="same", tables="same"),
        zs.Outputs(page="folder/page.html", tables="folder"),
        zs.Outputs(run="here/../same", page="same"),
    ],
)
def test_one_place_for_two_outputs(outputs: zs.Outputs) -> None:
    with pytest.raises(UsageError, match="is named for two outputs"):
        zs.evaluate("nowhere", "nothing", outputs=outputs)


def test_a_form_of_vectors_that_is_unknown() -> None:
    with pytest.raises(UsageError, match="'csv' is not a form of vectors"):
        zs.export_index("nothing", "out", "csv")


@pytest.mark.parametrize("weight", [-0.1, 4, float("nan")])
def test_a_weight_of_the_text_out_of_range(weight: float) -> None:
    with pytest.raises(UsageError, match="text_weight must be a number from 0 to 1"):
        zs.build_image_prototypes("out", "nowhere", text_weight=weight)


@pytest.mark.parametrize(
    "compute",
    [zs.Compute(batch_size=4), zs.Compute(compile=True), zs.Compute(precision="fp32"), zs.Compute(engine="torch")],
)
def test_settings_for_encoding_where_nothing_is_encoded(tmp_path: Path, compute: zs.Compute) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8), (ord(name), 0, 0)).save(tmp_path / "photos" / name / "1.png")
    gallery = zs.build_gallery(tmp_path / "photos", tmp_path / "gallery", HashingEncoder())
    zs.build_prototypes(tmp_path / "classes", ["a", "b"], HashingEncoder())
    with pytest.raises(UsageError, match="has no effect: the gallery's images are encoded already"):
        zs.evaluate(gallery, tmp_path / "classes", zs.Model(None, compute))
    for train in (zs.build_image_prototypes, zs.train_probe):
        source = (tmp_path / "new", gallery) if train is zs.build_image_prototypes else (gallery, tmp_path / "new")
        with pytest.raises(UsageError, match="has no effect: the gallery's images are encoded already"):
            train(*source, zs.Model(None, compute))
    with pytest.raises(UsageError, match="has no effect: the gallery's images are encoded already"):
        zs.few_shot_curve(gallery, tmp_path / "classes", zs.Model(None, compute))


@pytest.mark.parametrize("given", [{"device": "cuda:0"}, {"half": True}, {"sharded": True}])
def test_what_a_cluster_does_not_do_for_a_gallery(given: dict) -> None:
    with pytest.raises(UsageError, match="no GPUs can be chosen with `ray`"):
        zs.open_gallery("nowhere", ray=zs.Shards(), **given)

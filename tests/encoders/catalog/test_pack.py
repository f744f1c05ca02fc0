"""The format of packs: what is read, and what is refused with the member's name before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kits.packs import Members, described, signed, tiny, written

from zsretrieve.domain.errors import ModelNameError, WeightsUnavailableError
from zsretrieve.encoders.catalog import pack as packs
from zsretrieve.encoders.catalog.model_name import DEMO_PACK, parse_model_name


def refused(path: Path) -> str:
    with pytest.raises(WeightsUnavailableError) as caught:
        packs.read_pack(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_pack_says_what_it_is() -> None:
    pack = packs.read_pack(DEMO_PACK)
    assert (pack.model, pack.space.dim, pack.precision, pack.causal) == ("demo", 128, "fp32", True)
    assert pack.licence == packs.Licence("MIT", "https://github.com/zsretrieve/zsretrieve/blob/main/LICENSE")
    assert pack.made_by.keys() >= {"zsretrieve", "openvino"}
    with zipfile.ZipFile(DEMO_PACK) as archive:
        assert archive.read("pack.json") == pack.to_bytes()
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        for name, member in pack.members.items():
            assert hashlib.sha256(archive.read(name)).hexdigest() == member.sha256
        assert archive.namelist()[0] == "pack.json"


def test_the_format_in_the_documentation_is_enough_to_write_one(tmp_path: Path) -> None:
    path = written(tiny(), tmp_path / "a.pack")
    assert packs.read_pack(path).space == packs.read_pack(DEMO_PACK).space
    assert packs.describe_pack("x", path)["license_text"] is None
    path = written(described({**tiny(), "LICENSE": b"Do as you like.\n"}), tmp_path / "b.pack")
    assert packs.describe_pack("x", path)["license_text"] == "Do as you like.\n"


def test_what_is_no_pack_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a pack")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("text", "empty", "folder"):
        assert "is not a model pack" in refused(tmp_path / name)
    for name in ("pipe", "gone"):
        assert "cannot be read: there is no such file" in refused(tmp_path / name)
    photos = written({"photo.jpg": b"1"}, tmp_path / "photos.zip")
    assert "'photo.jpg' is not a member of a pack" in refused(photos)
    with pytest.raises(ModelNameError, match=r"there is no model pack at 'gone\.pack'"):
        parse_model_name("pack:gone.pack")
    with pytest.raises(ModelNameError, match="there is no model pack at ''"):
        parse_model_name("pack:")


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tiny(), tmp_path / "a.pack")
    monkeypatch.chdir(tmp_path)
    parsed = parse_model_name("pack:a.pack")
    assert parsed.in_manifest == f"pack:{tmp_path / 'a.pack'}"
    assert parsed.pack == tmp_path / "a.pack"
    assert not parsed.may_download


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "image.xml/../../evil", "a\\..\\evil", "C:evil", "IMAGE.XML", "image.xml/", "é"]
)
def test_members_of_other_names_are_refused(tmp_path: Path, name: str) -> None:
    path = written({**tiny(), name: b"evil"}, tmp_path / "a.pack")
    assert "is not a member of a pack" in refused(path)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pack"]


def test_a_zip_with_more_than_a_pack_needs_is_refused(tmp_path: Path) -> None:
    compressed = written(tiny(), tmp_path / "a.pack", zipfile.ZIP_DEFLATED)
    assert "is compressed or encrypted" in refused(compressed)
    with (
        pytest.warns(UserWarning, match="Duplicate"),
        zipfile.ZipFile(written(tiny(), tmp_path / "b.pack"), "a") as archive,
    ):
        archive.writestr("text.bin", b"other")
    assert "two members of one name" in refused(tmp_path / "b.pack")


def test_a_truncated_pack_is_refused(tmp_path: Path) -> None:
    whole = written(tiny(), tmp_path / "a.pack").read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100, 5):
        (tmp_path / "a.pack").write_bytes(whole[:size])
        assert "its end is missing" in refused(tmp_path / "a.pack")


@pytest.mark.parametrize("folder", [False, True])
def test_members_are_those_of_the_manifest(tmp_path: Path, folder: bool) -> None:
    def made(members: Members) -> Path:
        if not folder:
            return written(members, tmp_path / "a.pack")
        for old in tmp_path.iterdir():
            old.unlink()
        for name, data in members.items():
            (tmp_path / name).write_bytes(data)
        return tmp_path

    members = tiny()
    assert packs.read_pack(made(members)).model == "demo"
    assert "its member image.bin has 25 bytes instead of 22" in refused(made({**members, "image.bin": b"x" * 25}))
    del members["text.json"]
    assert "its member text.json is missing" in refused(made(members))
    if not folder:
        assert "its member LICENSE is not in its pack.json" in refused(made({**tiny(), "LICENSE": b"?"}))


def changed(*keys: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return change


HOSTILE = [
    changed("space", "dim", to=-1),
    changed("space", "dim", to=10**9),
    changed("space", "dim", to="128"),
    changed("space", "dim", to=True),
    changed("space", "weights", to="other"),
    changed("space", "preprocessing", "size", to=[0, 64]),
    changed("space", "preprocessing", "size", to=[10**6, 10**6]),
    changed("space", "preprocessing", "size", to=64),
    changed("space", "preprocessing", "std", to=[0.0, 1.0, 1.0]),
    changed("space", "preprocessing", "mean", to=[0.5]),
    changed("space", "preprocessing", "resize_mode", to="other"),
    changed("space", "preprocessing", "interpolation", to=["bicubic"]),
    changed("space", "preprocessing", to=None),
    changed("space", "text", to=[]),
    changed("space", to="x"),
    changed("head", "kind", to="other"),
    changed("head", "scale", to=float("inf")),
    changed("head", "scale", to=0.0),
    changed("head", "bias", to=10**400),
    changed("causal", to="no"),
    changed("licence", "source", to=0),
    changed("precision", to="int8"),
    changed("model", to="two\nlines"),
    changed("licence", to="MIT"),
    changed("made_by", to={"a": 1}),
    changed("members", to={}),
    changed("members", "../evil", to={"size": 1, "sha256": "0" * 64}),
    changed("members", "text.bin", "sha256", to="../evil"),
    changed("members", "text.bin", "size", to=-5),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_a_manifest_that_no_pack_has_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    members = tiny()
    content = json.loads(members["pack.json"])
    change(content)
    message = refused(written({**members, "pack.json": signed(content)}, tmp_path / "a.pack"))
    assert "is damaged: its pack.json: " in message


@pytest.mark.parametrize("key", ["space", "head", "members", "precision", "licence", "made_by", "model", "causal"])
def test_a_manifest_that_lacks_something_is_refused(tmp_path: Path, key: str) -> None:
    members = tiny()
    content = json.loads(members["pack.json"])
    del content[key]
    path = written({**members, "pack.json": signed(content)}, tmp_path / "a.pack")
    assert f"its pack.json: no '{key}'" in refused(path)


def test_a_manifest_that_is_damaged_or_newer_is_refused(tmp_path: Path) -> None:
    members = tiny()
    raw, path = members["pack.json"], tmp_path / "a.pack"
    newer = signed({**json.loads(raw), "format_version": 2, "new": 1})
    assert "has format version 2; this zsretrieve reads up to 1" in refused(
        written({**members, "pack.json": newer}, path)
    )
    for version in (None, "2", True, 0):
        other = signed({**json.loads(raw), "format_version": version})
        assert "has no format version" in refused(written({**members, "pack.json": other}, path))
    for other, why in [
        (raw.replace(b'"dim": 128', b'"dim": 129'), "its digest does not match"),
        (raw + b"\n", "its digest does not match"),
        (raw[:-20], "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[]", "is not that of a model pack"),
        (b'{"format": "zsretrieve-index"}', "is not that of a model pack"),
        (b" " * (1 << 20) + raw, "is too large"),
    ]:
        assert why in refused(written({**members, "pack.json": other}, path))


def test_any_damaged_byte_is_refused_or_does_not_matter(tmp_path: Path) -> None:
    """Only fields of the zip that nobody reads, such as dates, may change without being noticed."""
    sound, rng = written(tiny(), tmp_path / "a.pack").read_bytes(), random.Random(3)
    expected, path = packs.read_pack(tmp_path / "a.pack"), tmp_path / "b.pack"
    noticed = 0
    for _ in range(1500):
        content = bytearray(sound)
        content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            with packs.open_pack(path) as opened:
                assert opened.pack == expected
                for name in expected.members:
                    with opened.open(name) as file:
                        assert file.read() == f"the bytes of {name}".encode()
        except WeightsUnavailableError:
            noticed += 1
    assert noticed > 1000

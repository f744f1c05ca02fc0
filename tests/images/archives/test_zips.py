from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

import pytest
from kits.archives import digests, write_tar, write_zip
from kits.hashing_encoder import HashingEncoder
from kits.images import png

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError
from zsretrieve.images import opening
from zsretrieve.images.archives import members as archive_names


def test_odd_names_in_a_zip(tmp_path: Path) -> None:
    odd = ["/abs.png", "../up.png", "a b!/c.png", "a.tar!/b.png", "é.png"]
    write_zip(tmp_path / "x.zip", {name: png(number) for number, name in enumerate(odd)} | {"__MACOSX/._a.png": b"x"})
    source = zs.open_source([tmp_path / "x.zip"])
    assert [file.path for file in source.files] == [f"x.zip!/{name}" for name in odd]
    assert digests(source) == [hashlib.sha256(png(number)).hexdigest() for number in range(len(odd))]
    # Without the flag that says UTF-8, as some programs write it.
    whole = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(re.sub(rb"(PK\x01\x02.{6}|PK\x03\x04.{2})\x00\x08", rb"\1\0\0", whole, flags=re.S))
    assert [f.path for f in zs.open_source([tmp_path / "y.zip"]).files] == [f"y.zip!/{name}" for name in odd]


def test_members_of_a_zip_that_cannot_be_read_are_skipped(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {f"{n}.png": png(n) for n in range(4)})
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    central = [m.start() for m in re.finditer(b"PK\1\2", bytes(whole))]
    whole[central[0] + 8] |= 1  # encrypted
    whole[central[1] + 10] = 12  # bzip2
    at = whole.index(png(2))
    whole[at + 20] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(whole)
    built = zs.build_gallery(tmp_path / "x.zip", tmp_path / "g", HashingEncoder())
    assert [(item.id, item.path) for item in built.items] == [(3, "x.zip!/3.png")]
    assert [(s.path, s.reason) for s in built.manifest.skipped] == [
        ("x.zip!/0.png", "encrypted"),
        ("x.zip!/1.png", "compressed by an unknown method: 12"),
        ("x.zip!/2.png", "damaged in the archive: its checksum does not match"),
    ]


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_names, "MEMBER_LIMIT", 10_000_000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("honest.png", bytes(11_000_000))
        file.writestr("lying.png", bytes(9_000_000))
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    at = whole.rindex(b"PK\1\2")
    whole[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(whole)
    for name, reason in (("honest", "too large: 11 MB"), ("lying", "checksum does not match")):
        with pytest.raises(ImageError, match=reason):
            opening.read(f"{tmp_path}/x.zip!/{name}.png")
    write_tar(tmp_path / "x.tar", {"large.png": bytes(11_000_000)})
    with pytest.raises(ImageError, match="too large"):
        opening.read(f"{tmp_path}/x.tar!/large.png")

"""What a folder does not give: other programs' folders, exclusions, other formats, links to drives that are away."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest
from kits.images import picture, png

import zsretrieve as zs
from zsretrieve.domain.errors import SourceError
from zsretrieve.domain.settings import Choice
from zsretrieve.images import sources
from zsretrieve.images.sources import Source


def listed(root: Path, **choice: object) -> list[str]:
    return [file.path for file in zs.open_source([root], **choice).files]  # type: ignore[arg-type]


def counts(source: Source) -> dict[str, int]:
    return {one.what: one.count for one in source.left_out}


def test_folders_that_programs_keep_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = ("@eaDir/1.jpg/SYNO.jpg", "#recycle/2.png", "$RECYCLE.BIN/3.png", ".thumbnails/4.png", "__MACOSX/5.png",
            "System Volume Information/6.png", "x.photoslibrary/resources/7.png", "Previews.lrdata/8.png")  # fmt: skip
    for name in ("a/1.png", "b/@eaDir/9.png", "x.photoslibrary/originals/7.png", "a#recycle/2.png", *kept):
        picture(tmp_path / name)
    with caplog.at_level(logging.INFO, "zsretrieve"):
        source = zs.open_source([tmp_path])
    assert [file.path for file in source.files] == ["a/1.png", "a#recycle/2.png", "x.photoslibrary/originals/7.png"]
    assert counts(source)["@eaDir/"] == 2
    assert counts(source)["resources/"] == counts(source)[".thumbnails/"] == counts(source)["$RECYCLE.BIN/"] == 1
    assert "2 @eaDir/ (a program's own; take them with --include NAME)" in caplog.text
    assert listed(tmp_path, include=["@eaDir", ".thumbnails"])[0] == ".thumbnails/4.png"
    assert len(listed(tmp_path, include="@eaDir")) == 5


def test_globs_exclude_and_include(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/b/2.gif", "c/1.png", "c/new\nline.png", "top.png", "IMG_1"):
        picture(tmp_path / name, **({} if "." in name else {"format": "PNG"}))
    assert listed(tmp_path, exclude="*.gif") == ["a/1.png", "c/1.png", "c/new\nline.png", "top.png"]
    assert listed(tmp_path, exclude=["a/b", "c/"]) == ["a/1.png", "top.png"]
    assert listed(tmp_path, exclude=["*line.png", "/top.png", "**/1.png"]) == ["a/b/2.gif"]
    assert listed(tmp_path, exclude="1.png", include="c/1.png")[1:3] == ["c/1.png", "c/new\nline.png"]
    assert "IMG_1" in listed(tmp_path, include="IMG_*")
    with pytest.raises(SourceError, match="there are no images"):
        listed(tmp_path, exclude="*")
    left = counts(zs.open_source([tmp_path], exclude=["*.png"]))
    assert left[".png"] == 4


def test_archives_and_lists_are_excluded_from_as_folders_are(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png", "@eaDir/3.png"):
        picture(tmp_path / "in" / name)
    shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path / "in")
    assert listed(tmp_path / "x.zip") == ["x.zip!/a/1.png", "x.zip!/b/2.png"]
    source = zs.open_source([tmp_path / "x.zip"], exclude=["b"])
    assert ([file.path for file in source.files], counts(source)) == (["x.zip!/a/1.png"], {".png": 1})
    with pytest.raises(SourceError, match="`exclude` leaves no image"):
        zs.open_source([tmp_path / "x.zip"], exclude=["*.png"])


def test_other_formats_are_counted_with_what_would_read_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture(tmp_path / "1.jpg")
    for name in ("1.CR2", "2.cr2", "x.dng", "x.jxl", "x.mp4", "notes.txt", "x.tar"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "IMG_0001").write_bytes(png(1))
    (tmp_path / "README").write_text("words")
    with caplog.at_level(logging.INFO, "zsretrieve"):
        source = zs.open_source([tmp_path])
    assert counts(source) == {
        ".cr2": 2, ".dng": 1, ".jxl": 1, ".mp4": 1, ".txt": 1, ".tar": 1, "without a suffix": 1,
    }  # fmt: skip
    assert len(source.left_out) == 8, "an image and other words without a suffix"
    assert "2 .cr2 (camera raw: export JPEG files" in caplog.text
    assert "djxl" in caplog.text
    assert "1 without a suffix (images all the same" in caplog.text
    assert ".txt" not in caplog.text
    (tmp_path / "1.jpg").unlink()
    with pytest.raises(SourceError, match=r"no images in .*; it holds 2 \.cr2 \(camera raw"):
        zs.open_source([tmp_path])


def test_a_link_to_a_drive_that_is_away_is_counted(tmp_path: Path) -> None:
    picture(tmp_path / "in/1.png")
    (tmp_path / "in/drive").symlink_to(tmp_path / "mnt")
    (tmp_path / "in/here").symlink_to("there")
    (tmp_path / "in/there").symlink_to("here")
    found = sources.folder(tmp_path / "in")
    assert [(one.path, one.reason) for one in found.skipped] == [
        ("drive", f"folder: a link to '{tmp_path}/mnt', which is missing"),
        ("here", "folder: too many levels of symbolic links"),
        ("there", "folder: too many levels of symbolic links"),
    ]


def test_an_index_among_photos_is_not_part_of_them(tmp_path: Path, hashing_encoder: object) -> None:
    picture(tmp_path / "in/1.png")
    zs.build_gallery(tmp_path / "in", tmp_path / "in" / "index", hashing_encoder)  # type: ignore[arg-type]
    assert listed(tmp_path / "in") == ["1.png"]
    assert counts(sources.folder(tmp_path / "in")) == {"index/": 1}
    os.unlink(tmp_path / "in/1.png")
    with pytest.raises(SourceError, match="no images"):
        listed(tmp_path / "in")  # the index's table of paths is no list of images


def test_choices_are_joined_without_doubles() -> None:
    assert Choice(("a",), ()).joined(Choice(("a", "b"), ("c",))) == Choice(("a", "b"), ("c",))
    assert Choice.of("*.gif", ["x"]) == Choice(("*.gif",), ("x",))

"""Images sorted into folders: every one is where its class is, and no original is touched."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kits.archives import write_parquet, write_tar
from kits.hashing_encoder import HashingEncoder
from kits.images import picture, png

import zsretrieve as zs
from zsretrieve.handover.names import Names, folder_name
from zsretrieve.handover.placing import LISTING


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and path.name != LISTING
    }


def sort(annotations: zs.Annotations, folder: Path, **more: object) -> zs.HandedOver:
    [done] = zs.hand_over(annotations, zs.Handover(sort_into=folder, **more))
    return done


def of_one_class(*paths: Path | str, name: str = "x") -> zs.Annotations:
    images = tuple(zs.AnnotatedImage(str(path), 9, 9, (zs.Annotation(0, 1.0),)) for path in paths)
    return zs.Annotations((name,), images, has_boxes=False)


SORTED = ["a _b_ & _c_/1.png", "cat/1.jpg", "grey dog/1.jpg", "unknown/50 %, #é.jpg"]


@pytest.mark.parametrize("copy", [False, True])
def test_every_image_is_with_its_class(classes: zs.Annotations, photos: Path, tmp_path: Path, copy: bool) -> None:
    before = tree(photos)
    assert sort(classes, tmp_path / "sorted", copy=copy) == zs.HandedOver(str(tmp_path / "sorted"), 4, 3, 1)
    assert list(tree(tmp_path / "sorted")) == SORTED
    assert tree(photos) == before
    for image, place in zip(classes.images, ("cat/1.jpg", "grey dog/1.jpg", SORTED[0], SORTED[3]), strict=True):
        found = tmp_path / "sorted" / place
        assert found.is_symlink() is not copy
        assert found.read_bytes() == Path(image.path).read_bytes()
        assert found.stat().st_mtime_ns == Path(image.path).stat().st_mtime_ns
    with open(tmp_path / "sorted" / LISTING, newline="", encoding="utf-8") as file:
        assert {row["file"]: row["source"] for row in csv.DictReader(file)}["cat/1.jpg"] == classes.images[0].path


def test_again_it_is_refused_or_replaced_and_never_what_people_changed(
    classes: zs.Annotations, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sorted"
    out.mkdir()  # an empty folder is as good as none
    sort(classes, out)
    with pytest.raises(zs.OutputExistsError, match="there is already a sorted folder"):
        sort(classes, out)
    # What is no longer of a class is not left there.
    sort(of_one_class(*(image.path for image in classes.images)), out, force=True)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["x"]
    assert len(tree(photos)) == 4
    (out / "x" / "1.jpg").rename(out / "x" / "mine.jpg")
    with pytest.raises(zs.OutputExistsError, match="is not a sorted folder of this form, so it is left alone") as said:
        sort(classes, out, force=True)
    assert "anything was added, removed or changed since" in str(said.value.hint)
    with pytest.raises(zs.OutputExistsError, match="left alone"):
        sort(classes, photos, force=True)
    assert len(tree(photos)) == 4


def test_images_in_what_would_be_replaced_are_safe(classes: zs.Annotations, tmp_path: Path) -> None:
    sort(classes, tmp_path / "sorted", copy=True)
    (tmp_path / "link").symlink_to(tmp_path / "sorted" / "cat")
    for folder in (tmp_path / "sorted" / "cat", tmp_path / "link"):
        with pytest.raises(zs.UsageError, match="which would be replaced"):
            sort(of_one_class(folder / "1.jpg"), tmp_path / "sorted", copy=True, force=True)
    assert list(tree(tmp_path / "sorted")) == SORTED
    sort(classes, tmp_path / "links")
    with pytest.raises(zs.UsageError, match="which would be replaced"):
        sort(of_one_class(tmp_path / "links" / "cat" / "1.jpg"), tmp_path / "links", force=True)


def test_where_no_image_can_be_used_the_earlier_output_stays(classes: zs.Annotations, tmp_path: Path) -> None:
    sort(classes, tmp_path / "sorted", copy=True)
    gone = of_one_class(tmp_path / "gone.jpg", tmp_path / "gone too.jpg")
    with pytest.raises(zs.SourceError, match=r"none of the images can be used; '.*gone.jpg': no such file"):
        sort(gone, tmp_path / "sorted", copy=True, force=True)
    assert list(tree(tmp_path / "sorted")) == SORTED
    sort(zs.Annotations(("x",), (), has_boxes=False), tmp_path / "empty")
    assert [path.name for path in (tmp_path / "empty").iterdir()] == [LISTING]


@pytest.mark.parametrize("change", ["edited", "folder", "link", "other form"])
def test_what_people_did_in_a_folder_stays(boxes: zs.Annotations, tmp_path: Path, change: str) -> None:
    out = tmp_path / "yolo"
    zs.hand_over(boxes, zs.Handover(out, "yolo"))
    form = "yolo"
    if change == "edited":
        (out / "labels" / "1-2.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    elif change == "folder":
        (out / "images" / "mine").mkdir()
    elif change == "link":
        (out / "images" / "mine").symlink_to(tmp_path)
    else:
        form = "label-studio"
    before = tree(out)
    with pytest.raises(zs.OutputExistsError, match="left alone"):
        zs.hand_over(boxes, zs.Handover(out, form, force=True))
    assert tree(out) == before


def test_longest_names_and_that_of_the_list(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        picture(tmp_path / folder / f"{'a' * 251}.jpg", (8, 6))
    box = (zs.Annotation(0, 0.5, (0.0, 0.0, 1.0, 1.0)),)
    images = tuple(zs.AnnotatedImage(str(tmp_path / name / f"{'a' * 251}.jpg"), 8, 6, box) for name in ("a", "b"))
    zs.hand_over(zs.Annotations(("x",), images, has_boxes=True), zs.Handover(tmp_path / "yolo", "yolo"))
    assert len(list((tmp_path / "yolo" / "labels").iterdir())) == 2
    sort(of_one_class(images[0].path, name=LISTING), tmp_path / "sorted")
    assert {path.name for path in (tmp_path / "sorted").iterdir()} == {LISTING, f"{LISTING}-2"}


@pytest.mark.parametrize(
    ("annotation", "has_boxes", "message"),
    [
        (zs.Annotation(1), False, "annotated with class 1; there are 1"),
        (zs.Annotation(0), True, "has no box"),
        (zs.Annotation(0, None, (0.0, 0.0, 1.0, 1.0)), False, "has a box"),
    ],
)
def test_annotations_that_make_no_sense_are_refused(annotation: zs.Annotation, has_boxes: bool, message: str) -> None:
    with pytest.raises(zs.UsageError, match=message):
        zs.Annotations(("x",), (zs.AnnotatedImage("x.jpg", 8, 6, (annotation,)),), has_boxes=has_boxes)


def test_a_gallery_of_texts_has_no_images(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("red star\nblue circle\n")
    zs.build_gallery(zs.open_texts(tmp_path / "words.txt"), tmp_path / "words", HashingEncoder())
    with pytest.raises(zs.UsageError, match="gallery of texts, not of images"):
        zs.gallery_annotations(tmp_path / "words")


def test_names_that_file_systems_confuse(tmp_path: Path) -> None:
    odd = ("caf\u00e9.jpg", "cafe\u0301.jpg", "CAF\u00c9.jpg", "a\nb.jpg")
    paths = [picture(tmp_path / str(number) / name) for number, name in enumerate(odd)]
    png_without_suffix = tmp_path / "5" / "shot"
    png_without_suffix.parent.mkdir(exist_ok=True)
    png_without_suffix.write_bytes(png(1))
    sort(of_one_class(*paths, png_without_suffix), tmp_path / "sorted")
    found = sorted(path.name for path in (tmp_path / "sorted" / "x").iterdir())
    assert found == sorted(["caf\u00e9.jpg", "cafe\u0301-2.jpg", "CAF\u00c9-3.jpg", "a\nb.jpg", "shot.png"])


def test_classes_that_are_not_file_names(tmp_path: Path) -> None:
    names = ("..", "a/b", "A_B", "unknown", "x" * 400, "evil\x00", " .hidden. ", "")
    path = picture(tmp_path / "1.jpg")
    images = tuple(zs.AnnotatedImage(str(path), 8, 6, (zs.Annotation(n, 1.0),)) for n in range(len(names)))
    rejected = zs.AnnotatedImage(str(path), 8, 6, rejected=True)
    sort(zs.Annotations(names, (*images, rejected), has_boxes=False), tmp_path / "sorted")
    folders = {path.name for path in (tmp_path / "sorted").iterdir() if path.is_dir()}
    assert folders == {"_", "a_b", "A_B-2", "unknown", "x" * 255, "evil_", "hidden", "_-2", "unknown-2"}
    assert not (tmp_path.parent / "1.jpg").exists()


@given(st.lists(st.text(max_size=300), max_size=6))
def test_folders_of_classes_are_names_and_never_the_same(classes: list[str]) -> None:
    names = Names()
    folders = [names.take(folder_name(name)) for name in classes]
    assert len({name.casefold() for name in folders}) == len(folders)
    for name in folders:
        assert 0 < len(os.fsencode(name)) <= 255
        assert "/" not in name
        assert "\0" not in name
        assert not name.startswith(".")


def test_many_images_of_one_name_take_linear_time() -> None:
    names = Names()
    assert [names.take("1", ".jpg") for _ in range(20_000)][-1] == "1-20000.jpg"


def test_an_image_is_with_each_class_of_its_boxes(boxes: zs.Annotations, tmp_path: Path) -> None:
    sort(boxes, tmp_path / "sorted")
    found = [place for place in tree(tmp_path / "sorted") if place.endswith("1.jpg")]
    assert found == ["a _b_ & _c_/1.jpg", "cat/1.jpg", "grey dog/1.jpg"]
    assert (tmp_path / "sorted" / "unknown" / "1.png").is_symlink()


def test_images_of_archives_are_copied_and_missing_ones_skipped(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "t.tar", {"x/1.png": png(1)})
    table = write_parquet(tmp_path / "t.parquet", [png(2)], pa.array([0]))
    files = zs.open_source(table)
    paths = [f"{tar}!/x/1.png", files.address(files.files[0]), tmp_path / "gone.jpg", f"{tar}!/gone.png"]
    done = sort(of_one_class(*paths), tmp_path / "sorted")
    assert [Path(one.path).name for one in done.skipped] == ["gone.jpg", "gone.png"]
    assert done.skipped[0].reason == "no such file"
    content = tree(tmp_path / "sorted")
    assert sorted(content.values()) == sorted([png(1), png(2)])
    assert all(name.endswith(".png") for name in content)
    assert not any(path.is_symlink() for path in (tmp_path / "sorted").rglob("*"))


def test_a_file_system_without_links_gets_copies(
    classes: zs.Annotations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    sort(classes, tmp_path / "sorted")
    assert list(tree(tmp_path / "sorted")) == SORTED
    assert not any(path.is_symlink() for path in (tmp_path / "sorted").rglob("*"))


@pytest.mark.parametrize("what", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_done_stays(
    classes: zs.Annotations, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: BaseException
) -> None:
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "1.png":
            raise what
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises((zs.IndexFolderError, KeyboardInterrupt)) as caught:
        sort(classes, tmp_path / "new" / "sorted", copy=True)
    if isinstance(what, OSError):
        assert "No space left" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert len(tree(photos)) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused_first(classes: zs.Annotations, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(zs.IndexFolderError, match="no permission"):
        zs.Handover(sort_into=tmp_path / "locked" / "sorted").check()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"export": "x"}, "go together"),
        ({"form": "coco"}, "go together"),
        ({"export": "x", "form": "voc"}, "'voc' is not a form of annotations"),
        ({"export": "x", "form": "coco", "copy": True}, "`copy` has no effect"),
        ({"export": "x", "form": "coco", "images_at": "https://x/"}, "goes with label-studio"),
    ],
)
def test_contradictions_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(zs.UsageError, match=message):
        zs.Handover(**given)


@pytest.mark.parametrize(("export", "sort_into"), [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_one_output_inside_another_is_refused(tmp_path: Path, export: str, sort_into: str) -> None:
    with pytest.raises(zs.UsageError, match="is named for two outputs"):
        zs.Handover(tmp_path / export, "yolo", tmp_path / sort_into).check()

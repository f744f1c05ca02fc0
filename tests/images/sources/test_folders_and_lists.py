import os
from pathlib import Path

import numpy as np
import pytest
from kits.hashing_encoder import HashingEncoder
from kits.images import picture

import zsretrieve as zs
from zsretrieve.domain.errors import SkippedInputError, SourceError
from zsretrieve.domain.records import Item, Skipped
from zsretrieve.domain.settings import Reading
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_source
from zsretrieve.images import sources


def test_a_folder_is_sorted_and_leaves_out_what_is_no_image(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a c/x.webp", "a/y.gif", ".hidden/z.png", "a/.h.png", "top.bmp"):
        picture(tmp_path / name)
    (tmp_path / "a/notes.txt").write_text("x")
    found = sources.folder(tmp_path)
    assert [f.path for f in found.files] == ["a/y.gif", "a c/x.webp", "b/1.png", "b/2.JPG", "top.bmp"]
    assert [f.label for f in found.files] == ["a", "a c", "b", "b", None]


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder or file"):
        sources.folder(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="no images"):
        sources.folder(tmp_path)
    with pytest.raises(SourceError, match="not a folder"):
        sources.folder(picture(tmp_path / "a.png"))


def test_lists_of_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "in/a b.png")
    elsewhere = picture(tmp_path / "out/c.png")
    monkeypatch.chdir(tmp_path / "in")
    (tmp_path / "list.txt").write_text(f"a b.png\n\n{elsewhere}\nmissing.png\n")
    for found in (
        zs.open_source([f"@{tmp_path / 'list.txt'}"]),
        zs.open_source(["-"], standard_input=(tmp_path / "list.txt").read_text().splitlines(keepends=True)),
    ):
        assert [f.path for f in found.files] == ["a b.png", str(elsewhere), "missing.png"]
        assert os.path.isfile(found.address(found.files[0]))
        assert os.path.isfile(found.address(found.files[1]))
    assert [f.path for f in zs.open_source(["a b.png", elsewhere]).files] == ["a b.png", str(elsewhere)]
    with pytest.raises(SourceError, match="the list of paths is empty"):
        zs.open_source(["-"], standard_input=["\n"])
    with pytest.raises(SourceError, match="cannot be read"):
        zs.open_source(["@nowhere.txt"])
    with pytest.raises(SourceError, match="no file 'nope"):
        zs.open_source(["a b.png", "nope.png"])
    with pytest.raises(SourceError, match="is a folder"):
        zs.open_source(["a b.png", tmp_path])
    with pytest.raises(SourceError, match="has no image file extension"):
        zs.open_source([tmp_path / "list.txt"])


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for i in range(1, 5):
        picture(tmp_path / f"val/ILSVRC2012_val_0000000{i}.JPEG")
    return tmp_path / "val"


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        (
            "ILSVRC2012_val_00000001.JPEG 65\nILSVRC2012_val_00000003.JPEG 970\n",
            ["65", None, "970", None],
        ),
        (
            "ImageId,PredictionString\nILSVRC2012_val_00000004,n03995372 85 1 499 272\n"
            "ILSVRC2012_val_00000001,n01 1 2 3 4 n02 5\n",
            ["n01", None, None, "n03995372"],
        ),
        ("n01440764\nn01443537\nn01440764\nn02123045\n", ["n01440764", "n01443537", "n01440764", "n02123045"]),
        ("tench\ngreat white shark\ntench\ncat\n", ["tench", "great white shark", "tench", "cat"]),
        ("ILSVRC2012_val_00000002.JPEG great white shark\n", [None, "great white shark", None, None]),
    ],
)
def test_ground_truth(flat: Path, content: str, labels: list[str | None]) -> None:
    truth = flat.parent / "truth.txt"
    truth.write_text(content)
    assert [f.label for f in sources.folder(flat, truth).files] == labels


def test_the_development_kit_s_numbers_need_its_own_order(flat: Path) -> None:
    from scipy.io import savemat

    truth = flat.parent / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("3\n1\n2\n3\n")
    with pytest.raises(SourceError, match="development kit"):
        sources.folder(flat, truth)
    kit = np.array([(3, "n03"), (1, "n01"), (2, "n02")], dtype=[("ILSVRC2012_ID", np.int64), ("WNID", object)])
    savemat(flat.parent / "meta.mat", {"synsets": kit})
    assert [f.label for f in sources.folder(flat, truth).files] == ["n03", "n01", "n02", "n03"]
    truth.write_text("9\n1\n2\n3\n")
    with pytest.raises(SourceError, match="does not have"):
        sources.folder(flat, truth)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("n01\nn02\n", "2 labels, but the folder holds 4"),
        ("", "is empty"),
        ("other.JPEG 3\n", "names none"),
        ("ILSVRC2012_val_00000001.JPEG 65\njust a line\n", "mixes lines"),
    ],
)
def test_ground_truth_that_does_not_fit(flat: Path, content: str, message: str) -> None:
    truth = flat.parent / "truth.txt"
    truth.write_text(content)
    with pytest.raises(SourceError, match=message):
        sources.folder(flat, truth)
    with pytest.raises(SourceError, match="cannot be read"):
        sources.folder(flat, flat.parent / "nowhere.txt")


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    picture(tmp_path / "in/a/1.png")
    picture(tmp_path / "elsewhere/2.png")
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/broken.png").symlink_to(tmp_path / "nowhere.png")
    assert [f.path for f in sources.folder(tmp_path / "in").files] == ["a/1.png", "broken.png", "linked/2.png"]


def test_a_folder_that_cannot_be_read_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a/1.png")
    picture(tmp_path / "secret/2.png")
    scan = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = sources.folder(tmp_path)
    assert [f.path for f in found.files] == ["a/1.png"]
    assert [(s.path, s.reason) for s in found.skipped] == [("secret", "folder: permission denied")]
    model = Model.of(HashingEncoder())
    assert encode_source(found, model, Reading()).skipped == found.skipped
    with pytest.raises(SkippedInputError, match="secret"):
        encode_source(found, model, Reading(strict=True))


def test_a_ground_truth_needs_a_folder(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    for where in (["-"], [path], [f"@{path}"]):
        with pytest.raises(SourceError, match="goes with one folder"):
            zs.open_source(where, ground_truth=path)


def test_ground_truth_by_path_where_names_repeat(tmp_path: Path) -> None:
    for name in ("x/1.png", "y/1.png", "y/2.png"):
        picture(tmp_path / "in" / name)
    truth = tmp_path / "truth.txt"
    truth.write_text("x/1.png red\ny/1.png blue\n")
    assert [f.label for f in sources.folder(tmp_path / "in", truth).files] == ["red", "blue", None]
    truth.write_text("1.png red\n")
    with pytest.raises(SourceError, match="several of them share"):
        sources.folder(tmp_path / "in", truth)
    truth.write_text("x/1.png red\nx/1.png blue\n")
    with pytest.raises(SourceError, match="two labels"):
        sources.folder(tmp_path / "in", truth)


def test_a_meta_mat_that_is_none(flat: Path) -> None:
    truth = flat.parent / "truth.txt"
    truth.write_text("1\n2\n3\n1\n")
    (flat.parent / "meta.mat").write_bytes(b"no")
    with pytest.raises(SourceError, match="not that of the development kit"):
        sources.folder(flat, truth)


def test_paths_behind_links_are_not_normalised(tmp_path: Path) -> None:
    picture(tmp_path / "real/deep/1.png")
    picture(tmp_path / "real/x.png")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    found = sources.paths([tmp_path / "link" / ".." / "x.png"])
    assert os.path.isfile(found.address(found.files[0]))


def test_doubled_slashes_lead_to_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = picture(tmp_path / "in/a.png")
    monkeypatch.chdir(tmp_path)
    for written in (f"{tmp_path}//in/a.png", f"{tmp_path}/in//a.png", f"/{path}", str(path), "in/a.png", "./in/a.png"):
        found = sources.paths([written])
        assert os.path.samefile(found.address(found.files[0]), path), written


def test_ground_truth_takes_the_way_that_finds_most(tmp_path: Path) -> None:
    picture(tmp_path / "in/top.png")
    picture(tmp_path / "in/sub/deep.png")
    truth = tmp_path / "truth.txt"
    truth.write_text("top.png red\ndeep.png blue\n")
    assert [f.label for f in sources.folder(tmp_path / "in", truth).files] == ["blue", "red"]
    truth.write_text("top.png \u00b2\ndeep.png \u00b2\n")
    assert [f.label for f in sources.folder(tmp_path / "in", truth).files] == ["\u00b2", "\u00b2"]


def test_a_gallery_is_read_again_under_its_old_ids(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        picture(tmp_path / "in" / name)
    (tmp_path / "in/a/0.png").touch()
    first = zs.build_gallery(tmp_path / "in", tmp_path / "g1", HashingEncoder())
    again = zs.build_gallery(tmp_path / "g1", tmp_path / "g2", HashingEncoder())
    assert again.items == first.items
    assert again.manifest.skipped == first.manifest.skipped
    with pytest.raises(SkippedInputError):
        zs.build_gallery(tmp_path / "g1", tmp_path / "g3", HashingEncoder(), reading=Reading(strict=True))
    picture(tmp_path / "in/a/0.png")
    healed = zs.build_gallery(tmp_path / "g1", tmp_path / "g4", HashingEncoder())
    assert healed.items[:3] == first.items
    assert [(i.id, i.path, i.label) for i in healed.items][3:] == [(4, "a/0.png", "a")]
    with pytest.raises(SourceError, match="keep their labels"):
        zs.build_gallery(tmp_path / "g1", tmp_path / "g5", HashingEncoder(), ground_truth=tmp_path / "x")


def test_a_large_gallery_with_skips_is_read_again_in_linear_time() -> None:
    """Half a million places: a quadratic way would take hours, and the timeout of CI would tell."""
    items = [Item(i, f"{i}.png", None, 1, 1, 1, 1, "") for i in range(500_000) if i % 1000]
    skipped = [Skipped(f"{i}.png", "empty file") for i in range(0, 500_000, 1000)]
    found = sources.of_gallery(items, skipped, "root")
    assert [(f.id, f.path) for f in found.files[:-500]] == [(i.id, i.path) for i in items]
    assert [f.path for f in found.files[-500:]] == [s.path for s in skipped]


def test_a_folder_gone_since_it_was_listed_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a/1.png")
    picture(tmp_path / "gone/2.png")
    stat = os.stat

    def vanishing(path: object, *args: object, **options: object) -> os.stat_result:
        if str(path).endswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return stat(path, *args, **options)  # type: ignore[arg-type, call-overload]

    monkeypatch.setattr(os, "stat", vanishing)
    found = sources.folder(tmp_path)
    assert [f.path for f in found.files] == ["a/1.png"]
    assert [s.path for s in found.skipped] == ["gone"]

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kits.folders import contents, file_named
from kits.hashing_encoder import HashingEncoder
from kits.pictures import pictures

import zsretrieve as zs
from zsretrieve.backends.faiss_flat import FaissBackend, FaissFlatIndex
from zsretrieve.domain.errors import (
    IndexFolderError,
    IndexFormatError,
    IntegrityError,
    OutputExistsError,
    ZsRetrieveError,
)
from zsretrieve.domain.records import IndexKind, Manifest, Skipped
from zsretrieve.store import files, indexes
from zsretrieve.store import manifest as manifests
from zsretrieve.store.verify import verify
from zsretrieve.system import atomic


@pytest.fixture(scope="module")
def prototypes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "prototypes"
    zs.build_prototypes(out, "cat,dog,cat", HashingEncoder(), templates="openai7")
    return out


@pytest.fixture
def copy(prototypes: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(prototypes, tmp_path / "copy"))


def rewrite(folder: Path, **changes: object) -> None:
    """Change a manifest as a newer or careless writer might, with a digest that fits."""
    content = json.loads((folder / manifests.NAME).read_bytes())
    del content["digest"]
    content.update(changes)
    content["digest"] = manifests._digest(content)
    for name in (manifests.NAME, manifests.COPY):
        (folder / name).write_bytes(manifests._canonical(content))


def test_manifests_round_trip(prototypes: Path) -> None:
    manifest = manifests.read(prototypes)
    assert manifest.kind is IndexKind.PROTOTYPES
    assert manifest.duplicate_names == ("cat",)
    assert manifest.templates_source == "openai7"
    odd = replace(manifest, skipped=(Skipped("a\udcff\n.jpg", "Ünicode"),), root="/somewhere", cut_prompts=2)
    assert manifests.from_bytes(manifests.to_bytes(odd), Path("x")) == odd


def test_a_manifest_from_before_decoding_was_noted_is_of_exact_decoding(copy: Path) -> None:
    encoding = json.loads((copy / manifests.NAME).read_bytes())["encoding"]
    assert encoding.pop("decoding") == "exact"
    rewrite(copy, encoding=encoding)
    assert manifests.read(copy).encoding.decoding == "exact"


def test_a_newer_format_is_told_so(copy: Path) -> None:
    rewrite(copy, format_version=6, news="something")
    with pytest.raises(IndexFormatError, match="format version 6") as caught:
        manifests.read(copy)
    assert "Upgrade" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": "3"}, "'count' has an unexpected value"),
        ({"kind": "other"}, "not a valid"),
        ({"surprise": 1}, "no field 'surprise'"),
        ({"space": {}}, "lacks 'model'"),
        ({"head": 3}, "must be an object"),
        ({"format": "else"}, "not the manifest"),
        ({"files": {"../../etc/passwd": {"sha256": "", "bytes": 1, "head": ""}}}, "is not a file of an index"),
        ({"index": "index.faiss"}, "is not a file of an index"),
        ({"index": "segments/../../x"}, "is not a file of an index"),
        ({"segments": [{"name": "../x", "rows": 1, "removed": 0}]}, "invalid names of segments"),
        ({"next_id": 2**63}, "numbers out of range"),
        ({"count": -1}, "numbers out of range"),
        ({"root": "a\0b"}, "a path with a zero byte"),
    ],
)
def test_a_manifest_that_makes_no_sense(copy: Path, changes: dict[str, object], message: str) -> None:
    rewrite(copy, **changes)
    with pytest.raises(IndexFormatError, match=message):
        manifests.read(copy)


def test_any_changed_byte_of_a_manifest_shows(prototypes: Path) -> None:
    raw = (prototypes / manifests.NAME).read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(raw), 300):
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(IndexFormatError):
            manifests.from_bytes(bytes(changed), Path("x"))
    for extra in (raw + b" ", raw.replace(b"\n ", b"\n\t", 1), raw[:-1], b"", b"[]", b"null"):
        with pytest.raises(IndexFormatError):
            manifests.from_bytes(extra, Path("x"))


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["format", "kind", "space", "count", "digest", "format_version", "files", "x"]),
                inner,
                max_size=8,
            )
        ),
        max_leaves=20,
    )
)
def test_fuzzed_manifests_are_refused_in_words(content: object) -> None:
    if isinstance(content, dict):
        content = {**content, "format": manifests.FORMAT}
        content["digest"] = manifests._digest({k: v for k, v in content.items() if k != "digest"})
    with pytest.raises(IndexFormatError):
        manifests.from_bytes(json.dumps(content, indent=1, sort_keys=True).encode(), Path("x"))


def test_no_index_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(IndexFormatError, match="no index"):
        manifests.read(tmp_path / "nowhere")
    with pytest.raises(IndexFormatError, match="not an index"):
        manifests.read(tmp_path)


def test_a_changed_file_is_refused(copy: Path, backend: FaissBackend) -> None:
    for name in ("index.faiss", "vectors.npy", "prompts.json"):
        path = file_named(copy, name)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=f"{name}' has changed"):
            indexes.open_prototypes(copy, backend)
        assert verify(copy, backend).damages
        path.write_bytes(whole[:-3])
        with pytest.raises(IntegrityError, match="bytes instead of"):
            indexes.open_prototypes(copy, backend)
        path.unlink()
        with pytest.raises(IntegrityError, match="is missing"):
            indexes.open_prototypes(copy, backend)
        path.write_bytes(whole)
    assert verify(copy, backend).damages == ()


def test_a_large_index_leaves_the_digests_of_vectors_to_verify(
    tmp_path: Path, backend: FaissBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, [f"class {n}" for n in range(99)], HashingEncoder())
    monkeypatch.setattr(files, "DIGEST_AT_OPEN_BYTES", 0)
    for name in ("index.faiss", "vectors.npy", "prompts.json"):
        path = file_named(out, name)
        whole = path.read_bytes()
        assert len(whole) > files.HEAD_BYTES
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        if name == "prompts.json":
            with pytest.raises(IntegrityError, match="has changed"):
                indexes.open_prototypes(out, backend)
        else:
            indexes.open_prototypes(out, backend)
        assert "has changed" in verify(out, backend).damages[0].message
        # The head, where shape and type stand, is always looked at.
        path.write_bytes(whole[:7] + bytes([whole[7] ^ 1]) + whole[8:])
        with pytest.raises(IntegrityError, match="has changed"):
            indexes.open_prototypes(out, backend)
        path.write_bytes(whole)
    assert verify(out, backend).damages == ()


def test_verify_compares_the_faiss_file_with_the_vectors(copy: Path, backend: FaissBackend) -> None:
    other = backend.create(32)
    other.add(HashingEncoder(seed=3).encode_texts(["x", "y", "z"]))
    path = file_named(copy, "index.faiss")
    other.save(path)
    named = json.loads((copy / manifests.NAME).read_bytes())["files"]
    named[path.relative_to(copy).as_posix()] = asdict(files.entry_of(path))
    rewrite(copy, files=named)
    assert [d.message for d in verify(copy, backend).damages] == [
        "the FAISS file does not hold the vectors of this index"
    ]


def test_the_wrong_kind_is_told(copy: Path, backend: FaissBackend) -> None:
    with pytest.raises(IndexFormatError, match="is a prototype index, but a gallery index is needed"):
        indexes.open_gallery(copy, backend)


def test_items_round_trip_any_name(tmp_path: Path, backend: FaissBackend) -> None:
    from PIL import Image

    root = tmp_path / "photos"
    names = ["plain.png", "with 'quotes\" and\nnewline.png", "-dash.png", "日本語.png", os.fsdecode(b"raw-\xff.png")]
    for name in names:
        (root / "a class").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(root / "a class" / name, "PNG")
    (root / "a class" / "broken.png").write_bytes(b"no")
    gallery = zs.build_gallery(root, tmp_path / "gallery", HashingEncoder())
    opened = indexes.open_gallery(tmp_path / "gallery", backend)
    assert opened.items == gallery.items
    assert {item.path for item in opened.items} == {f"a class/{name}" for name in names}
    assert all(Path(opened.path_of(item)).is_file() for item in opened.items)
    assert [item.id for item in opened.items] == [0, 2, 3, 4, 5]
    assert opened.manifest.skipped == (Skipped("a class/broken.png", "not a readable image"),)
    assert verify(tmp_path / "gallery", backend).damages == ()


def test_output_folders_are_respected(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    taken = tmp_path / "photos"
    taken.mkdir()
    (taken / "mine.txt").write_text("keep")
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="left alone"):
            zs.build_prototypes(taken, "cat,dog", encoder, force=force)
    assert contents(taken) == {"mine.txt": b"keep"}
    with pytest.raises(OutputExistsError, match="not a folder"):
        zs.build_prototypes(taken / "mine.txt", "cat,dog", encoder)
    out = tmp_path / "new" / "deep"
    zs.build_prototypes(out, "cat,dog", encoder)
    with pytest.raises(OutputExistsError, match="there is already"):
        zs.build_prototypes(out, "cat,dog,cow", encoder)
    assert len(zs.open_prototypes(out, device="cpu").prompts.class_names) == 2
    zs.build_prototypes(out, "cat,dog,cow", encoder, force=True)
    assert len(zs.open_prototypes(out, device="cpu").prompts.class_names) == 3
    assert len(list((out / "segments").iterdir())) == 2
    (tmp_path / "empty").mkdir()
    zs.build_prototypes(tmp_path / "empty", "cat,dog", encoder)


class Failing(HashingEncoder):
    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def encode_texts(self, texts: object) -> np.ndarray:
        raise self._error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("a defect"), OSError(28, "No space left on device")])
def test_what_fails_leaves_nothing_new_and_keeps_the_old(tmp_path: Path, error: BaseException) -> None:
    out = tmp_path / "a" / "b"
    expected = ZsRetrieveError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected):
        zs.build_prototypes(out, "cat,dog", Failing(error))
    assert list(tmp_path.iterdir()) == []
    zs.build_prototypes(out, "cat,dog", HashingEncoder())
    before = contents(out)
    with pytest.raises(expected):
        zs.build_prototypes(out, "cat,cow", Failing(error), force=True)
    assert contents(out) == before


def test_a_reader_keeps_its_view_while_the_index_is_replaced(tmp_path: Path, backend: FaissBackend) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog", HashingEncoder())
    opened = indexes.open_prototypes(out, backend)
    vectors = np.array(opened.vectors)
    zs.build_prototypes(out, "cow,hen,owl", HashingEncoder(), force=True)
    np.testing.assert_array_equal(opened.vectors, vectors)
    assert opened.index.search(vectors[:1], 2)[1].tolist() == [[0, 1]]


def test_nothing_is_pickled(tmp_path: Path, backend: FaissBackend, copy: Path) -> None:
    path = file_named(copy, "vectors.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    named = json.loads((copy / manifests.NAME).read_bytes())["files"]
    named[path.relative_to(copy).as_posix()] = asdict(files.entry_of(path))
    rewrite(copy, files=named)
    with pytest.raises(IntegrityError, match="damaged"):
        indexes.open_prototypes(copy, backend)


def test_every_error_is_one_line_with_a_hint(copy: Path) -> None:
    (copy / manifests.NAME).write_bytes(b"{")
    with pytest.raises(ZsRetrieveError) as caught:
        manifests.read(copy)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_the_manifest_names_its_files_with_digests(prototypes: Path) -> None:
    manifest: Manifest = manifests.read(prototypes)
    assert {name.rsplit("/", 1)[-1] for name in manifest.files} == {"vectors.npy", "prompts.json", "index.faiss"}
    for name, entry in manifest.files.items():
        assert files.entry_of(prototypes / name) == entry


def test_interrupted_right_after_the_commit_the_new_index_stands(
    tmp_path: Path, backend: FaissBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog", HashingEncoder())
    sync = atomic.sync

    def interrupted(path: Path) -> None:
        sync(path)
        if path == out:
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "sync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        zs.build_prototypes(out, "cow,hen,owl", HashingEncoder(), force=True)
    assert indexes.open_prototypes(out, backend).prompts.class_names == ("cow", "hen", "owl")
    assert len(list((out / "segments").iterdir())) == 2


def test_a_full_disk_is_told_and_the_old_index_kept(
    tmp_path: Path, backend: FaissBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog", HashingEncoder())
    before = contents(out)
    with pytest.raises(FileNotFoundError):
        backend.create(4).save(tmp_path / "nowhere" / "x")

    def full(self: FaissFlatIndex, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FaissFlatIndex, "save", full)
    with pytest.raises(IndexFolderError, match=r"cannot be written .* No space left on device"):
        zs.build_prototypes(out, "cat,cow", HashingEncoder(), force=True)
    assert contents(out) == before


def test_a_folder_with_another_manifest_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "segments" / "thesis").mkdir(parents=True)
    (tmp_path / "segments" / "thesis" / "x.txt").write_text("years of work")
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    before = contents(tmp_path)
    assert not zs.is_index(tmp_path)
    for force in (False, True):
        with pytest.raises(OutputExistsError, match="left alone"):
            zs.build_prototypes(tmp_path, "cat,dog", HashingEncoder(), force=force)
    assert contents(tmp_path) == before


def test_an_empty_segments_folder_proves_nothing(tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(OutputExistsError, match="left alone"):
        zs.build_prototypes(tmp_path, "cat,dog", HashingEncoder(), force=True)
    assert (tmp_path / "manifest.json").read_text() == '{"name": "a web app"}'


def test_what_lies_beside_the_files_of_an_index_survives_its_replacement(copy: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    (copy / "segments" / "mine").mkdir()
    zs.build_prototypes(copy, "cat,cow", HashingEncoder(), force=True)
    assert (copy / "notes.txt").read_text() == "mine"
    assert (copy / "segments" / "mine").is_dir()


def test_a_damaged_manifest_may_be_replaced_and_leftovers_are_no_obstacle(copy: Path, tmp_path: Path) -> None:
    (copy / manifests.NAME).write_bytes(b"\0\0")
    with pytest.raises(OutputExistsError, match="there is already"):
        zs.build_prototypes(copy, "cat,cow", HashingEncoder())
    zs.build_prototypes(copy, "cat,cow", HashingEncoder(), force=True)
    assert len(list((copy / "segments").iterdir())) == 2
    killed = tmp_path / "killed" / "segments" / "0123456789ab"
    killed.mkdir(parents=True)
    (killed / "vectors.npy").touch()
    zs.build_prototypes(tmp_path / "killed", "cat,cow", HashingEncoder())
    assert not killed.exists()


def test_one_writer_at_a_time(tmp_path: Path, backend: FaissBackend) -> None:
    class Second(HashingEncoder):
        def encode_texts(self, texts: list[str]) -> np.ndarray:  # type: ignore[override]
            with pytest.raises(IndexFolderError, match="another process is writing"):
                zs.build_prototypes(tmp_path / "p", "cow,hen", HashingEncoder())
            return super().encode_texts(texts)

    zs.build_prototypes(tmp_path / "p", "cat,dog", Second())
    assert indexes.open_prototypes(tmp_path / "p", backend).prompts.class_names == ("cat", "dog")


def test_a_reader_never_sees_a_half_while_indexes_are_replaced(tmp_path: Path, backend: FaissBackend) -> None:
    """A real second process replaces the index again and again while this one opens it."""
    out = tmp_path / "p"
    zs.build_prototypes(out, "cat,dog", HashingEncoder())
    code = (
        "import sys; import zsretrieve as zs; from kits.hashing_encoder import HashingEncoder\n"
        "for i in range(60): zs.build_prototypes(sys.argv[1], ['a'] * (i % 3 + 2), HashingEncoder(), force=True)"
    )
    kits = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen([sys.executable, "-c", code, out], env=kits)
    opened = 0
    while writer.poll() is None:
        prototypes = indexes.open_prototypes(out, backend)
        assert len(prototypes.prompts.class_names) == len(prototypes.index) in (2, 3, 4)
        opened += 1
    assert writer.returncode == 0
    assert opened > 20


def test_segments_are_searched_where_they_lie(tmp_path: Path, backend: FaissBackend) -> None:
    """While all their rows count in the order of their ids, nothing is copied; else the FAISS file is read."""
    photos, more = pictures(tmp_path / "photos", 60), pictures(tmp_path / "more", 6, first=60)
    out = tmp_path / "gallery"
    zs.build_gallery(photos, out, HashingEncoder())

    def parts() -> list[np.ndarray]:
        opened = indexes.open_gallery(out, backend)
        assert isinstance(opened.index, FaissFlatIndex)
        found = opened.index.search(opened.vectors, 1)[1][:, 0]
        np.testing.assert_array_equal(found, np.arange(len(opened.items)))
        return opened.index._aligned()

    def is_mapped(part: np.ndarray) -> bool:
        return not part.flags.writeable

    assert [(len(part), is_mapped(part)) for part in parts()] == [(60, True)]
    zs.add(out, more, HashingEncoder())
    assert [(len(part), is_mapped(part)) for part in parts()] == [(60, True), (6, True)]
    zs.remove(out, where="id = 7")
    assert [(len(part), is_mapped(part)) for part in parts()] == [(65, False)]

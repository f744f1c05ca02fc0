from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import Run
from kits.archives import digests, digests_in_a_fresh_process, one_zip, tables, two_tars, write_parquet, write_tar
from kits.images import picture, png
from kits.servers import Plain, Ranges, Redirects, serving

import zsretrieve as zs
from zsretrieve.domain.errors import ImageError, SourceError
from zsretrieve.images import opening
from zsretrieve.images.archives import remote as remote_files


@pytest.fixture(params=[Ranges, Plain])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served", request.param) as url:
        yield tmp_path / "served", url


def test_over_http(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    picture(folder / "photos" / "a cat" / "1 é.png")
    picture(folder / "photos" / "dog" / "2.png")
    picture(folder / "photos" / ".hidden" / "3.png")
    two_tars(folder)
    one_zip(folder)
    tables(folder)
    source = zs.open_source([f"{url}/photos/"])
    assert [(file.path, file.label) for file in source.files] == [
        ("a%20cat/1%20%C3%A9.png", "a cat"),
        ("dog/2.png", "dog"),
    ]
    assert source.root == f"{url}/photos"
    assert digests(source) == [
        hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("photos/[ad]*/*"))
    ]
    assert opening.state(source.address(source.files[1])).mtime_ns // 10**9 == int(
        (folder / "photos/dog/2.png").stat().st_mtime
    )
    for where, local in (
        ([f"{url}/photos.zip"], [folder / "photos.zip"]),
        ([f"{url}/train-{{0000..0001}}.tar"], [folder / "train-0000.tar", folder / "train-0001.tar"]),
        ([f"{url}/data/train-00001-of-00002.parquet"], [folder / "data" / "train-00001-of-00002.parquet"]),
    ):
        remote, here = zs.open_source(where), zs.open_source(local)
        assert [(f.path, f.label) for f in remote.files] == [(f.path, f.label) for f in here.files]
        assert remote.root == here.root.replace(str(folder), url)
        assert digests(remote) == digests(here) == digests_in_a_fresh_process(remote, tmp_path)
        assert remote.origin is not None
        assert zs.open_source([remote.origin]) == remote
        assert opening.state(remote.address(remote.files[0])).bytes == len(
            opening.read(remote.address(remote.files[0])).data
        )
    single = zs.open_source([f"{url}/photos/dog/2.png"])
    assert single.address(single.files[0]) == f"{url}/photos/dog/2.png"
    assert opening.read(single.address(single.files[0])).data == (folder / "photos/dog/2.png").read_bytes()
    with pytest.raises(ImageError, match="no such file"):
        opening.read(f"{url}/photos/dog/3.png")
    assert opening.is_missing(f"{url}/photos/dog/3.png")
    assert opening.is_missing(f"{url}/none.tar!/1.png")
    assert not opening.is_missing("http://127.0.0.1:9/1.png")
    assert not opening.is_missing("http://127.0.0.1:9/x.tar!/1.png")
    with pytest.raises(SourceError, match=r"there is no .*/none.tar"):
        zs.open_source([f"{url}/none.tar"])
    with pytest.raises(SourceError, match=r"no images below|there is no"):
        zs.open_source([f"{url}/nothing/"])


def test_large_archives_over_http_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_files, "_SMALL_BYTES", 0)
    two_tars(tmp_path)
    one_zip(tmp_path)
    tables(tmp_path)
    for name in ("photos.zip", "train-0001.tar", "data/train-00001-of-00002.parquet"):
        with serving(tmp_path, Ranges) as url:
            here, remote = zs.open_source([tmp_path / name]), zs.open_source([f"{url}/{name}?signature=a/b"])
            assert [file.label for file in remote.files] == [file.label for file in here.files]
            assert digests(remote) == digests(here)
            assert remote.origin is not None
            assert zs.open_source([remote.origin]) == remote
        with serving(tmp_path) as url, pytest.raises(SourceError, match="cannot be read in parts"):
            zs.open_source([f"{url}/{name}"])


def test_a_server_that_is_not_there(run_cli: Run, tmp_path: Path) -> None:
    for where in ("http://127.0.0.1:9/photos/", "http://127.0.0.1:9/x.tar", "nosuch://x/y", "s3://bucket/photos"):
        done = run_cli("index", "gallery", where, tmp_path / "g", "--model", "demo")
        assert done.returncode == 1
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"], done.stderr
    assert "s3fs" in done.stderr
    with pytest.raises(ImageError, match="cannot be fetched"):
        opening.read("http://127.0.0.1:9/a.png")


def test_in_memory_and_file_urls(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/in/cat/1.png", png(1))
    memory.pipe("/bucket/in/2.png", png(2))
    memory.pipe("/bucket/x.tar", write_tar(tmp_path / "x.tar", {"3.png": png(3)}).read_bytes())
    memory.pipe("/bucket/t/x.parquet", write_parquet(tmp_path / "x.parquet", [png(4)], pa.array([1])).read_bytes())
    source = zs.open_source(["memory://bucket/in"])
    assert [(f.path, f.label) for f in source.files] == [("2.png", None), ("cat/1.png", "cat")]
    assert digests(source) == [hashlib.sha256(png(n)).hexdigest() for n in (2, 1)]
    assert opening.state("memory://bucket/in/2.png").bytes == len(png(2))
    for where, number in (("memory://bucket/x.tar", 3), ("memory://bucket/t", 4)):
        found = zs.open_source([where])
        assert digests(found) == [hashlib.sha256(png(number)).hexdigest()]
        assert zs.open_source([found.origin or ""]) == found
    listed = zs.open_source(["-"], standard_input=["memory://bucket/in/2.png\n", "memory://bucket/x.tar!/3.png\n"])
    assert digests(listed) == [hashlib.sha256(png(n)).hexdigest() for n in (2, 3)]
    assert zs.open_source([f"file://{tmp_path}/x.tar"]).root == str(tmp_path)
    with pytest.raises(SourceError, match="different places"):
        zs.open_source(["memory://bucket/x.tar", tmp_path / "x.tar"])
    with pytest.raises(ImageError, match=r"is a folder|no such file"):
        opening.read("memory://bucket/in")


def test_a_redirect_does_not_lead_into_the_own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    with serving(tmp_path, Redirects) as url:
        assert opening.read(f"{url}/to/localhost/a.png").data == (tmp_path / "a.png").read_bytes()

        async def is_internal(host: str) -> bool:
            return host == "127.0.0.1"

        monkeypatch.setattr(remote_files, "_is_internal", is_internal)  # as if localhost were on the internet
        outside = url.replace("127.0.0.1", "localhost")
        assert opening.read(f"{outside}/to/localhost/a.png").data
        with pytest.raises(ImageError, match=r"it redirects to the internal address 127\.0\.0\.1"):
            opening.read(f"{outside}/to/127.0.0.1/a.png")
        with pytest.raises(ImageError, match=r"it redirects to the internal address 127\.0\.0\.1"):
            opening.read(f"{outside}/uri/127.0.0.1/a.png")


@pytest.mark.parametrize(
    ("host", "internal"),
    [
        ("127.0.0.1", True), ("localhost", True), ("10.1.2.3", True), ("192.168.0.1", True), ("169.254.169.254", True),
        ("::1", True), ("fe80::1", True), ("0.0.0.0", True), ("::ffff:127.0.0.1", True), ("2130706433", True),
        ("8.8.8.8", False), ("2606:4700::1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_internal(host: str, internal: bool) -> None:
    assert asyncio.run(remote_files._is_internal(host)) is internal

"""Packs of real models: the same vectors as the engine they came from, whole or not at all, without torch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from kits.encoder_kit import TEXTS, pictures
from kits.families import write_family
from kits.models import write_model
from kits.packs import described, members_of, signed, written
from kits.waiting import PATIENCE_S
from kits.without import EXTRAS, without

import zsretrieve as zs
from zsretrieve.domain.errors import DeviceError, OutputExistsError, WeightsUnavailableError
from zsretrieve.domain.vectors import unit_rows
from zsretrieve.encoders import device_trial
from zsretrieve.encoders.catalog import fingerprint
from zsretrieve.encoders.catalog.model_name import DEMO_FOLDER, DEMO_PACK
from zsretrieve.encoders.catalog.pack import read_pack
from zsretrieve.encoders.openvino import encoder as openvino_encoder
from zsretrieve.system import cache_dir

ROOT = Path(__file__).resolve().parents[3]
FP32 = zs.Compute(precision="fp32")
BF16 = zs.Compute(precision="bf16")
KILLED_WHILE = """
import sys, time
from zsretrieve.encoders.openvino import packing
def stop(*arguments):
    print("unpacked", flush=True)
    time.sleep(60)
packing._check = stop
import zsretrieve as zs
zs.Model(sys.argv[1]).load()
"""
LOAD = """
import sys
from zsretrieve.encoders.openvino import packing
check = packing._check
def reported(*arguments):
    print("unpacking", flush=True)
    check(*arguments)
packing._check = reported
import zsretrieve as zs
print(zs.Model(sys.argv[1], zs.Compute(precision="fp32")).load().encode_texts(["a red circle"]).tobytes().hex())
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSRETRIEVE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    return Path(shutil.copy(DEMO_PACK, tmp_path / "demo.pack"))


def vectors(model: str, compute: zs.Compute) -> tuple[np.ndarray, np.ndarray]:
    encoder = zs.Model(model, compute).load()
    return encoder.encode_prepared([encoder.prepare(one) for one in pictures()]), encoder.encode_texts(TEXTS)


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("family", ["clip-vit", "siglip"])
def test_a_pack_gives_the_vectors_of_the_model_that_it_was_made_from(cache: Path, tmp_path: Path, family: str) -> None:
    model, pack = f"local-dir:{write_family(family, tmp_path / family)}", f"pack:{tmp_path / 'a.pack'}"
    (tmp_path / family / "LICENSE").write_text("For tests.")
    assert zs.export_pack(model, tmp_path / "a.pack") == tmp_path / "a.pack"
    described = zs.describe_model(pack)
    assert (described["made_from"], described["license_text"]) == (f"local-dir:{family}", "For tests.")
    assert str(tmp_path).encode() not in (tmp_path / "a.pack").read_bytes()
    before = [vectors(model, compute) for compute in (FP32, BF16)]
    one, other = (zs.Model(name, FP32).load() for name in (model, pack))
    assert one.space == other.space
    assert one.head == other.head
    # As on another machine: with nothing but the pack.
    shutil.rmtree(tmp_path / family)
    shutil.rmtree(cache)
    for compute, (images, texts) in zip((FP32, BF16), before, strict=True):
        np.testing.assert_array_equal(vectors(pack, compute)[0], images)
        np.testing.assert_array_equal(vectors(pack, compute)[1], texts)
    # A pack of a pack is the same file.
    zs.export_pack(pack, tmp_path / "b.pack")
    assert (tmp_path / "b.pack").read_bytes() == (tmp_path / "a.pack").read_bytes()

    zs.export_pack(pack, tmp_path / "half.pack", half=True)
    assert read_pack(tmp_path / "half.pack").precision == "bf16"
    assert (tmp_path / "half.pack").stat().st_size < 0.75 * (tmp_path / "a.pack").stat().st_size
    for exact, half in zip(before[1], vectors(f"pack:{tmp_path / 'half.pack'}", BF16), strict=True):
        assert (exact * half).sum(axis=1).min() > 0.999


def test_a_pack_of_rounded_weights_claims_no_more_than_bf16(
    cache: Path, tmp_path: Path, scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = f"pack:{zs.export_pack('demo', tmp_path / 'half.pack', half=True)}"
    for precision in ("fp32", "int8"):
        with pytest.raises(DeviceError, match=f"are stored in bf16, so it has no {precision}"):
            zs.Model(pack, zs.Compute(precision=precision)).load()
    monkeypatch.setattr(device_trial, "check", lambda device: None)
    with pytest.raises(DeviceError, match="so it has no fp16") as refused:
        zs.Model(pack, zs.Compute("intel-gpu")).load()
    assert refused.value.hint == "Use `device` cpu, or a pack that was made without `half`."
    # Where the processor has no bf16, rounded weights are no more exact for being computed with in fp32.
    monkeypatch.setattr(openvino_encoder, "runs_bf16", lambda: False)
    for compute in (zs.Compute(), BF16):
        encoder = zs.Model(pack, compute).load()
        assert (encoder.encoding.precision, encoder.text_encoding.precision) == ("bf16", "bf16")
    # A gallery in fp32 asks for queries in fp32, which this pack does not have.
    source = sorted(scene_folder.rglob("*.png"))[:4]
    zs.build_gallery(source, tmp_path / "gallery", zs.Model("demo", FP32))
    exact, rounded = (zs.search(tmp_path / "gallery", "a red circle", model=zs.Model(name)) for name in ("demo", pack))
    assert [hit.score for hit in exact] != [hit.score for hit in rounded]
    np.testing.assert_allclose([hit.score for hit in exact], [hit.score for hit in rounded], atol=0.02)


def test_the_bundled_pack_is_what_the_script_makes_of_the_bundled_model(tmp_path: Path) -> None:
    made = tmp_path / "demo.pack"
    subprocess.run([sys.executable, ROOT / "scripts" / "demo_pack", made], check=True, capture_output=True)
    ours, theirs = read_pack(DEMO_PACK), read_pack(made)
    assert (ours.model, ours.space, ours.head, ours.licence) == (
        theirs.model,
        theirs.space,
        theirs.head,
        theirs.licence,
    )
    for bundled, fresh in zip(vectors("demo", FP32), vectors(f"pack:{made}", FP32), strict=True):
        np.testing.assert_allclose(bundled, fresh, atol=1e-5)
    if ours.made_by == theirs.made_by:
        assert ours.members == theirs.members


def test_the_bundled_pack_gives_open_clips_vectors() -> None:
    name = f"local-dir:{DEMO_FOLDER}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    model.eval()
    with torch.no_grad():
        images = model.encode_image(torch.stack([preprocess(image) for image in pictures()])).numpy()
        texts = model.encode_text(open_clip.get_tokenizer(name)(TEXTS)).numpy()
    ours = vectors("demo", FP32)
    np.testing.assert_allclose(ours[0], unit_rows(images), atol=1e-5)
    np.testing.assert_allclose(ours[1], unit_rows(texts), atol=1e-5)
    torch_space = zs.Model("demo", zs.Compute(device="cpu", engine="torch")).load().space
    assert zs.Model("demo", FP32).load().space == torch_space


def test_a_folder_of_the_members_is_a_pack_too(
    cache: Path, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(tmp_path / "folder")
    monkeypatch.chdir(tmp_path)
    expected = vectors("demo", FP32)
    for ours, theirs in zip(vectors("pack:folder", FP32), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    (tmp_path / "folder" / "README").touch()
    assert zs.Model("pack:folder").load().space.model == f"pack:{tmp_path / 'folder'}"
    content = bytearray((tmp_path / "folder" / "text.bin").read_bytes())
    content[1000] ^= 1
    (tmp_path / "folder" / "text.bin").write_bytes(content)
    with pytest.raises(WeightsUnavailableError, match=r"its member text\.bin differs from its digest"):
        zs.Model("pack:folder").load()
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {*read_pack(pack).members, "pack.json", "README"}


def test_an_index_built_with_one_is_searched_with_the_other(
    cache: Path, pack: Path, tmp_path: Path, scene_folder: Path
) -> None:
    source = sorted(scene_folder.rglob("*.png"))[:6]
    torch_model = zs.Model("demo", zs.Compute(device="cpu", precision="fp32", engine="torch"))
    for number, model in enumerate((torch_model, zs.Model("demo", FP32), zs.Model(f"pack:{pack}", FP32))):
        zs.build_gallery(source, gallery := tmp_path / str(number), model)
        with_pack, with_demo, with_its_own = (
            [(hit.id, hit.score) for hit in zs.search(gallery, "a red circle", model=name)]
            for name in (f"pack:{pack}", "demo", None)
        )
        assert len(with_pack) == 6
        assert with_pack == with_demo == with_its_own
        torch_hits = zs.search(gallery, "a red circle", model=torch_model)
        assert [hit.id for hit in torch_hits] == [place for place, _ in with_pack]
    assert zs.read_manifest(gallery).space.model == f"pack:{pack}"


def test_everything_runs_from_a_pack_without_torch(tmp_path: Path, scene_folder: Path, pack: Path) -> None:
    (tmp_path / "list").write_text("".join(f"{path}\n" for path in sorted(scene_folder.rglob("*.png"))[:4]))
    code = (
        "import json, sys, zsretrieve as zs\n"
        "model, out, source = sys.argv[1:]\n"
        "zs.build_gallery(source, f'{out}/gallery', model)\n"
        "zs.build_prototypes(f'{out}/prototypes', ['red circle', 'blue star'], model)\n"
        "hits = zs.search(f'{out}/gallery', 'a red circle')\n"
        "classified = zs.classify(source, f'{out}/prototypes')\n"
        "shown = zs.describe_model(model)\n"
        "assert 'openvino' in sys.modules\n"
        "print(json.dumps([[hit.score for hit in hits], len(classified.results), shown['form']]))\n"
    )
    results = []
    for number, model in enumerate(("demo", f"pack:{pack}")):
        out = tmp_path / str(number)
        out.mkdir()
        command = [sys.executable, "-c", code, model, out, f"@{tmp_path / 'list'}"]
        env = without(*EXTRAS, "huggingface_hub", ZSRETRIEVE_CACHE=str(tmp_path / f"cache{number}"))
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        results.append(json.loads(done.stdout.splitlines()[-1]))
    assert results[0] == results[1]
    assert results[0][1:] == [4, "pack"]


@pytest.mark.parametrize("member", ["image.xml", "text.bin"])
def test_a_damaged_member_is_refused_by_name_also_after_the_pack_was_used(cache: Path, pack: Path, member: str) -> None:
    zs.Model(f"pack:{pack}").load()
    content = members_of(pack)
    with zipfile.ZipFile(pack) as archive:
        place = archive.getinfo(member).header_offset + 200
    raw = bytearray(pack.read_bytes())
    raw[place] ^= 1
    pack.write_bytes(raw)
    with pytest.raises(WeightsUnavailableError, match=f"its member {member} differs from its checksum"):
        zs.Model(f"pack:{pack}").load()
    content[member] = content[member][:200] + bytes([content[member][200] ^ 1]) + content[member][201:]
    written(content, pack)  # with checksums that fit
    with pytest.raises(WeightsUnavailableError, match=f"its member {member} differs from its digest"):
        zs.Model(f"pack:{pack}").load()
    assert len([path for path in (cache / "models").iterdir() if path.is_dir()]) == 1


def test_members_that_do_not_fit_each_other_are_refused(cache: Path, pack: Path) -> None:
    sound = members_of(pack)
    other = sound["text.json"].replace(b'"context_length": 32', b'"context_length": 33')
    for members, why in [
        ({"text.xml": sound["image.xml"], "text.bin": sound["image.bin"]}, "its member text.xml does not fit"),
        ({"text.xml": b"<net>"}, "OpenVINO cannot read its member text.xml"),
        ({"text.bin": sound["image.bin"]}, "OpenVINO cannot read its member text.xml"),
        ({"text.json": b"{}"}, "its tokenizer cannot be read"),
        ({"text.json": other}, "its tokenizer does not fit"),
    ]:
        written(described({**sound, **members}), pack)
        with pytest.raises(WeightsUnavailableError, match=why):
            zs.Model(f"pack:{pack}").load()
    assert [path for path in (cache / "models").iterdir() if path.is_dir()] == []


def claiming(size: int) -> dict[str, bytes]:
    """A pack whose manifest says more of a member than there is."""
    members = described({**members_of(), "text.xml": b"x"})
    content = json.loads(members["pack.json"])
    content["members"]["text.xml"]["size"] = size
    return {**members, "pack.json": signed(content)}


def test_a_pack_that_does_not_fit_on_the_disk_is_refused(
    cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(pack)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: free)
    with pytest.raises(zs.DeviceError, match=r"takes \d+ MB: .* has 0 MB free"):
        zs.Model(f"pack:{pack}").load()
    assert [path for path in (cache / "models").iterdir() if path.is_dir()] == []


def test_a_member_that_claims_more_than_the_file_holds_is_refused(cache: Path, pack: Path) -> None:
    raw = bytearray(written(claiming(100_000_000), pack).read_bytes())
    place = raw.rindex(b"text.xml") - 46  # of its entry in the zip's directory
    assert raw[place : place + 4] == b"PK\x01\x02"
    raw[place + 20 : place + 28] = struct.pack("<II", 100_000_000, 100_000_000)
    pack.write_bytes(raw)
    with pytest.raises(WeightsUnavailableError, match=r"its member text\.xml ends \d+,\d+,\d+ bytes too early"):
        zs.Model(f"pack:{pack}").load()
    assert [path for path in (cache / "models").iterdir() if path.is_dir()] == []


def test_other_content_at_the_same_path_is_another_model(cache: Path, pack: Path, tmp_path: Path) -> None:
    first = zs.Model(f"pack:{pack}").load()
    zs.export_pack(f"local-dir:{write_model('vit-quickgelu', tmp_path / 'model')}", pack, force=True)
    second = zs.Model(f"pack:{pack}").load()
    assert (first.space.dim, second.space.dim) == (128, 32)
    assert first.space.model == second.space.model
    assert {entry.name for entry in zs.clear_cache(f"pack:{pack}")} == {f"pack:{pack}"}


def test_a_pack_is_hashed_once(cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_SETTLED_NS", 0)
    zs.Model(f"pack:{pack}").load()
    zs.Model(f"pack:{pack}").load()
    hashed: list[Path] = []
    monkeypatch.setattr(fingerprint, "sha256_of", lambda path: hashed.append(path))
    zs.Model(f"pack:{pack}").load()
    assert hashed == []


def test_two_processes_unpack_once(cache: Path, pack: Path) -> None:
    both = [start(LOAD, f"pack:{pack}") for _ in range(2)]
    done = [process.communicate(timeout=PATIENCE_S) for process in both]
    assert len({out.split()[-1] for out, _ in done}) == 1
    assert sum("unpacking" in out for out, _ in done) == 1


def test_unpacking_that_was_killed_leaves_nothing_in_use(cache: Path, pack: Path) -> None:
    process = start(KILLED_WHILE, f"pack:{pack}")
    assert process.stdout is not None
    while "unpacked" not in process.stdout.readline():
        assert process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert any(cache_dir.PART in path.name for path in (cache / "models").iterdir())
    assert zs.cached_models() == []
    assert zs.Model(f"pack:{pack}").load().encoding.engine == "openvino"
    assert len([path for path in (cache / "models").iterdir() if path.is_dir()]) == 1


def test_a_pack_runs_on_the_cpu_alone(pack: Path) -> None:
    for compute, option in [
        (zs.Compute(device="cuda"), "`device` cuda"),
        (zs.Compute(engine="torch"), "`engine` torch"),
        (zs.Compute(device="cpu", compile=True), "`compile`"),
    ]:
        with pytest.raises(DeviceError, match=f"runs in OpenVINO on the CPU, not with {option}"):
            zs.Model(f"pack:{pack}", compute)
        with pytest.raises(DeviceError, match=f"not with {option}"):
            zs.Model(compute=compute).named(f"pack:{pack}").load()


def test_a_pack_replaces_only_a_pack(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="is not a pack of this form"):
        zs.export_pack("demo", tmp_path / "notes.txt", force=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    zs.export_pack("demo", tmp_path / "a.pack")
    with pytest.raises(OutputExistsError, match="there is already a pack"):
        zs.export_pack("demo", tmp_path / "a.pack")
    zs.export_pack("demo", tmp_path / "a.pack", force=True)
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "a.pack", "cache"}

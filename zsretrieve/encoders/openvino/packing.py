"""Writing a converted model into a pack, and unpacking one into the cache."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.errors import CacheError
from zsretrieve.domain.settings import Precision
from zsretrieve.encoders.catalog import pack as packs
from zsretrieve.encoders.catalog.fingerprint import sha256_of
from zsretrieve.encoders.catalog.model_name import ModelName, NameForm
from zsretrieve.encoders.catalog.pack import MANIFEST, Licence, Member, Opened, Pack, damaged
from zsretrieve.encoders.catalog.published import published_model
from zsretrieve.encoders.openvino import model_cache
from zsretrieve.encoders.openvino.model_cache import IMAGE, TEXT, ConvertedModel
from zsretrieve.encoders.openvino.runtime import openvino
from zsretrieve.encoders.text.tokenizer import TextTokenizer
from zsretrieve.system.cache_dir import writing

_CHUNK = 1 << 20
# The same for every pack, so that the same model gives the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)
# Smaller constants are no weights worth halving, and some are factors that must stay exact.
_LEAST_HALVED = 4096
# What multiplies or looks up weights: in bf16 these round them themselves, so rounding them before changes nothing.
_READS_WEIGHTS = frozenset({"MatMul", "Convolution", "GroupConvolution", "Gather"})


@dataclass(frozen=True)
class Origin:
    """Where a pack comes from: the name of the model, its licence, and the versions of what converted it."""

    model: str
    licence: Licence | None
    licence_text: Path | None
    made_by: Mapping[str, str]


def origin_of(name: ModelName, model: ConvertedModel) -> Origin:
    """What a pack of a converted model says of its origin, without paths of this machine.

    Raises WeightsUnavailableError if the model is a pack itself that cannot be read.
    """
    if name.pack is not None:
        pack = packs.read_pack(name.pack)
        return Origin(pack.model, pack.licence, None, pack.made_by)
    licence = text = None
    written = name.in_manifest
    if name.form is NameForm.TAG:
        figures = published_model(str(name.arch), name.rest)
        if figures is not None and figures.license is not None:
            licence = Licence(figures.license, figures.license_source)
    elif name.form in (NameForm.LOCAL, NameForm.CHECKPOINT):
        written = written.replace(name.rest, Path(name.rest).name)
        text = next((path for path in sorted(Path(name.rest).glob("LICEN[CS]E*")) if path.is_file()), None)
    return Origin(written.encode("ascii", "replace").decode(), licence, text, model_cache.made_by(model))


def write(model: ConvertedModel, origin: Origin, out: Path, *, half: bool) -> None:
    """Write a converted model into a pack at ``out``; the same model gives the same bytes.

    With ``half``, the large weights are rounded to bf16. Raises OSError if it cannot be written.
    """
    assert model.space is not None
    assert model.head is not None
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        files = {path.name: path for path in sorted(model.folder.iterdir()) if path.name in packs.MEMBERS}
        if origin.licence_text is not None:
            files[packs.LICENCE_TEXT] = origin.licence_text
        if half and not model.half:
            for name in (IMAGE, TEXT):
                for path in _halved(files[name], Path(scratch) / name):
                    files[path.name] = path
        pack = Pack(
            model=origin.model,
            space=model.space,
            head=model.head,
            causal=model.causal,
            precision=Precision.BF16 if half or model.half else Precision.FP32,
            licence=origin.licence,
            made_by=dict(origin.made_by),
            members={name: Member(path.stat().st_size, sha256_of(path)) for name, path in sorted(files.items())},
        )
        with zipfile.ZipFile(out, "w") as archive:
            with _entry(archive, MANIFEST, len(content := pack.to_bytes())) as entry:
                entry.write(content)
            for name, path in sorted(files.items()):
                with open(path, "rb") as file, _entry(archive, name, pack.members[name].size) as entry:
                    shutil.copyfileobj(file, entry, _CHUNK)


def unpack(name: ModelName, path: Path, folder: Path) -> ConvertedModel:
    """Unpack a pack into an empty folder, and check every member and that the towers fit what it says.

    Raises
    ------
    WeightsUnavailableError
        If it is damaged; the message names the member.
    CacheError
        If there is no room, or the folder cannot be written.
    """
    with packs.open_pack(path) as opened:
        pack = opened.pack
        free = shutil.disk_usage(folder).free
        if free < pack.size:
            raise CacheError(
                f"unpacking '{path}' takes {pack.size / 1e6:,.0f} MB: '{folder.parent}' has {free / 1e6:,.0f} MB free",
                hint="Free some space, or empty the cache: zsretrieve models cache clear",
            )
        for member in pack.members:
            _copy(path, opened, member, folder / member)
    _check(path, pack, folder)
    space = replace(pack.space, model=name.in_manifest)
    return ConvertedModel(folder, name.written, space, pack.head, pack.causal, half=pack.precision is Precision.BF16)


def _copy(path: Path, opened: Opened, member: str, out: Path) -> None:
    digest, left = hashlib.sha256(), opened.pack.members[member].size
    # A zip that ends too early raises EOFError, a file of a folder just ends.
    with contextlib.suppress(EOFError), opened.open(member) as file, writing(), open(out, "xb") as written:
        # Not beyond the size that the disk was found to have room for.
        while left and (chunk := file.read(min(left, _CHUNK))):
            left -= len(chunk)
            digest.update(chunk)
            written.write(chunk)
    if left:
        raise damaged(path, f"its member {member} ends {left:,} bytes too early")
    if digest.hexdigest() != opened.pack.members[member].sha256:
        raise damaged(path, f"its member {member} differs from its digest")


def _check(path: Path, pack: Pack, folder: Path) -> None:
    """Raise WeightsUnavailableError where members do not fit each other, though their digests are right."""
    height, width = pack.space.preprocessing.size
    tokens = -1 if pack.causal else pack.space.text.context_length
    for name, shape, dtype in ((IMAGE, [-1, height, width, 3], "u8"), (TEXT, [-1, tokens], "i64")):
        try:
            graph = openvino.Core().read_model(str(folder / name))
            given, features = graph.input(0), graph.output(0)
            fits = (
                len(graph.inputs) == len(graph.outputs) == 1
                and given.partial_shape == openvino.PartialShape(shape)
                and given.element_type.get_type_name() == dtype
                and features.partial_shape == openvino.PartialShape([-1, pack.space.dim])
            )
        except RuntimeError as error:
            raise damaged(path, f"OpenVINO cannot read its member {name}") from error
        if not fits:
            raise damaged(path, f"its member {name} does not fit the model that its {MANIFEST} describes")
    try:
        tokenizer = TextTokenizer.load(folder)
    except (OSError, ValueError) as error:
        raise damaged(path, "its tokenizer cannot be read") from error
    if tokenizer.context_length != pack.space.text.context_length:
        raise damaged(path, f"its tokenizer does not fit the model that its {MANIFEST} describes")


def _entry(archive: zipfile.ZipFile, name: str, size: int) -> IO[bytes]:
    info = zipfile.ZipInfo(name, _DATE)
    info.create_system, info.external_attr = 3, 0o644 << 16  # readable wherever it is unpacked
    info.file_size = size
    return archive.open(info, "w")


def _halved(path: Path, out: Path) -> Iterator[Path]:
    """Write a graph with its large weights rounded to bf16; both of its files."""
    graph = openvino.Core().read_model(str(path))
    kept = []  # a graph does not keep the arrays alive that it reads
    for constant in graph.get_ordered_ops():
        if constant.get_type_name() != "Constant" or constant.get_element_type() != openvino.Type.f32:
            continue
        readers = list(constant.output(0).get_target_inputs())
        if np.prod(constant.shape) < _LEAST_HALVED or not all(
            reader.get_node().get_type_name() in _READS_WEIGHTS for reader in readers
        ):
            continue
        rounded = _bf16(constant.data)
        kept.append(rounded)
        stored = openvino.op.Constant(openvino.Tensor(rounded, list(rounded.shape), openvino.Type.bf16))
        widened = openvino.opset13.convert(stored, "f32")
        for reader in readers:
            reader.replace_source_output(widened.output(0))
    openvino.save_model(graph, str(out), compress_to_fp16=False)
    yield from (out, out.with_suffix(".bin"))


def _bf16(weights: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of float32 numbers rounded to bfloat16, ties to even."""
    bits = weights.view(np.uint32)
    rounded: NDArray[np.uint16] = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded

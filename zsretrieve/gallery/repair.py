"""Deep verification, which encodes a sample again, and repair, which saves what can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve.domain.encodings import joined_encoding
from zsretrieve.domain.errors import ImageError, IntegrityError, SourceError
from zsretrieve.domain.kinds import Approximate
from zsretrieve.domain.plain import Result
from zsretrieve.domain.pooling import pool_prompts
from zsretrieve.domain.ports import IndexBackend, OnProgress, OnStage, progress_of
from zsretrieve.domain.records import Damage, Encoding, IndexKind, Manifest
from zsretrieve.domain.regions import boxes_of
from zsretrieve.domain.settings import Reading
from zsretrieve.domain.vectors import Rows, Vectors
from zsretrieve.domain.wording import counted
from zsretrieve.encoders.image_sides import gallery_space
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import encode_texts_once
from zsretrieve.encoding.regions import TiledModel
from zsretrieve.encoding.texts import batches
from zsretrieve.images import opening
from zsretrieve.images.decoding import decode
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store import files, index_files, indexes, making, maps, moving, prototype_files, rows
from zsretrieve.store import manifest as manifests
from zsretrieve.store.folder import SEGMENTS, Writer, repairing
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.store.key_values import KEYS, VALUES, read_key_values
from zsretrieve.store.salvage import Salvage, ids_in, salvage
from zsretrieve.store.verify import verify

# The least cosine between vectors of one image from two engines, precisions or batch sizes (docs/engines.md).
_LEAST_COSINE = 0.999
# In int8 a few images lose far more than the rest, so the most that was measured on a hundred of them or fewer is not
# the most there is: this many times as much is allowed, and this much more. Other images are further apart.
_INT8_TIMES, _INT8_MORE = 3.0, 0.05
# Manifests of older versions have the mean alone; the most lost is about this many times as much.
_INT8_MOST_BY_MEAN = 3.0
# Whatever int8 may lose, vectors less near than this are of other images.
_FLOOR = 0.85

# The share of images that an approximate index finds by their own vectors, if it is sound, and the error of a cosine.
_LEAST_FOUND, _ROUNDING = 0.9, 1e-6

_FAISS_REBUILT = "the FAISS file is rebuilt from the vectors"


@dataclass(frozen=True)
class DeepCheck:
    """A sample encoded again: ``n_same`` vectors agree; ``n_changed`` files have changed or are gone."""

    n_same: int
    n_changed: int
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class Repaired(Result):
    """What a repair did.

    ``done`` describes the repairs; ``recovered`` images were encoded again; ``lost`` names what could not be saved,
    ``n_lost`` images in all.
    """

    done: tuple[str, ...]
    recovered: int = 0
    lost: tuple[str, ...] = ()
    n_lost: int = 0


def deep_check(opened: Gallery | Prototypes, model: Model, *, sample: int, seed: int = 0) -> DeepCheck:
    """See ``api.repair.verify_deep``; a cosine of 0.999 passes, with int8 what its loss allows."""
    if opened.manifest.training is not None:
        raise SourceError(
            "these prototypes were made from images, which cannot be encoded again here",
            hint=f"Verify the files alone, and '{opened.manifest.training.source}' itself if it is a gallery.",
        )
    is_gallery = isinstance(opened, Gallery)
    encoder = model.load(gallery_space(model, opened.manifest) if is_gallery else opened.space)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(opened.index))[:sample])
    if isinstance(opened, Prototypes):
        texts = encode_texts_once(encoder, [opened.prompts.prompts[i] for i in chosen])
        cosines = _cosines(pool_prompts(texts.vectors, texts.rows), opened.vectors[chosen])
        names = [f"class '{opened.prompts.class_names[i]}'" for i in chosen]
        return _compared(names, cosines, _least_cosine(opened.manifest.encoding, encoder.text_encoding), 0)
    missed = _missed(opened, chosen)
    tiled = TiledModel(model, boxes_of(opened.manifest.regions)).load()
    reading = Reading().as_for(opened.manifest.encoding)
    again, stored, names, changed = [], [], [], 0
    for row in chosen:
        item = opened.items[row]
        if item.text is not None:
            again.append(encoder.encode_texts([item.text])[0])
        else:
            try:
                content = opening.read(opened.path_of(item))
                if item.digest not in ("", content.digest):
                    raise ImageError("changed since")
                image = decode(content, reading, encoder.space.preprocessing).image
            except ImageError:
                changed += 1
                continue
            again.append(tiled.encode_prepared([tiled.prepare(image)])[0])
        stored.append(opened.bundles(np.array([row]))[0])
        names.append(f"'{item.path}'")
    if not again:
        return DeepCheck(0, changed, missed)
    shape = (len(again), -1, opened.space.dim)
    # An image is as far from what it was as the furthest of its vectors.
    cosines = _cosines(np.stack(again).reshape(shape), np.stack(stored).reshape(shape)).min(axis=1)
    encoding = encoder.text_encoding if opened.manifest.holds_texts else encoder.encoding
    checked = _compared(names, cosines, _least_cosine(opened.manifest.encoding, encoding), changed)
    return replace(checked, damages=(*missed, *checked.damages))


def _missed(gallery: Gallery, rows: Rows) -> tuple[Damage, ...]:
    """Whether an approximate index finds images by their own vectors, as it should nearly always."""
    if gallery.approximate is None or not len(rows):
        return ()
    vectors = gallery.live.take(rows)
    nearest = gallery.live.take(gallery.nearest(vectors, 1)[0][:, 0])
    found = np.count_nonzero(_cosines(vectors, nearest) >= _cosines(vectors, vectors) - _ROUNDING)
    if found >= _LEAST_FOUND * len(rows):
        return ()
    made = gallery.approximate.made
    message = (
        f"the approximate index finds only {found} of {len(rows)} images by their own vectors; "
        f"make it again with: zsretrieve index kind GALLERY {made.kind}"
    )
    return (Damage(made.files[0] if len(made.parts) == 1 else None, message),)


def repair(
    folder: Path, backend: IndexBackend, model: Model | None = None, *, on_stage: OnStage | None = None
) -> Repaired:
    """See ``api.repair.repair``; ``model`` is loaded only if vectors are damaged, and without one they are lost."""
    damaged = {damage.file for damage in verify(folder, backend).damages}
    done: list[str] = []
    if manifests.MAP in damaged:
        maps.remove(folder)
        done.append("the damaged map is deleted; make another with: zsretrieve index map")
        damaged = {damage.file for damage in verify(folder, backend).damages}
    if not damaged:
        return Repaired(tuple(done))
    with repairing(folder) as writer:
        if writer.manifest is None:
            writer.manifest = manifests.read_either(folder)
            done.append("the manifest is restored from its copy")
        manifest = writer.manifest
        if manifests.COPY in damaged:
            done.append("the copy of the manifest is renewed")
        bad = {damage.file for damage in files.check(folder, manifest, deep=True)}
        if manifest.kind is IndexKind.PROTOTYPES:
            return Repaired((*done, *_repair_prototypes(writer, manifest, bad, backend, model)))
        saved = salvage(folder, manifest, bad)
        encoded: dict[int, Vectors] = {}
        encoding = manifest.encoding
        if model and saved.without_vector:
            encoder = model.load(gallery_space(model, manifest))
            joined = joined_encoding(encoding, encoder.text_encoding if manifest.holds_texts else encoder.encoding)
            encoded = _encode_again(folder, saved, manifest, model, progress_of(on_stage, "encoding again"))
            encoding = joined if encoded else encoding
        live = saved.with_vectors(encoded)
        if manifest.count and not live.items:
            raise IntegrityError(
                f"nothing of the index at '{manifests.shown(folder)}' can be saved", hint=manifests.REBUILD
            )
        segments, index, nearly = manifest.segments, manifest.index, manifest.approximate
        if nearly is not None and (saved.n_damaged or not (bad | damaged).isdisjoint(nearly.files)):
            damaged.difference_update(nearly.files)
            nearly = None
        if saved.n_damaged:
            segments = (rows.write_live(writer, live),)
            done.append(
                f"{saved.n_damaged} of {counted(len(manifest.segments), 'segment')} "
                f"{'was' if saved.n_damaged == 1 else 'were'} damaged; the rest is in a new segment"
            )
        if saved.n_damaged or index in bad or damaged - {manifests.NAME, manifests.COPY}:
            index = index_files.write_index(writer, indexes.index_of(live.vectors, manifest.space.dim, backend))
            done.append(_FAISS_REBUILT)
        later = writer.set_aside(manifest) if manifests.NAME in damaged else []
        writer.commit(
            replace(
                manifest,
                encoding=encoding,
                segments=segments,
                index=index,
                approximate=nearly,
                count=len(live.items),
                next_id=max([manifest.next_id, *(1 + id_ for name in later for id_ in ids_in(folder, name))]),
            )
        )
        if manifest.approximate != nearly:
            assert manifest.approximate is not None
            done.append(_approximate_again(writer, backend, manifest.approximate, on_stage))
        writer.clean()
    set_aside = [f"segment {name}: it is of a later state than the copy, and was set aside" for name in later]
    lost_images = [item.path for item in saved.without_vector if item.id not in encoded]
    lost = (*saved.lost, *set_aside, *lost_images)
    return Repaired(tuple(done), len(encoded), lost, saved.n_lost + len(lost_images))


def _approximate_again(writer: Writer, backend: IndexBackend, old: Approximate, on_stage: OnStage | None) -> str:
    """Make the approximate index again if that is possible; returns what was done."""
    manifest = writer.manifest
    assert manifest is not None
    vectors = rows.read(writer.out, manifest).vectors
    made = making.renewed(writer, manifest, vectors, backend, on_stage, tuned=old, memory=old.memory)
    writer.commit(replace(manifest, approximate=made))
    return f"the index {manifest.factory} is {'dropped' if made is None else 'made again from the vectors'}"


def _encode_again(
    folder: Path, saved: Salvage, manifest: Manifest, model: Model, on_progress: OnProgress | None
) -> dict[int, Vectors]:
    """Vectors of the items whose own are damaged, by ID, if their images have not changed."""
    digests = {item.id: item.digest for item in saved.without_vector}
    listed = tuple(map(SourceFile.of, saved.without_vector))
    source = Source(moving.followed(folder, manifest).root or "", listed)
    encoded: dict[int, Vectors] = {}
    reading = Reading().as_for(manifest.encoding)
    boxes = boxes_of(manifest.regions)
    for batch in batches(source, listed, model, reading, lambda _digest: None, boxes):
        for seen in batch.seen:
            if seen.file.id is not None and digests[seen.file.id] in ("", seen.item.digest):
                encoded[seen.file.id] = seen.vector
        if on_progress is not None:
            on_progress(batch.done, len(listed))
    return encoded


def _repair_prototypes(
    writer: Writer, manifest: Manifest, bad: set[str | None], backend: IndexBackend, model: Model | None
) -> list[str]:
    segment = manifest.segments[0]
    where = writer.out / SEGMENTS / segment.name

    def is_bad(name: str) -> bool:
        return f"{SEGMENTS}/{segment.name}/{name}" in bad

    if is_bad(prototype_files.PROMPTS):
        raise IntegrityError(f"the prompts of '{writer.out}' are damaged", hint=manifests.REBUILD)
    if is_bad(prototype_files.DRAWN):
        raise IntegrityError(f"the list of images drawn for '{writer.out}' is damaged", hint=manifests.REBUILD)
    if is_bad(KEYS) or is_bad(VALUES):
        raise IntegrityError(f"the keys of '{writer.out}' are damaged", hint=manifests.REBUILD)
    prompts = prototype_files.read_prompts(where / prototype_files.PROMPTS)
    drawn, keys = prototype_files.read_drawn(where, manifest), read_key_values(where, manifest)
    done = []
    try:
        if is_bad(rows.VECTORS):
            raise rows.damaged(where, "its vectors have changed")
        vectors = rows.read_vectors(where, segment.rows, manifest.dim)
    except IntegrityError as error:
        if manifest.training is not None:
            raise IntegrityError(
                f"the prototypes of '{writer.out}' are damaged, and they were made from images", hint=manifests.REBUILD
            ) from error
        if model is None:
            raise
        texts = encode_texts_once(model.load(manifest.space), prompts.prompts)
        vectors = pool_prompts(texts.vectors, texts.rows)
        done.append(f"the {len(vectors)} prototypes are encoded again from their prompts")
    index = backend.create(manifest.dim)
    index.add(vectors)
    index_files.write_prototypes(writer, Prototypes(None, manifest, prompts, np.array(vectors), index, drawn, keys))
    return [*done, _FAISS_REBUILT]


def _cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    cosines: NDArray[np.float64] = np.einsum("...d,...d->...", one.astype(np.float64), other.astype(np.float64))
    return cosines


def _least_cosine(stored: Encoding, now: Encoding) -> float:
    """The least cosine of a sound vector with the stored one; which vector was computed how is not recorded."""
    if (stored.precision, stored.calibration) == (now.precision, now.calibration):
        return _LEAST_COSINE
    loss = max(_int8_loss(stored), _int8_loss(now))
    return max(_FLOOR, _LEAST_COSINE - _INT8_TIMES * loss - _INT8_MORE) if loss else _LEAST_COSINE


def _int8_loss(encoding: Encoding) -> float:
    """The most that int8 lost when it was calibrated, 0 without int8 and 1 if unknown."""
    if "int8" not in encoding.precision.split("+"):
        return 0.0
    if encoding.least_cosine_to_fp32 is not None:
        return 1 - encoding.least_cosine_to_fp32
    return 1.0 if encoding.cosine_to_fp32 is None else _INT8_MOST_BY_MEAN * (1 - encoding.cosine_to_fp32)


def _compared(names: Sequence[str], cosines: NDArray[np.float64], least: float, changed: int) -> DeepCheck:
    apart = tuple(
        Damage(None, f"{name} encodes to another vector now: cosine {cosine:.4f} with the one stored")
        for name, cosine in zip(names, cosines, strict=True)
        if not cosine >= least
    )
    return DeepCheck(len(cosines) - len(apart), changed, apart)

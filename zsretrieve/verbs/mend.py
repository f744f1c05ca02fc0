"""Deep verification, which asks the model again, and repair, which saves what can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zsretrieve import addresses
from zsretrieve.errors import ImageError, IntegrityError, SourceError
from zsretrieve.images import decode
from zsretrieve.pooling import pool_prompts
from zsretrieve.ports import Encoder, IndexBackend, MakeEncoder
from zsretrieve.records import Damage, Encoding, IndexKind, Manifest
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store import files, indexes, rows
from zsretrieve.store import manifest as passport
from zsretrieve.store.folder import SEGMENTS, Writer, repairing
from zsretrieve.store.indexes import Gallery, Prototypes, check_same_space
from zsretrieve.store.salvage import Salvage, ids_in, salvage
from zsretrieve.store.verify import verify
from zsretrieve.vectors import Vectors
from zsretrieve.verbs.ahead import Reading
from zsretrieve.verbs.encode import OnProgress, encode_batches, encode_texts_once
from zsretrieve.verbs.grow import of_both_makes

# Encoded by another engine, precision or batch the same picture has a vector this near (docs/engines.md).
_LEAST_COSINE = 0.999
# In int8 a few pictures lose far more than the rest, so that the most measured on a hundred of them or fewer is not the
# most there is: this many times as much is allowed, and so much more. Other pictures are further apart.
_INT8_TIMES, _INT8_MORE = 3.0, 0.05
# Passports of older versions tell the mean alone; the most lost is about this many times as much.
_INT8_MOST_BY_MEAN = 3.0
# Whatever int8 may lose, vectors less near than this are of other pictures.
_FLOOR = 0.85


@dataclass(frozen=True)
class DeepCheck:
    """A sample encoded again: ``n_same`` vectors agree; ``n_changed`` files are not what they were, or not there."""

    n_same: int
    n_changed: int
    damages: tuple[Damage, ...]


@dataclass(frozen=True)
class Repaired:
    """What a repair did: ``done`` in words; ``recovered`` pictures were encoded again; ``lost`` names what could not be
    saved, ``n_lost`` pictures in all.
    """

    done: tuple[str, ...]
    recovered: int = 0
    lost: tuple[str, ...] = ()
    n_lost: int = 0


def deep_check(opened: Gallery | Prototypes, encoder: Encoder, *, sample: int, seed: int = 0) -> DeepCheck:
    """Encode a random sample again and compare; cosine 0.999 or more passes, with int8 what its loss allows.

    Raises
    ------
    SpaceMismatchError
        If the encoder is of another space.
    SourceError
        If it holds prototypes that were made from pictures, which it does not keep.
    """
    check_same_space(opened.space, "the index", encoder.space, "the encoder")
    if opened.manifest.training is not None:
        raise SourceError(
            "these prototypes were made from images, which cannot be encoded again here",
            hint=f"Verify without --deep, and '{opened.manifest.training.source}' itself if it is a gallery.",
        )
    size = len(opened.index)
    chosen = np.sort(np.random.default_rng(seed).permutation(size)[:sample])
    if isinstance(opened, Prototypes):
        texts = encode_texts_once(encoder, [opened.prompts.prompts[i] for i in chosen])
        cosines = _cosines(pool_prompts(texts.vectors, texts.rows), opened.vectors[chosen])
        names = [f"class '{opened.prompts.class_names[i]}'" for i in chosen]
        return _compared(names, cosines, _least_cosine(opened.manifest.encoding, encoder.text_encoding), 0)
    reading = Reading().as_for(opened.manifest.encoding)
    again, stored, names, changed = [], [], [], 0
    for row in chosen:
        item = opened.items[row]
        try:
            content = addresses.read(opened.path_of(item))
            if content.digest != item.digest and item.digest:
                raise ImageError("changed since")
            fast_for = encoder.space.preprocessing if reading.fast else None
            picture = decode(content, exif=reading.exif, fast_for=fast_for)
        except ImageError:
            changed += 1
            continue
        again.append(encoder.encode_prepared([encoder.prepare(picture.image)])[0])
        stored.append(opened.live.take(np.array([row]))[0])
        names.append(f"'{item.path}'")
    if not again:
        return DeepCheck(0, changed, ())
    cosines = _cosines(np.stack(again), np.stack(stored))
    return _compared(names, cosines, _least_cosine(opened.manifest.encoding, encoder.encoding), changed)


def repair(
    folder: Path,
    backend: IndexBackend,
    encoder: MakeEncoder | None = None,
    *,
    on_progress: OnProgress | None = None,
) -> Repaired:
    """Rebuild what is derived, encode again what a damaged segment held, and say what is lost.

    The FAISS file is made from the vectors. Vectors that are damaged are made again from the pictures, under the same
    ids, where those are what they were; pictures of which that is not so are taken out of the gallery and told. A
    damaged passport is taken from its copy.

    Parameters
    ----------
    encoder : callable, optional
        Gives the encoder; called only if vectors are damaged. None: nothing is encoded, such pictures are lost.
    on_progress : callable, optional
        Called with (pictures encoded again, those to encode).

    Raises
    ------
    IndexFormatError
        If neither the passport nor its copy is sound.
    IntegrityError
        If nothing can be saved.
    SpaceMismatchError
        If the encoder is of another space, or of another calibration in int8.
    """
    verdict = verify(folder, backend)
    if not verdict.damages:
        return Repaired(())
    done: list[str] = []
    found = {damage.file for damage in verdict.damages}
    with repairing(folder) as writer:
        if writer.manifest is None:
            writer.manifest = passport.read_either(folder)
            done.append("the passport is restored from its copy")
        manifest = writer.manifest
        if passport.COPY in found:
            done.append("the copy of the passport is renewed")
        bad = {damage.file for damage in files.check(folder, manifest, deep=True)}
        if manifest.kind is IndexKind.PROTOTYPES:
            return Repaired((*done, *_repair_prototypes(writer, manifest, bad, backend, encoder)))
        saved = salvage(folder, manifest, bad)
        made: dict[int, Vectors] = {}
        encoding = manifest.encoding
        if encoder and saved.without_vector:
            used = encoder()
            joined = of_both_makes(encoding, used.encoding)
            made = _encode_again(saved, manifest, used, on_progress)
            encoding = joined if made else encoding
        lost = list(saved.lost)
        unmade = [item.path for item in saved.without_vector if item.id not in made]
        live = saved.mended(made)
        if manifest.count and not live.items:
            raise IntegrityError(f"nothing of the index at '{folder}' can be saved", hint=passport.REBUILD)
        segments = manifest.segments
        if saved.n_damaged:
            segments = (rows.write_live(writer, live),)
            done.append(
                f"{saved.n_damaged} of {len(manifest.segments)} segments were damaged; one new one holds the rest"
            )
        index = manifest.index
        if saved.n_damaged or index in bad or found - {passport.NAME, passport.COPY}:
            index = indexes.write_index(writer, indexes.index_of(live.vectors, manifest.space.dim, backend))
            done.append("the FAISS file is made from the vectors")
        later = writer.set_aside(manifest) if passport.NAME in found else []
        lost += [
            f"what segment {name} holds: it is of a later state than the copy, and was set aside" for name in later
        ]
        next_id = max([manifest.next_id, *(1 + id_ for name in later for id_ in ids_in(folder, name))])
        writer.commit(
            replace(manifest, encoding=encoding, segments=segments, index=index, count=len(live.items), next_id=next_id)
        )
        writer.clean()
    return Repaired(tuple(done), len(made), (*lost, *unmade), saved.n_lost + len(unmade))


def _encode_again(
    saved: Salvage, manifest: Manifest, encoder: Encoder, on_progress: OnProgress | None
) -> dict[int, Vectors]:
    """Vectors of the pictures whose own are damaged, by id, where the pictures are what they were."""
    check_same_space(manifest.space, "the gallery", encoder.space, "the encoder")
    wanted = {item.id: item.digest for item in saved.without_vector}
    files_ = tuple(SourceFile(item.path, item.label, item.id) for item in saved.without_vector)
    source = Source(manifest.root or "", files_)
    made: dict[int, Vectors] = {}
    reading = Reading().as_for(manifest.encoding)
    for batch in encode_batches(source, files_, lambda: encoder, reading, _nothing_known):
        for seen in batch.seen:
            if seen.file.id is not None and wanted[seen.file.id] in ("", seen.item.digest):
                made[seen.file.id] = seen.vector
        if on_progress is not None:
            on_progress(batch.done, len(files_))
    return made


def _repair_prototypes(
    writer: Writer, manifest: Manifest, bad: set[str | None], backend: IndexBackend, encoder: MakeEncoder | None
) -> list[str]:
    where = writer.out / SEGMENTS / manifest.segments[0].name
    if f"{SEGMENTS}/{where.name}/{indexes.PROMPTS}" in bad:
        raise IntegrityError(f"the prompts of '{writer.out}' are damaged", hint=passport.REBUILD)
    prompts = indexes.read_prompts(where / indexes.PROMPTS)
    if f"{SEGMENTS}/{where.name}/{indexes.DRAWN}" in bad:
        raise IntegrityError(f"the list of images drawn for '{writer.out}' is damaged", hint=passport.REBUILD)
    drawn = indexes.read_drawn(where, manifest)
    done = []
    try:
        if f"{SEGMENTS}/{where.name}/{rows.VECTORS}" in bad:
            raise rows.damaged(where, "its vectors have changed")
        vectors = rows.read_vectors(where, manifest.segments[0].rows, manifest.dim)
    except IntegrityError as error:
        if manifest.training is not None:
            raise IntegrityError(
                f"the prototypes of '{writer.out}' are damaged, and they were made from images", hint=passport.REBUILD
            ) from error
        if encoder is None:
            raise
        made_by = encoder()
        check_same_space(manifest.space, "the index", made_by.space, "the encoder")
        texts = encode_texts_once(made_by, prompts.prompts)
        vectors = pool_prompts(texts.vectors, texts.rows)
        done.append(f"the {len(vectors)} prototypes are made from their prompts")
    index = backend.create(manifest.dim)
    index.add(vectors)
    indexes.write_prototypes(writer, manifest, prompts, np.array(vectors), index, drawn)
    return [*done, "the FAISS file is made from the vectors"]


def _cosines(one: Vectors, other: Vectors) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.einsum("nd,nd->n", one.astype(np.float64), other.astype(np.float64))
    return found


def _least_cosine(stored: Encoding, now: Encoding) -> float:
    """How near a sound vector is to the one stored. In a gallery of several makes nobody knows which is of which."""
    if (stored.precision, stored.calibration) == (now.precision, now.calibration):
        return _LEAST_COSINE
    loss = max(_int8_loss(stored), _int8_loss(now))
    if not loss:
        return _LEAST_COSINE
    return max(_FLOOR, _LEAST_COSINE - _INT8_TIMES * loss - _INT8_MORE)


def _int8_loss(encoding: Encoding) -> float:
    """The most that int8 lost when it was calibrated, 0 without int8 and 1 where it is not known."""
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


def _nothing_known(_digest: str) -> None:
    return None

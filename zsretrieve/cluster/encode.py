"""Encoding a listing on a cluster: its units are encoded on any node, and taken in one after the other."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from zsretrieve.cluster import connection, pool, storage, unit_files
from zsretrieve.cluster.connection import Nodes
from zsretrieve.cluster.job import Job
from zsretrieve.cluster.pool import Pool
from zsretrieve.cluster.schedule import Schedule
from zsretrieve.cluster.unit_files import EncodedUnit, Recipe, Skips, Unit
from zsretrieve.cluster.workers import Decoder
from zsretrieve.domain.errors import ClusterError, ImageError, UsageError
from zsretrieve.domain.ports import Known, OnStage
from zsretrieve.domain.records import Encoding, Head, Skipped, Space
from zsretrieve.domain.settings import Cluster, Precision, Reading
from zsretrieve.encoders.catalog.model_name import DEFAULT_MODEL, NameForm, parse_model_name
from zsretrieve.encoders.loading import Model
from zsretrieve.encoding.batches import Batch, Seen, refusal
from zsretrieve.encoding.prefetch import note_scaled, processors
from zsretrieve.encoding.units import units_of
from zsretrieve.images import opening
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.store.folder import UNITS

_log = logging.getLogger("zsretrieve")

_DEVICES = ("auto", "cpu", "cuda")
# A network file system may show a new file late.
_SEEN_S = 30.0


class ClusterEncoder:
    """Encodes images on the nodes of a cluster; the port ``Elsewhere``."""

    def __init__(self, workers: Pool, place: str) -> None:
        self._pool = workers
        self._place = place
        self._taken: list[str] = []

    @property
    def space(self) -> Space:
        return self._pool.description.space

    @property
    def head(self) -> Head:
        return self._pool.description.head

    @property
    def encoding(self) -> Encoding:
        return self._pool.description.encoding

    def batches(
        self, source: Source, files: Sequence[SourceFile], reading: Reading, known: Callable[[str], Known | None]
    ) -> Generator[Batch]:
        """One batch for each unit of the files.

        Raises
        ------
        ClusterError
            If no node is left, or a unit fails again and again.
        SkippedInputError
            If ``reading`` is strict and an image cannot be used.
        """
        batch_size = self._pool.description.batch_size
        recipe = Recipe(
            self.space, self.encoding, batch_size, replace(reading, strict=False, workers=None), source.root
        )
        units = (Unit(recipe, some) for some in units_of(files, batch_size))
        before = storage.names(self._place)

        def is_stored(unit: Unit) -> bool:
            encoded = self._read(unit) if unit.name in before else None
            return encoded is not None and _is_current(source, unit, encoded)

        here = Decoder(source, reading.workers or processors())
        done, scaled = 0, list[str]()
        for unit in Schedule(self._pool, units, is_stored, lambda unit, skips: _only_there(here, unit, skips)).stored():
            encoded = self._written(unit)
            done += len(unit.files)
            scaled += encoded.scaled
            self._taken.append(unit.name)
            refused = encoded.skipped[0] if reading.strict and encoded.skipped else None
            yield _batch(unit, encoded, known, done, len(unit.files) if refused is None else refused[0])
            if refused is not None:
                raise refusal(source, refused[1])
        note_scaled(scaled)

    def committed(self) -> None:
        """Delete the files of the units that were taken in."""
        self._delete(lambda: self._taken)
        self._taken = []

    def discard(self) -> None:
        """Delete all files of units."""
        self._delete(lambda: storage.names(self._place))

    def _delete(self, names: Callable[[], Iterable[str]]) -> None:
        """Delete files of units; if the storage fails, only warn, since they are not needed any more."""
        try:
            for name in names():
                storage.remove(self._place, name)
        except ClusterError as error:
            _log.warning(f"encoded units could not be deleted: {error.message}")

    def _read(self, unit: Unit) -> EncodedUnit | None:
        content = storage.read(self._place, unit.name)
        return None if content is None else unit_files.from_bytes(content)

    def _written(self, unit: Unit) -> EncodedUnit:
        until = time.monotonic() + _SEEN_S
        while time.monotonic() < until:
            encoded = self._read(unit)
            if encoded is not None:
                return encoded
            time.sleep(0.2)
        raise ClusterError(
            f"a node wrote '{storage.join(self._place, unit.name)}', which is not there or not whole",
            hint="Check that all nodes write to the same storage, and run the command again to continue.",
        )


@contextlib.contextmanager
def encoding_on(cluster: Cluster, job: Job, on_stage: OnStage | None = None) -> Iterator[ClusterEncoder]:
    """What encodes on a cluster, for as long as the block runs.

    Raises
    ------
    OptionalDependencyError
        If Ray is not installed.
    UsageError
        If the model cannot be run on other machines.
    ClusterError
        If the cluster cannot be reached, its nodes have different versions or encode differently, the storage or the
        images are not there on every node, or no worker fits.
    """
    check_model(job.model)
    own = str(Path(os.path.realpath(job.out), UNITS))
    place = own if cluster.storage is None else storage.join(cluster.storage, unit_files.folder_name(own))
    with connection.connected(cluster) as nodes, _empty_folders_removed(Path(own)):
        connection.check_shared(nodes, place)
        _check_images(nodes, job.source)
        wanted = pool.plan(nodes, connection.free(nodes), job.model.compute.device)
        workers = pool.started(wanted, job, place, on_stage)
        try:
            yield ClusterEncoder(workers, place)
        finally:
            workers.close()


def check_model(model: Model) -> None:
    """Raise UsageError if a model cannot be run on other machines."""
    what, hint = "", ""
    if model.is_given:
        what, hint = "an encoder that is loaded already", "Name the model; each node loads it."
    elif parse_model_name(model.name or DEFAULT_MODEL).form is NameForm.CLASSIFIER:
        what, hint = f"the classifier '{model.name}'", "Use another model, or leave out `ray`."
    elif model.compute.precision is Precision.INT8:
        what, hint = "int8, which is calibrated on one machine,", "Use `precision` bf16 or fp32, or leave out `ray`."
    elif model.compute.device not in _DEVICES:
        what, hint = f"the device '{model.compute.device}'", f"Use one of {', '.join(_DEVICES)}; Ray chooses the GPUs."
    if what:
        raise UsageError(f"{what} does not run on a cluster", hint=hint)


def _check_images(nodes: Nodes, source: Source) -> None:
    """Raise ClusterError unless every node sees the first and the last image as this process does."""
    addresses = [source.address(file) for file in (source.files[:1] + source.files[-1:])]
    here = look(addresses)
    for node, there in connection.ask_all(nodes, look, addresses).items():
        for address, ours, theirs in zip(addresses, here, there, strict=True):
            if ours != theirs:
                raise ClusterError(
                    f"the node {node.address} does not see '{address}' as this machine does: {theirs}",
                    hint="Every node must find the images under the same path or URL.",
                )


def look(addresses: Sequence[str]) -> list[str]:
    """What images are like, here: their size, or why they are not available."""

    def of(address: str) -> str:
        try:
            return f"{opening.state(address).bytes} bytes"
        except ImageError as error:
            return str(error)

    return [of(address) for address in addresses]


def _is_current(source: Source, unit: Unit, encoded: EncodedUnit) -> bool:
    """Whether the images of a unit are as they were when it was encoded; what was skipped may have been repaired."""
    return not encoded.skipped and all(
        opening.is_unchanged(source.address(unit.files[item.id]), item) for item in encoded.items
    )


def _only_there(here: Decoder, unit: Unit, skips: Skips) -> ClusterError | None:
    """The error for an image that a node skipped and this process can use, None if there is none."""
    if not skips:
        return None
    _, decoded = here.decode(replace(unit, files=tuple(unit.files[place] for place, _ in skips)))
    if not decoded.items:
        return None
    _, skipped = skips[decoded.items[0].id]
    return ClusterError(
        f"'{skipped.path}' cannot be used ({skipped.reason}), and this machine can use it",
        hint="Every node must find the images under the same path or URL. What was encoded is kept.",
    )


def _batch(unit: Unit, encoded: EncodedUnit, known: Callable[[str], Known | None], done: int, end: int) -> Batch:
    """The first ``end`` files of a unit as a batch; images that are known have the vector they have."""
    seen = []
    fresh = set()
    for item, vector in zip(encoded.items, encoded.vectors, strict=True):
        if item.id >= end:
            break
        before = known(item.digest)
        is_fresh = before is None and item.digest not in fresh
        fresh.add(item.digest)
        seen.append(Seen(unit.files[item.id], item, vector if before is None else before.vector, is_fresh))
    skipped: tuple[Skipped, ...] = tuple(one for place, one in encoded.skipped if place <= end)
    return Batch(tuple(seen), skipped, done)


@contextlib.contextmanager
def _empty_folders_removed(units: Path) -> Iterator[None]:
    """Delete what is empty at the end of the folder for units and those above it that the block made."""
    new = [path for path in (units, *units.parents) if not path.exists()]
    try:
        yield
    finally:
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()

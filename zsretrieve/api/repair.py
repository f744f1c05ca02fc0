"""Verifying indexes by encoding again, and repairing them."""

from __future__ import annotations

from zsretrieve.api.gallery import model_of
from zsretrieve.api.indexes import cpu_backend, open_gallery, open_prototypes
from zsretrieve.domain.arguments import Count, Seed
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import IndexKind, PathLike
from zsretrieve.encoders.loading import ModelLike, as_model
from zsretrieve.gallery import repair as _repair
from zsretrieve.gallery.repair import DeepCheck, Repaired
from zsretrieve.store import manifest as manifests
from zsretrieve.store.named import folder_of


def verify_deep(folder: PathLike, model: ModelLike | None = None, *, sample: Count = 64, seed: Seed = 0) -> DeepCheck:
    """Encode a random sample of an index again and compare.

    ``model`` is by default the one that the index names.

    Raises
    ------
    SpaceMismatchError
        If the model has another embedding space.
    SourceError
        If the index holds prototypes that were made from images, which it does not keep.
    """
    manifest = manifests.read(folder_of(folder))
    model = model_of(manifest, model)
    opened = (open_gallery if manifest.kind is IndexKind.GALLERY else open_prototypes)(folder, device="cpu")
    return _repair.deep_check(opened, model, sample=sample, seed=seed)


def repair(
    folder: PathLike, model: ModelLike | None = None, *, encode: bool = True, on_stage: OnStage | None = None
) -> Repaired:
    """Rebuild derived files, encode again what a damaged segment held, and report what is lost.

    The FAISS file is rebuilt from the vectors. Damaged vectors are encoded again from their images, under the same IDs,
    if these have not changed, or from the texts; otherwise the images are removed from the gallery and reported. A
    damaged manifest is restored from its copy.

    Parameters
    ----------
    model : Model, Encoder or str, optional
        By default the model that the index names; loaded only if vectors are damaged.
    encode : bool
        Encode images again whose vectors are damaged; otherwise they are lost.

    Raises
    ------
    IndexFormatError
        If neither the manifest nor its copy is sound.
    IntegrityError
        If nothing can be saved.
    SpaceMismatchError
        If the model has another embedding space, or another calibration in int8.
    """
    index = folder_of(folder)
    needed = as_model(model).named(manifests.read_either(index).space.model) if encode else None
    return _repair.repair(index, cpu_backend(), needed, on_stage=on_stage)

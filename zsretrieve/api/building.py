"""Building indexes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zsretrieve import prompts as _prompts
from zsretrieve import wiring
from zsretrieve.api.finding import open_source
from zsretrieve.api.opening import PathLike, cpu_backend
from zsretrieve.ports import Encoder
from zsretrieve.records import PromptSet
from zsretrieve.sources import Source
from zsretrieve.store import folder as folders
from zsretrieve.store.indexes import Gallery
from zsretrieve.verbs import build as _build
from zsretrieve.verbs import gallery as _gallery
from zsretrieve.verbs.ahead import Reading
from zsretrieve.verbs.build import BuiltPrototypes
from zsretrieve.verbs.encode import OnProgress
from zsretrieve.verbs.gallery import BuiltGallery
from zsretrieve.verbs.grow import CHECKPOINT_IMAGES


def read_prompts(classes: PathLike | Sequence[str], templates: PathLike | Sequence[str] | None = None) -> PromptSet:
    """Class names put into templates.

    Parameters
    ----------
    classes : str, path or sequence of str
        A bundled set's name, a file, a comma list, or the names.
    templates : str, path or sequence of str, optional
        A bundled set's name, a file, one template, or the templates; by default what the class set asks for, else
        ``standard``.

    Raises
    ------
    PromptError
        If either cannot be read.
    """
    class_list = _prompts.read_classes(_spec(classes), wiring.provide)
    if templates is None and class_list.prompts:
        return _prompts.expand(class_list, None)
    chosen = _spec(templates) if templates is not None else class_list.default_templates or _prompts.DEFAULT_TEMPLATES
    return _prompts.expand(class_list, _prompts.read_templates(chosen, wiring.provide))


def build_prototypes(
    out: PathLike,
    classes: PathLike | Sequence[str] | PromptSet,
    encoder: Encoder,
    *,
    templates: PathLike | Sequence[str] | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Build a prototype index in the folder ``out``. See ``read_prompts`` and ``zsretrieve.verbs.build``."""
    prompts = classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)
    return _build.build_prototypes(Path(out), prompts, encoder, cpu_backend(), force=force, on_progress=on_progress)


def make_prototypes(
    classes: PathLike | Sequence[str] | PromptSet,
    encoder: Encoder,
    *,
    templates: PathLike | Sequence[str] | None = None,
    device: str = "auto",
    half: bool = False,
    on_progress: OnProgress | None = None,
) -> BuiltPrototypes:
    """Prototypes in memory, for a list of labels that needs no index of its own. ``device`` and ``half``: see
    ``open_prototypes``.
    """
    prompts = classes if isinstance(classes, PromptSet) else read_prompts(classes, templates)
    return _build.make_prototypes(prompts, encoder, wiring.index_backend(device, half=half), on_progress=on_progress)


def build_gallery(
    source: PathLike | Source,
    out: PathLike,
    encoder: Encoder,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    force: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> Gallery:
    """Encode a source into a gallery index in the folder ``out``; an interrupted build goes on where it stopped.

    See ``zsretrieve.verbs.gallery.build_gallery`` and ``zsretrieve.verbs.ahead.Reading``.
    """
    return build_gallery_with_report(
        source, out, encoder, ground_truth=ground_truth, exif=exif, strict=strict, max_pixels=max_pixels,
        fast_decode=fast_decode, force=force,
        checkpoint=checkpoint, on_progress=on_progress,
    ).gallery  # fmt: skip


def build_gallery_with_report(
    source: PathLike | Source,
    out: PathLike,
    encoder: Encoder,
    *,
    ground_truth: PathLike | None = None,
    exif: bool = True,
    strict: bool = False,
    max_pixels: int | None = None,
    fast_decode: bool = False,
    force: bool = False,
    checkpoint: int = CHECKPOINT_IMAGES,
    on_progress: OnProgress | None = None,
) -> BuiltGallery:
    """``build_gallery``, with what it did beside the gallery."""
    found = source if isinstance(source, Source) else open_source([source], ground_truth=ground_truth)
    reading = Reading(exif, strict, max_pixels, fast=fast_decode)
    return _gallery.build_gallery(
        Path(out), found, encoder, cpu_backend(), reading, force=force, checkpoint=checkpoint, on_progress=on_progress
    )


def check_output(out: PathLike, *, force: bool = False) -> None:
    """Raise OutputExistsError unless an index may be written to ``out``; tells early what would fail late."""
    folders.check_output(Path(out), force=force)


def _spec(value: PathLike | Sequence[str]) -> str | Path | Sequence[str]:
    return Path(value) if isinstance(value, os.PathLike) else value

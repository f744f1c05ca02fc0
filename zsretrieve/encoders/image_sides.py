"""Models beside images that another model with the same image tower encoded."""

from __future__ import annotations

from dataclasses import replace

from zsretrieve.domain.records import Manifest, Space
from zsretrieve.domain.spaces import with_text_side
from zsretrieve.encoders.catalog.fingerprint import image_side
from zsretrieve.encoders.catalog.model_name import parse_model_name
from zsretrieve.encoders.loading import Model


def space_beside(model: Model, images: Space) -> Space:
    """The embedding space in which a model meets an index of images, found without loading the model.

    That of the index, unless the model has the same image tower and another text side: then its texts are vectors of
    its own space, which may be compared with these images.

    Raises
    ------
    WeightsUnavailableError, ModelNameError
        If the files of a model on disk cannot be read.
    """
    if model.is_given:
        return with_text_side(images, model.load().space)
    if model.name is None or (model.name == images.model and images.images_of is None):
        return images
    identity = model.identity
    if identity in (None, images.weights):
        return images
    own = replace(images, model=model.name, weights=identity, images_of=image_side(parse_model_name(model.name)))
    return with_text_side(images, own)


def gallery_space(model: Model, gallery: Manifest) -> Space:
    """``space_beside`` of a gallery; texts in one have no image tower in common with a model, but its text side."""
    return gallery.space if gallery.holds_texts else space_beside(model, gallery.space)

"""Boxes and scores are those of transformers' own processor, model and post-processing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import zsretrieve as zs

TEXTS = ["a red circle", "a cat", "dog"]
ALL = zs.BoxLimits(0.0, 1.0, 10_000)


def loaded(photos: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(photos.iterdir())]


def sizes(images: list[Image.Image]) -> list[tuple[int, int]]:
    return [(image.height, image.width) for image in images]


def ours(image: zs.DetectedImage) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Scores, boxes as left, top, right and bottom in pixels, and classes, best first."""
    scale = np.array([image.width, image.height] * 2)
    boxes = np.array([one.box for one in image.detections]).reshape(-1, 4) * scale
    return np.array([one.score for one in image.detections]), boxes, [one.class_id for one in image.detections]


def theirs(result: dict[str, Any], size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
    """The same of transformers' results: sorted, and with boxes that end at the edges of the image."""
    order = torch.argsort(result["scores"], descending=True, stable=True)
    boxes = result["boxes"][order].double().numpy().clip(0, [size[1], size[0]] * 2)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    labels = np.zeros(len(order)) if result["labels"] is None else result["labels"][order].numpy()
    return result["scores"][order].numpy()[inside], boxes[inside], labels[inside].astype(int).tolist()


def same(one: Any, other: Any) -> None:
    assert len(one[0]) == len(other[0])
    np.testing.assert_allclose(one[0], other[0], atol=1e-5, rtol=0)
    np.testing.assert_allclose(one[1], other[1], atol=1e-4, rtol=0)
    assert one[2] == other[2]


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_texts_find_what_transformers_finds(owl: Any, photos: Path, threshold: float) -> None:
    found = zs.detect(photos, owl.model, classes=TEXTS, templates=["{}"], limits=zs.BoxLimits(threshold, 1.0, 10_000))
    model, processor = owl.theirs
    images = loaded(photos)
    assert [(one.height, one.width) for one in found.images] == sizes(images)
    inputs = processor(text=[TEXTS] * len(images), images=images, return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    results = processor.post_process_grounded_object_detection(
        outputs, threshold=threshold, target_sizes=sizes(images), text_labels=[TEXTS] * len(images)
    )
    n_found = sum(len(one.detections) for one in found.images)
    assert 0 < n_found <= 16 * len(images)
    assert len({one.class_id for image in found.images for one in image.detections}) > 1
    for image, result, size in zip(found.images, results, sizes(images), strict=True):
        same(ours(image), theirs(result, size))


def test_boxes_before_they_are_cut_are_transformers_own(owl: Any, photos: Path) -> None:
    """Also in a batch, and for a prompt that is too long."""
    texts = ["a cat", "cat " * 40]
    model, processor = owl.theirs
    detector = owl.model.load()
    images = loaded(photos)
    rows = detector.detect([detector.prepare(image) for image in images], detector.encode_texts(texts))
    inputs = processor(text=[texts] * len(images), images=images, return_tensors="pt", text_kwargs={"truncation": True})
    with torch.no_grad():
        outputs = model(**inputs)
    results = processor.post_process_grounded_object_detection(outputs, threshold=0.0, target_sizes=sizes(images))
    assert detector.token_counts(texts) == [len(ids) for ids in processor.tokenizer(texts).input_ids]
    assert detector.token_counts(texts)[1] > 16
    for row, result, (height, width) in zip(rows, results, sizes(images), strict=True):
        scale = np.array([max(height, width)] * 4 if owl.family == "owlv2" else [width, height] * 2)
        np.testing.assert_allclose(row[:, 2:] * scale, result["boxes"], atol=1e-4, rtol=0)
        np.testing.assert_allclose(row[:, 1], result["scores"], atol=1e-5, rtol=0)
        assert row[:, 0].tolist() == result["labels"].tolist()


def test_templates_are_averaged_as_in_prototypes(owl: Any, photos: Path) -> None:
    templates = ["a photo of a {}", "{}", "the {} and more"]
    model, processor = owl.theirs
    image = loaded(photos)[1]
    vectors = []
    with torch.no_grad():
        for name in TEXTS:
            prompts = [template.replace("{}", name) for template in templates]
            inputs = processor(text=[prompts], images=image, return_tensors="pt", text_kwargs={"truncation": True})
            vectors.append(model(**inputs).text_embeds[0].mean(dim=0))
        grid = model.image_embedder(inputs["pixel_values"])[0]
        logits = model.class_predictor(grid.flatten(1, 2), torch.stack(vectors)[None])[0][0]
    best = logits.max(dim=-1)
    found = owl.model.load()
    queries = zs.read_prompts(TEXTS, templates)
    from zsretrieve.detection.queries import of_prompts

    row = found.detect([found.prepare(image)], of_prompts(queries).encode(found))[0]
    np.testing.assert_allclose(row[:, 1], best.values.sigmoid(), atol=1e-5)
    assert row[:, 0].tolist() == best.indices.tolist()
    assert len(set(row[:, 0].tolist())) > 1


@pytest.mark.parametrize("threshold", [0.0, 0.55])
def test_an_example_finds_what_transformers_finds(owl: Any, photos: Path, threshold: float) -> None:
    """Its scores are shares of the best one's, from 0.1 to 1; ours are the model's."""
    example = photos / "7.png"
    limits = zs.BoxLimits(threshold, 0.3, 10_000)
    found = zs.detect(photos, owl.model, like=example, limits=limits)
    assert found.class_names == (str(example),)
    model, processor = owl.theirs
    for image, detected in zip(loaded(photos), found.images, strict=True):
        inputs = processor(images=image, query_images=Image.open(example), return_tensors="pt")
        with torch.no_grad():
            outputs = model.image_guided_detection(**inputs)
        size = torch.tensor([(image.height, image.width)])
        results = processor.post_process_image_guided_detection(
            outputs, threshold=threshold, nms_threshold=0.3, target_sizes=size
        )
        scores, boxes, _ = ours(detected)
        best = outputs.logits.sigmoid().max().item() + 1e-6
        shares = (scores - 0.1 * best) / (0.9 * best)
        assert results or not len(scores)
        if results:
            expected = theirs(results[0], (image.height, image.width))
            keep = shares > 0
            np.testing.assert_allclose(shares.clip(0, 1)[keep], expected[0], atol=2e-5)
            np.testing.assert_allclose(boxes[keep], expected[1], atol=1e-4, rtol=0)


def test_the_box_of_an_example_chooses_the_part_that_predicts_it_best(owl: Any, photos: Path) -> None:
    from transformers.models.owlvit.modeling_owlvit import box_iou

    path = photos / "1.png"
    left, top, width, height = 40, 10, 30, 25
    found = zs.detect(photos, owl.model, like=f"thing={path}[{left},{top},{width},{height}]", limits=ALL)
    assert found.class_names == ("thing",)
    model, processor = owl.theirs
    image = Image.open(path).convert("RGB")
    with torch.no_grad():
        grid = model.image_embedder(processor(images=image, return_tensors="pt")["pixel_values"])[0]
        features = grid.flatten(1, 2)
        centres = model.box_predictor(features, grid)[0]
        corners = torch.cat([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], dim=1)
        scale = [max(image.size)] * 4 if owl.family == "owlv2" else [*image.size] * 2
        box = torch.tensor([[left, top, left + width, top + height]]) / torch.tensor(scale)
        place = box_iou(box, corners)[0][0].argmax()
        query = model.class_predictor(features)[1][:, place]
        pixels = [processor(images=other, return_tensors="pt")["pixel_values"] for other in loaded(photos)]
        grids = model.image_embedder(torch.cat(pixels))[0].flatten(1, 2)
        expected = model.class_predictor(grids, query[None].expand(len(grids), -1, -1))[0].sigmoid().amax(dim=(1, 2))
    best = np.array([max((one.score for one in image.detections), default=0) for image in found.images])
    same = np.isclose(best, expected, atol=1e-5, rtol=0)
    # The best box of OWLv2 may be in the padding, which is no part of the image.
    assert same.all() or (owl.family == "owlv2" and (best[~same] < expected.numpy()[~same]).all() and same.sum() > 2)


def test_bf16_keeps_boxes_near(owl: Any, photos: Path) -> None:
    exact, rounded = (
        zs.DetectionModel(owl.model.name, zs.Compute("cpu", precision)).load() for precision in ("fp32", "bf16")
    )
    images = [exact.prepare(image) for image in loaded(photos)]
    queries = exact.encode_texts(TEXTS)
    rows, near = (np.stack(one.detect(images, queries)) for one in (exact, rounded))
    assert rounded.encoding.precision == "bf16"
    np.testing.assert_array_equal(queries, rounded.encode_texts(TEXTS))
    assert 0 < np.abs(rows[..., 1] - near[..., 1]).max() < 0.1
    assert np.abs(rows[..., 2:] - near[..., 2:]).max() < 0.1

"""What the tutorials of open_clip do, one image and one class at a time: the plain side of `scripts/bench_peers`.

It runs in an environment that need not hold zsretrieve: open_clip and what that brings are enough.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def gallery(model_name: str, folder: str, out: str) -> None:
    """Vectors of all photos of a folder, one after the other, and the list of their paths."""
    import torch
    from PIL import Image

    model, preprocess, _ = _loaded(model_name)
    paths, vectors = sorted(Path(folder).rglob("*.jpg")), []
    with torch.no_grad():
        for path in paths:
            features = model.encode_image(preprocess(Image.open(path)).unsqueeze(0))
            features /= features.norm(dim=-1, keepdim=True)
            vectors.append(features[0].numpy())
    np.save(Path(out) / "vectors.npy", np.stack(vectors))
    (Path(out) / "paths.txt").write_text("".join(f"{path}\n" for path in paths))


def prototypes(model_name: str, classes: str, templates: str, out: str) -> None:
    """The mean of the prompts of each class, one class after the other."""
    import torch

    model, _, tokenizer = _loaded(model_name)
    vectors = []
    with torch.no_grad():
        for name in Path(classes).read_text().splitlines():
            texts = [template.replace("{}", name) for template in Path(templates).read_text().splitlines()]
            features = model.encode_text(tokenizer(texts))
            features /= features.norm(dim=-1, keepdim=True)
            mean = features.mean(dim=0)
            vectors.append((mean / mean.norm()).numpy())
    np.save(out, np.stack(vectors))


def search(model_name: str, index: str, query: str, k: str) -> None:
    """Print the paths of the images nearest to a text."""
    import torch

    model, _, tokenizer = _loaded(model_name)
    with torch.no_grad():
        features = model.encode_text(tokenizer([query]))
        features /= features.norm(dim=-1, keepdim=True)
    scores = np.load(Path(index) / "vectors.npy") @ features[0].numpy()
    paths = (Path(index) / "paths.txt").read_text().splitlines()
    for row in np.argsort(-scores)[: int(k)]:
        print(paths[row])


def queries(vectors: str, asked: str, k: str, repeats: str) -> None:
    """Print the seconds of all queries at once, time after time, and the rows that they find."""
    rows, some = np.load(vectors), np.load(asked)
    took, found = [], np.empty((0, 0), np.int64)
    for _ in range(1 + int(repeats)):
        start = time.perf_counter()
        found = np.argsort(-(some @ rows.T), axis=1)[:, : int(k)]
        took.append(time.perf_counter() - start)
    print(json.dumps({"seconds": took[1:], "rows": found.tolist()}))


def _loaded(name: str) -> tuple[Any, Any, Any]:
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(name)
    return model.eval(), preprocess, open_clip.get_tokenizer(name)


if __name__ == "__main__":
    {"gallery": gallery, "prototypes": prototypes, "search": search, "queries": queries}[sys.argv[1]](*sys.argv[2:])

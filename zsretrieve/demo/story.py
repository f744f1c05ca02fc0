"""The end-to-end demo: every main feature on the bundled model and generated scenes, offline."""

from __future__ import annotations

import csv
import random
import shlex
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import zsretrieve as zs
from zsretrieve.demo import scenes
from zsretrieve.demo.scenes import Scene
from zsretrieve.domain.errors import OutputExistsError
from zsretrieve.domain.ports import OnProgress, OnStage
from zsretrieve.domain.records import Classified, Hit
from zsretrieve.domain.results import EvalReport
from zsretrieve.evaluation.labelled import labelled_gallery
from zsretrieve.evaluation.report import evaluate_labelled
from zsretrieve.images.sources import Source, SourceFile
from zsretrieve.metrics import r_precision
from zsretrieve.store.indexes import Gallery, Prototypes

TEMPLATES = {"raw": "raw labels", "standard": '"a photo of a {}."', "scenes": "ensemble of 7"}
TEXT_QUERIES = ("a photo of a purple star.", "a striped green heart", "a white crescent on a night background")
SINGLES_PER_CLASS = 5
PAIRS = 60

_SEED = 20_240
_SCENES, _GALLERY, _REPORT, _LIST, _MARK = "scenes", "gallery", "report.html", "scenes.csv", ".zsretrieve-demo"
_HITS = 8
_SHOWN_MISTAKES = 8
_SHOWN_CLASSIFIED = 8


@dataclass(frozen=True)
class Mistake:
    """A misclassified image, and an image of the class that was predicted."""

    path: str
    true_class: str
    predicted_class: str
    example_path: str


@dataclass(frozen=True)
class Story:
    """The results of the demo. Prec@1 reports are keyed by template set, then ``seen`` or ``unseen``."""

    out: Path
    n_images: int
    reports: dict[str, dict[str, EvalReport]]
    r_precision: float
    classified: tuple[Classified, ...]
    text_hits: dict[str, tuple[Hit, ...]]
    image_query: str
    image_hits: tuple[Hit, ...]
    mistakes: tuple[Mistake, ...]
    scenes: dict[str, Scene]

    @property
    def report_path(self) -> Path:
        return self.out / _REPORT

    def figures(self) -> dict[str, Any]:
        """The figures alone, for programs. Rates are fractions."""
        return {
            "n_images": self.n_images,
            "r_precision": self.r_precision,
            "prec@1": {
                templates: {
                    group: {"prec@1": report.prec_at_1, "n_correct": report.n_correct, "n_scored": report.n_scored}
                    for group, report in groups.items()
                }
                for templates, groups in self.reports.items()
            },
            "searches": {
                query: [{"rank": h.rank, "id": h.id, "path": h.path, "score": h.to_dict()["score"]} for h in hits]
                for query, hits in {**self.text_hits, self.image_query: self.image_hits}.items()
            },
            "report": str(self.report_path),
        }

    def next_commands(self) -> list[str]:
        """What to try next on the indexes just built, quoted for a shell."""
        gallery, images = str(self.out / _GALLERY), str(self.out / _SCENES)
        heart = self.out / _SCENES / "red heart" / "1.jpg"
        commands = [
            ["search", gallery, f"{heart} - a red heart + a green heart"],
            ["classify", images, "--labels", "star,heart,circle,arrow", "--model", "demo", "-k", "2"],
            ["evaluate", gallery, "--prototypes", str(self.out / "prototypes-standard")],
            ["index", "info", gallery],
            ["serve", gallery, "--prototypes", str(self.out / "prototypes-standard")],
        ]
        return [shlex.join([_program(), *words]) for words in commands]


def _program() -> str:
    """``zsretrieve``, or the path of this one if it is not on PATH."""
    if shutil.which("zsretrieve"):
        return "zsretrieve"
    here = Path(sys.prefix) / "bin" / "zsretrieve"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def run(out: Path, on_stage: OnStage) -> Story:
    """Draw the scenes, build all indexes, classify, search by text and by image, and evaluate.

    Parameters
    ----------
    out : Path
        Folder for everything; an earlier demo in it is replaced.
    on_stage : callable
        Called with (name of the stage, steps done, steps in all).

    Raises
    ------
    OutputExistsError
        If ``out`` holds something that no demo wrote.
    """
    # In fp32 the figures are the same on every machine.
    model = zs.Model("demo", zs.Compute(precision=zs.Precision.FP32), on_stage=on_stage)
    model.check_installed()
    drawn = draw_gallery(out, partial(on_stage, "drawing scenes"))
    zs.build_gallery(_source(out, drawn), out / _GALLERY, model, force=True, on_stage=on_stage)
    for templates in TEMPLATES:
        folder = out / f"prototypes-{templates}"
        zs.build_prototypes(folder, "scenes", model, templates=templates, force=True, on_stage=on_stage)
    # What is built is in main memory; opened, it is searched on a GPU if there is one.
    gallery = zs.open_gallery(out / _GALLERY)
    prototypes = {templates: zs.open_prototypes(out / f"prototypes-{templates}") for templates in TEMPLATES}
    classified = zs.classify(gallery, prototypes["scenes"], k=3).results
    labelled = [row for row in classified if row.label is not None]
    image_query = str(out / _SCENES / "blue arrow" / "1.jpg")
    return Story(
        out=out,
        n_images=len(gallery.items),
        reports={name: _seen_and_unseen(gallery, index) for name, index in prototypes.items()},
        r_precision=_mean_r_precision(gallery, prototypes["scenes"], drawn),
        classified=tuple(random.Random(_SEED).sample(labelled, _SHOWN_CLASSIFIED)),
        text_hits={query: zs.search(gallery, query, model, k=_HITS) for query in TEXT_QUERIES},
        image_query=image_query,
        image_hits=zs.search(gallery, image_query, model, k=_HITS),
        mistakes=_mistakes(labelled),
        scenes=drawn,
    )


def draw_gallery(out: Path, on_progress: OnProgress) -> dict[str, Scene]:
    """Draw the demo's scenes below ``out``, one folder per class, two-object scenes beside them.

    Returns
    -------
    dict of path relative to the scenes' folder to scene
    """
    _prepare_folder(out)
    rng = random.Random(_SEED)
    names = scenes.class_names()
    folder = out / _SCENES
    todo = {f"{name}/{i}.jpg": scenes.single(name, rng) for name in names for i in range(1, SINGLES_PER_CLASS + 1)}
    todo |= {f"pair-{i:03}.jpg": scenes.pair(rng.choice(names), rng.choice(names), rng) for i in range(1, PAIRS + 1)}
    for done, (path, scene) in enumerate(todo.items(), start=1):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        scenes.draw(scene).save(folder / path, quality=92)
        on_progress(done, len(todo))
    with open(out / _LIST, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "caption"])
        writer.writerows((path, scene.caption) for path, scene in todo.items())
    return todo


def _source(out: Path, drawn: dict[str, Scene]) -> Source:
    """The scenes just drawn and no other file of the folder; two-object scenes have no label."""
    files = [SourceFile(path, scene.class_name if scene.relation is None else None) for path, scene in drawn.items()]
    return Source(str((out / _SCENES).absolute()), tuple(sorted(files, key=lambda file: file.path.split("/"))))


def _prepare_folder(out: Path) -> None:
    """Raise unless ``out`` is empty or an earlier demo, which drew the same files; nothing is ever deleted."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"'{out}' is not a folder", hint="Give another folder with --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise OutputExistsError(
            f"'{out}' holds files that no demo wrote, so it is left alone", hint="Give another folder with --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).write_text("Written by `zsretrieve demo`, which may write over this folder.\n", encoding="utf-8")


def _seen_and_unseen(gallery: Gallery, prototypes: Prototypes) -> dict[str, EvalReport]:
    unseen = set(scenes.unseen_class_names())
    labelled = labelled_gallery(gallery, prototypes.prompts)
    names = prototypes.prompts.class_names
    is_unseen = np.array([names[class_id] in unseen for class_id in labelled.truth])
    return {
        group: evaluate_labelled(labelled.at(np.flatnonzero(is_unseen == wanted)), prototypes)
        for group, wanted in (("seen", False), ("unseen", True))
    }


def _mean_r_precision(gallery: Gallery, prototypes: Prototypes, drawn: dict[str, Scene]) -> float:
    """Each class as a query over the whole gallery; every scene that shows it is relevant, alone or not."""
    _, ranked = gallery.index.search(prototypes.class_queries, len(gallery.items))
    values = []
    for class_name, rows in zip(prototypes.prompts.class_names, ranked, strict=True):
        relevant = {i for i, item in enumerate(gallery.items) if drawn[item.path].shows(class_name)}
        values.append(r_precision(rows, relevant))
    return float(np.mean(values))


def _mistakes(labelled: list[Classified]) -> tuple[Mistake, ...]:
    example = {row.label: row.path for row in labelled}
    return tuple(
        Mistake(row.path, str(row.label), row.predictions[0].class_name, example[row.predictions[0].class_name])
        for row in labelled
        if row.predictions[0].class_name != row.label
    )[:_SHOWN_MISTAKES]

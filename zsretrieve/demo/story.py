"""The whole main job on the bundled model and generated scenes, offline."""

from __future__ import annotations

import csv
import random
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zsretrieve import api
from zsretrieve.demo import scenes
from zsretrieve.demo.scenes import Scene
from zsretrieve.errors import OutputExistsError
from zsretrieve.metrics import r_precision
from zsretrieve.records import Classified, Hit
from zsretrieve.results import EvalReport
from zsretrieve.sources import Source, SourceFile
from zsretrieve.store.indexes import Gallery, Prototypes
from zsretrieve.verbs.evaluate import evaluate_labelled
from zsretrieve.verbs.labelled import labelled_gallery

TEMPLATES = {"raw": "raw labels", "standard": '"a photo of a {}."', "scenes": "ensemble of 7"}
TEXT_QUERIES = ("a photo of a purple star.", "a striped green heart", "a white crescent on a night background")
SINGLES_PER_CLASS = 5
PAIRS = 60

_SEED = 20_240
_SCENES, _GALLERY, _REPORT, _LIST, _MARK = "scenes", "gallery", "report.html", "scenes.csv", ".zsretrieve-demo"
_HITS = 8
_SHOWN_MISTAKES = 8
_SHOWN_CLASSIFIED = 8

OnStage = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Mistake:
    """A picture that was given another class, and a picture of that class."""

    path: str
    true_class: str
    predicted_class: str
    example_path: str


@dataclass(frozen=True)
class Story:
    """Everything the demo found. Prec@1 reports are keyed by template set, then ``seen`` or ``unseen``."""

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
                query: [{"rank": h.rank, "id": h.id, "path": h.path, "score": round(h.score, 7)} for h in hits]
                for query, hits in {**self.text_hits, self.image_query: self.image_hits}.items()
            },
            "report": str(self.report_path),
        }

    def next_commands(self) -> list[str]:
        """What to try next, on the indexes just built, as a shell takes it."""
        gallery, pictures = str(self.out / _GALLERY), str(self.out / _SCENES)
        heart = self.out / _SCENES / "red heart" / "1.jpg"
        commands = [
            ["search", gallery, f"{heart} - a red heart + a green heart"],
            ["classify", pictures, "--labels", "star,heart,circle,arrow", "--model", "demo", "-k", "2"],
            ["evaluate", gallery, "--prototypes", str(self.out / "prototypes-standard")],
            ["index", "info", gallery],
        ]
        return [shlex.join([_program(), *words]) for words in commands]


def _program() -> str:
    """``zsretrieve``, or where this very one lies when the shell would not find it."""
    if shutil.which("zsretrieve"):
        return "zsretrieve"
    here = Path(sys.prefix) / "bin" / "zsretrieve"
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else str(here)


def run(out: Path, on_stage: OnStage) -> Story:
    """Draw the scenes, build all indexes, classify, search both ways and score.

    Parameters
    ----------
    out : Path
        Folder for everything; an earlier demo there is replaced.
    on_stage : callable
        Called with (what is being done, steps done, steps in all).

    Raises
    ------
    OutputExistsError
        If ``out`` holds something that no demo wrote.
    """
    drawn = draw_gallery(out, lambda done, total: on_stage("drawing scenes", done, total))
    on_stage("loading the model", 0, 1)
    # In fp32 the figures are the same on every machine.
    encoder = api.load_encoder("demo", precision="fp32")
    gallery = api.build_gallery(
        _source(out, drawn), out / _GALLERY, encoder, force=True,
        on_progress=lambda done, total: on_stage("encoding scenes", done, total),
    )  # fmt: skip
    prototypes = {
        templates: api.build_prototypes(
            out / f"prototypes-{templates}", "scenes", encoder, templates=templates, force=True,
            on_progress=lambda done, total: on_stage("encoding prompts", done, total),
        ).prototypes
        for templates in TEMPLATES
    }  # fmt: skip
    on_stage("searching", 0, 1)
    classified = api.classify(gallery, prototypes["scenes"], k=3).results
    labelled = [row for row in classified if row.label is not None]
    asked = str(out / _SCENES / "blue arrow" / "1.jpg")
    return Story(
        out=out,
        n_images=len(gallery.items),
        reports={name: _seen_and_unseen(gallery, made) for name, made in prototypes.items()},
        r_precision=_mean_r_precision(gallery, prototypes["scenes"], drawn),
        classified=tuple(random.Random(_SEED).sample(labelled, _SHOWN_CLASSIFIED)),
        text_hits={query: api.search(gallery, query, encoder, k=_HITS) for query in TEXT_QUERIES},
        image_query=asked,
        image_hits=api.search(gallery, asked, encoder, k=_HITS),
        mistakes=_mistakes(labelled),
        scenes=drawn,
    )


def draw_gallery(out: Path, on_progress: Callable[[int, int], None]) -> dict[str, Scene]:
    """Draw the demo's scenes below ``out``, one folder a class, two-object scenes beside them.

    Returns
    -------
    dict of path relative to the scenes' folder to scene
    """
    _make_room(out)
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
    """The scenes drawn and nothing that was put beside them; two-object scenes have no label."""
    files = [SourceFile(path, scene.class_name if scene.relation is None else None) for path, scene in drawn.items()]
    return Source(str((out / _SCENES).absolute()), tuple(sorted(files, key=lambda file: file.path.split("/"))))


def _make_room(out: Path) -> None:
    """Nothing is ever deleted: an earlier demo draws the same files, and these are written over."""
    if out.exists() and not out.is_dir():
        raise OutputExistsError(f"'{out}' is not a folder", hint="Give another folder with --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).is_file():
        raise OutputExistsError(
            f"'{out}' holds something that no demo wrote, so it is left alone", hint="Give another folder with --out."
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
    """Each class as a query over the whole gallery; relevant is every scene that shows it, alone or beside another."""
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

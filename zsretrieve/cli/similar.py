"""``zsretrieve prompts similar``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import OutputFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zsretrieve.store.indexes import Prototypes
    from zsretrieve.verbs.similar import Confused, Nearest, Pair, Similar

_SHOWN = 20


def similar(
    context: typer.Context,
    prototypes: Annotated[
        Path | None, typer.Argument(metavar="PROTOTYPES", help="A prototype index; or give --classes.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", "-c", help="A bundled set, a file, or a comma list, instead of an index.")
    ] = None,
    templates: Annotated[
        str | None,
        typer.Option("--templates", "-t", help="Templates for --classes (default: the set's own, else standard)."),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option("--gallery", help="A labelled gallery: count which of its images are confused.")
    ] = None,
    where: options.Where = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="List so many pairs of classes.")] = 20,
    matrix: Annotated[
        Path | None, typer.Option("--matrix", help="Write the similarity of every two classes here (CSV).")
    ] = None,
    form: Annotated[
        OutputFormat, typer.Option("--format", help="How to print; csv and jsonl hold the pairs alone.")
    ] = OutputFormat.TABLE,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model for --classes (default: that of --gallery, if given).")
    ] = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Point at classes whose prompts pull them towards another: the most similar prototypes, each class's nearest.

    Similarity is cosine similarity, from -1 to 1. Two classes of one name are twins: no prompt can tell them apart.

    Example: zsretrieve prompts similar indexes/imagenet --gallery indexes/val --matrix similar.csv
    """
    from zsretrieve import api

    if (prototypes is None) == (classes is None):
        raise typer.BadParameter("give either a prototype index or --classes", param_hint="PROTOTYPES / --classes")
    for name, given in (("--templates", templates), ("--model", model)):
        if given is not None and classes is None:
            raise typer.BadParameter("it goes with --classes; an index has its own", param_hint=name)
    told = options.verbosity(context)
    options.check_writable(matrix, "--matrix", ("class_id", "class_name", "0", "1"), more=True)
    pictures = None if gallery is None else api.lab_gallery(gallery)
    options.check_where(where, pictures)
    if prototypes is not None:
        opened = api.open_prototypes(prototypes, device="cpu")
    else:
        prompts = api.read_prompts(str(classes), templates)
        if pictures is not None:
            api.check_gallery_labels(pictures, prompts)
        name = model or (options.MODEL_DEFAULT if pictures is None else pictures.space.model)
        encoder = options.load_encoder(told, name, device, precision, engine)
        built = api.make_prototypes(prompts, encoder, device="cpu")
        for line in options.prompt_notes(built):
            output.note(told, line)
        opened = built.prototypes
    found = api.similar_classes(opened, pairs=pairs, gallery=pictures, where=where)
    if found.n_drawn:
        output.note(told, f"{found.n_drawn} images that the prototypes were made from are left out")
    if matrix is not None:
        _write_matrix(matrix, opened)
        output.note(told, f"{len(opened.vectors)} x {len(opened.vectors)} similarities -> {matrix}")
    match form:
        case OutputFormat.TABLE:
            _show(found, opened)
        case OutputFormat.CSV | OutputFormat.JSONL:
            output.write_rows([_pair(row) for row in found.pairs], form)
        case OutputFormat.JSON:
            output.write_json(
                {
                    "model": opened.space.model,
                    "n_classes": len(opened.vectors),
                    "usual_nearest": found.usual,
                    "close_above": found.fence,
                    "n_drawn": found.n_drawn,
                    "pairs": [_pair(row) for row in found.pairs],
                    "nearest": [_nearest(row) for row in found.nearest],
                }
            )


def _show(found: Similar, of: Prototypes) -> None:
    counted = any(row.confused is not None for row in found.pairs)
    taken = ("first as second", "second as first") if counted else ()
    table = output.table("similarity", "first", "second", "", *taken, right=("similarity", *taken))
    for row in found.pairs:
        table.add_row(
            f"{row.similarity:.4f}", output.cell(_named(row.first, row.first_name)),
            output.cell(_named(row.second, row.second_name)), _mark(row.same_name, row.similarity),
            *_taken(row.confused),
        )  # fmt: skip
    output.show(
        table, f"{of.space.model}: the most similar of {len(of.vectors)} classes, {of.prompts.templates_source}"
    )
    close = sorted((row for row in found.nearest if row.close), key=lambda row: -row.similarity)
    say = output.out().print
    say(
        f"The nearest class is usually at {found.usual:.4f} (median); {len(close)} of {len(found.nearest)} classes are "
        f"nearer to another than {found.fence:.4f} (third quartile and 1.5 interquartile ranges, or "
        "equal), or its twins.",
        markup=False, soft_wrap=True,
    )  # fmt: skip
    if close:
        _show_close(close, taken)
    if counted:
        wrong = sum(_mistakes(row.confused) for row in found.pairs)
        are = "1 image is" if wrong == 1 else f"{wrong} images are"
        say(f"{are} taken for the other class of one of these pairs.", markup=False, soft_wrap=True)


def _show_close(close: Sequence[Nearest], taken: tuple[str, ...]) -> None:
    table = output.table(
        "class", "is pulled towards", "similarity", "", *(("taken for it",) if taken else ()),
        right=("similarity", "taken for it"),
    )  # fmt: skip
    for row in close[:_SHOWN]:
        table.add_row(
            output.cell(_named(row.class_id, row.class_name)), output.cell(_named(row.nearest, row.nearest_name)),
            f"{row.similarity:.4f}", "twins" if row.same_name else "", *_taken(row.confused)[:1],
        )  # fmt: skip
    output.show(table, None if len(close) <= _SHOWN else f"the first {_SHOWN} of {len(close)}")


def _named(number: int, name: str) -> str:
    return f"{name} ({number})"


def _taken(found: Confused | None) -> tuple[str, ...]:
    if found is None:
        return ()
    return (
        f"{found.first_as_second} / {found.n_first} images",
        f"{found.second_as_first} / {found.n_second} images",
    )


def _mistakes(found: Confused | None) -> int:
    return 0 if found is None else found.first_as_second + found.second_as_first


def _pair(row: Pair) -> dict[str, Any]:
    return {
        "similarity": round(row.similarity, 7),
        "first_id": row.first,
        "first": row.first_name,
        "second_id": row.second,
        "second": row.second_name,
        "same_name": row.same_name,
        **_confused(row.confused),
    }


def _nearest(row: Nearest) -> dict[str, Any]:
    return {
        "class_id": row.class_id,
        "class_name": row.class_name,
        "nearest_id": row.nearest,
        "nearest": row.nearest_name,
        "similarity": round(row.similarity, 7),
        "same_name": row.same_name,
        "close": row.close,
        **_confused(row.confused),
    }


def _confused(found: Confused | None) -> dict[str, Any]:
    return {
        "first_as_second": None if found is None else found.first_as_second,
        "n_first": None if found is None else found.n_first,
        "second_as_first": None if found is None else found.second_as_first,
        "n_second": None if found is None else found.n_second,
    }


def _mark(same_name: bool, similarity: float) -> str:
    from zsretrieve.verbs.similar import EQUAL

    if same_name:
        return "twins"
    return "equal" if similarity > EQUAL else ""


def _write_matrix(file: Path, of: Prototypes) -> None:
    """One line for each class, its id and name first."""
    from zsretrieve.verbs.similar import similarities

    names = of.prompts.class_names
    with output.opened(file) as handle:
        writer = csv.writer(handle)
        writer.writerow(["class_id", "class_name", *range(len(names))])
        for start, scores in similarities(of.vectors):
            for row, values in enumerate(scores, start=start):
                writer.writerow([row, names[row], *(f"{value:.6f}" for value in values)])

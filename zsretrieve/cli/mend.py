"""``zsretrieve index verify`` and ``repair``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output

if TYPE_CHECKING:
    from zsretrieve.ports import Encoder

_SHOWN = 10
Index = Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")]


def verify(
    context: typer.Context,
    folder: Index,
    deep: Annotated[bool, typer.Option("--deep", help="Also encode a sample again and compare.")] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, help="How many, with --deep.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Which, with --deep.")] = 0,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Check every digest, count, norm and id of an index; exit code 1 if anything is wrong.

    Example: zsretrieve index verify indexes/pictures
    """
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    verbosity = options.verbosity(context)
    problems = api.verify(folder)
    told = f"{output.cell(str(folder))}: sound"
    if deep and not problems:
        name = model or passport.read(folder).space.model
        checked = api.verify_deep(
            folder, options.load_encoder(verbosity, name, device, precision, engine), sample=sample, seed=seed
        )
        problems = [damage.message for damage in checked.damages]
        told += f"; {checked.n_same} of a sample encoded again agree"
        if checked.n_changed:
            told += f", {checked.n_changed} are not the files they were (zsretrieve index sync)"
    for problem in problems:
        output.err().print(f"error: {problem}", markup=False)
    if problems:
        output.err().print(f"hint: See what can be saved with: zsretrieve index repair '{folder}'", markup=False)
        raise typer.Exit(1)
    output.out().print(told, soft_wrap=True)


def repair(
    context: typer.Context,
    folder: Index,
    encode: Annotated[
        bool, typer.Option("--encode/--no-encode", help="Encode images again whose vectors are damaged.")
    ] = True,
    lost: Annotated[Path | None, typer.Option("--lost", help="List what is lost here, one a line.")] = None,
    model: options.ModelOfIndex = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.AUTO,
    engine: options.EngineOption = options.Engine.AUTO,
) -> None:
    """Mend a damaged index: make again what is derived, encode again what is damaged, say what is lost.

    Example: zsretrieve index repair indexes/pictures
    """
    from zsretrieve import api
    from zsretrieve.store import manifest as passport

    verbosity = options.verbosity(context)
    options.check_writable(lost, "--lost")
    options.check_apart({"INDEX": folder, "--lost": lost})

    def encoder() -> Encoder:
        name = model or passport.read_either(folder).space.model
        return api.load_encoder(name, device=device, precision=precision.value, engine=engine.value)

    with output.progress(verbosity, "encoding again") as on_progress:
        done = api.repair(folder, encoder, encode=encode, on_progress=on_progress)
    console = output.out()
    for line in done.done or ("nothing is damaged",):
        console.print(output.cell(line), soft_wrap=True)
    if done.recovered:
        console.print(f"{done.recovered} vectors were made again from their images", soft_wrap=True)
    if lost is not None:
        lost.write_text("".join(f"{line}\n" for line in done.lost), encoding="utf-8", errors="surrogateescape")
    if done.lost:
        console.print(f"lost: {done.n_lost} images", soft_wrap=True)
        for line in done.lost[:_SHOWN]:
            console.print(f"  {output.cell(line)}", soft_wrap=True)
        if len(done.lost) > _SHOWN and lost is None:
            console.print("  and more; list them with --lost FILE", soft_wrap=True)
        output.note(verbosity, f"zsretrieve index sync '{folder}' encodes again, under new ids, what is still there")

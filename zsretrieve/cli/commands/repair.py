"""``zsretrieve index verify`` and ``repair``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.domain.wording import counted

_SHOWN = 10
Index = Annotated[Path, typer.Argument(metavar="INDEX", help="An index folder.")]


@grouped
def verify(
    folder: Index,
    compute: options.ComputeTexts,
    deep: Annotated[bool, typer.Option("--deep", help="Also encode a sample again and compare.")] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, help="The size of the sample, with --deep.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The seed of the sample, with --deep.")] = 0,
    model: options.ModelOfIndex = None,
) -> None:
    """Check every digest, count, norm and ID of an index; exit with 1 if anything is wrong.

    Example: zsretrieve index verify indexes/pictures
    """
    import zsretrieve as zs

    problems = zs.verify(folder)
    verdict = f"{output.cell(str(folder))}: sound"
    if deep and not problems:
        with output.progress() as on_stage:
            checked = zs.verify_deep(folder, zs.Model(model, compute, on_stage=on_stage), sample=sample, seed=seed)
        problems = [damage.message for damage in checked.damages]
        files = counted(checked.n_changed, "file")
        gone = f"{files} of the sample changed or gone (zsretrieve index sync)"
        if checked.n_same:
            verdict += f"; re-encoded a sample of {checked.n_same}, all match{f'; {gone}' if checked.n_changed else ''}"
        else:
            verdict += f", but nothing could be re-encoded: {gone}"
    for problem in problems:
        output.say(f"error: {problem}", console=output.err())
    if problems:
        output.say(f"hint: See what can be saved with: zsretrieve index repair '{folder}'", console=output.err())
        raise typer.Exit(1)
    output.say(verdict)


@grouped
def repair(
    folder: Index,
    compute: options.ComputeTexts,
    encode: Annotated[
        bool, typer.Option("--encode/--no-encode", help="Encode images again whose vectors are damaged.")
    ] = True,
    lost: Annotated[Path | None, typer.Option("--lost", help="List what is lost here, one per line.")] = None,
    model: options.ModelOfIndex = None,
) -> None:
    """Repair a damaged index: rebuild derived files, encode damaged vectors again, list what is lost.

    Example: zsretrieve index repair indexes/pictures
    """
    import zsretrieve as zs

    options.check_writable(lost, "--lost")
    options.check_apart({"INDEX": folder, "--lost": lost})
    with output.progress() as on_stage:
        repaired = zs.repair(folder, zs.Model(model, compute, on_stage=on_stage), encode=encode, on_stage=on_stage)
    for line in repaired.done or ("nothing is damaged",):
        output.say(output.cell(line))
    if repaired.recovered:
        output.say(f"{repaired.recovered} vectors were encoded again from their images")
    if lost is not None:
        lost.write_text("".join(f"{line}\n" for line in repaired.lost), encoding="utf-8", errors="surrogateescape")
    if repaired.lost:
        output.say(f"lost: {repaired.n_lost} images")
        for line in repaired.lost[:_SHOWN]:
            output.say(f"  {output.cell(line)}")
        if len(repaired.lost) > _SHOWN and lost is None:
            output.say("  and more; list them with --lost FILE")
        output.note(f"zsretrieve index sync '{folder}' encodes again, under new IDs, what is still there")

"""``zsretrieve index plan``."""

from __future__ import annotations

from typing import Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat
from zsretrieve.cli.views import plans
from zsretrieve.domain.byte_sizes import bytes_of
from zsretrieve.domain.counts import count_of


def plan(
    vectors: Annotated[
        str | None, typer.Option("--vectors", metavar="N", help="How many: 200k, 10M, 5e9 (default: the gallery's).")
    ] = None,
    dim: Annotated[
        int | None,
        typer.Option("--dim", metavar="D", help="Their dimensions (default: the gallery's or the model's)."),
    ] = None,
    gallery: Annotated[
        str | None, typer.Option("--gallery", metavar="GALLERY", help="A gallery that is to grow or change its kind.")
    ] = None,
    model: Annotated[str | None, typer.Option("--model", metavar="MODEL", help="The model of the vectors.")] = None,
    recall: Annotated[
        float, typer.Option("--recall", metavar="R", help="Wanted among the ten best, for texts and for images.")
    ] = 0.95,
    memory: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Memory of one machine: 64GB (default: any).")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, max=1e9, metavar="R", help="Images that one machine encodes per second."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Measure this machine in about a minute, and --model if there is no --rate."),
    ] = False,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print.")] = ReportFormat.TABLE,
) -> None:
    """Plan an index before anything is encoded: which kinds fit, their bytes, machines, hours and latency.

    Recall was measured on synthetic vectors (docs/planning.md). Times are those of two cores unless this machine is
    measured.

    Example: zsretrieve index plan --vectors 5e9 --dim 768 --recall 0.95 --memory 256GB
    """
    import zsretrieve as zs

    wanted = zs.plan_index(
        None if vectors is None else count_of(vectors, "--vectors"),
        dim,
        gallery=gallery,
        model=model,
        recall=recall,
        memory=None if memory is None else bytes_of(memory),
        images_per_second=rate,
    )
    if measure:
        with output.progress() as on_stage:
            rates = zs.measure_rates(wanted.dim, on_stage=on_stage)
            if rate is None and model is not None:
                rate = zs.encoding_rate(model, on_stage=on_stage)
        wanted = zs.plan_index(
            wanted.vectors, wanted.dim, recall=recall, memory=wanted.memory, images_per_second=rate, rates=rates
        )
    if form is ReportFormat.JSON:
        output.write_json(wanted.to_dict())
    else:
        plans.show(wanted)

"""``zsretrieve doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.doctor import Diagnosis

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red", "unknown": "magenta"}


def doctor(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try the network.")] = False,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print; json is for bug reports.")] = (
        ReportFormat.TABLE
    ),
) -> None:
    """Tell what this machine can do and what is wrong with it, each with the command that mends it.

    Looks at packages, torch, FAISS, GPUs, processor, memory, caches, the hub and picture formats. Engines and GPUs are
    tried in processes of their own. Exit code 1 if anything is a problem.

    Example: zsretrieve doctor
    """
    with output.working(options.verbosity(context), "examining"):
        from zsretrieve.doctor import examine

        diagnosis = examine(offline=offline)
    if form is ReportFormat.JSON:
        output.write_json(diagnosis.as_dict())
    else:
        _show(diagnosis)
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _show(diagnosis: Diagnosis) -> None:
    table = output.table("status", "what", "found")
    for finding in diagnosis.findings:
        status = f"[{_STYLES[finding.status.value]}]{finding.status.value}[/]"
        table.add_row(status, output.cell(finding.name), output.cell(finding.found))
    output.show(table)
    console = output.out()
    to_mend = [f for f in diagnosis.findings if f.status.value != "ok" and f.fix]
    optional = [f for f in diagnosis.findings if f.status.value == "ok" and f.fix]
    for title, findings in (("To mend:", to_mend), ("Optional:", optional)):
        if findings:
            console.print(title, style="bold")
        for finding in findings:
            # Not folded, so that it can be copied.
            console.print(f"  {finding.name}\n    {finding.fix}", markup=False, soft_wrap=True)
    counts = diagnosis.as_dict()["counts"]
    console.print(", ".join(f"{number} {status}" for status, number in counts.items() if number))

"""``zsretrieve doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import output
from zsretrieve.cli.output import ReportFormat

if TYPE_CHECKING:
    from zsretrieve.doctor import Diagnosis

# The worst first.
_STYLES = {"problem": "bold red", "warning": "yellow", "unknown": "magenta", "ok": "green"}
_PACKAGE = "package "


def doctor(
    context: typer.Context,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try the network.")] = False,
    form: Annotated[ReportFormat, typer.Option("--format", help="How to print; json is for bug reports.")] = (
        ReportFormat.TABLE
    ),
) -> None:
    """Check this installation and suggest fixes.

    Checks packages, torch, FAISS, GPUs, the processor, memory, caches, the Hugging Face hub and image formats. Engines
    and GPUs are tried in separate processes. --verbose lists every package. The exit code is 1 if there is a problem.

    Example: zsretrieve doctor
    """
    with output.progress() as on_stage:
        from zsretrieve.doctor import examine

        on_stage("checking the installation", 0, 1)
        diagnosis = examine(offline=offline)
    if form is ReportFormat.JSON:
        output.write_json(diagnosis.as_dict())
    else:
        _show(diagnosis, every_package=bool(context.find_root().params.get("verbose")))
    if not diagnosis.healthy:
        raise typer.Exit(1)


def _show(diagnosis: Diagnosis, *, every_package: bool) -> None:
    table = output.table("status", "check", "result")
    shown = [
        finding
        for finding in sorted(diagnosis.findings, key=lambda finding: list(_STYLES).index(finding.status))
        if every_package or finding.status != "ok" or not finding.name.startswith(_PACKAGE)
    ]
    for finding in shown:
        status = output.styled(finding.status, _STYLES[finding.status])
        table.add_row(status, output.cell(finding.name), output.cell(finding.found))
    packages = [finding for finding in diagnosis.findings if finding not in shown]
    if packages:
        absent = sum(finding.fix is not None for finding in packages)
        missing = f", {absent} optional ones not" if absent else ""
        table.add_row(
            output.styled("ok", _STYLES["ok"]),
            "packages",
            f"{len(packages) - absent} installed{missing}; -v lists them",
        )
    output.show(table)
    console = output.out()
    for title, is_ok in (("To fix:", False), ("Optional:", True)):
        fixes = [finding for finding in shown if finding.fix and (finding.status == "ok") is is_ok]
        if fixes:
            console.print(title, style="bold")
        for finding in fixes:
            # Not folded, so that it can be copied.
            console.print(f"  {finding.name}\n    {finding.fix}", soft_wrap=True)
    counts = diagnosis.as_dict()["counts"]
    console.print(", ".join(f"{number} {status}" for status, number in counts.items() if number))

"""``zsretrieve mcp``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped


@grouped
def mcp(
    galleries: Annotated[list[str], typer.Argument(metavar="GALLERY...", help="Gallery indexes or their @NAMEs.")],
    *,
    compute: options.ComputeTexts,
    prototypes: Annotated[
        list[str] | None,
        typer.Option("--prototypes", "-p", metavar="INDEX", help="A prototype index to classify with; repeatable."),
    ] = None,
    model: options.ModelOfIndex = None,
) -> None:
    """Let an assistant search galleries, by the Model Context Protocol over stdin and stdout.

    The assistant starts it, from its configuration; see docs/mcp.md. Nothing can be changed. It ends when the assistant
    closes stdin.

    Example: zsretrieve mcp @photos --prototypes indexes/imagenet
    """
    from zsretrieve.system.extras import require_mcp

    require_mcp()
    import zsretrieve as zs
    from zsretrieve.mcp import running

    if sys.stdin.isatty():
        output.note(
            "waiting for an assistant's messages on stdin; Ctrl-C ends it. See docs/mcp.md for its configuration."
        )
    running.run(galleries, prototypes or (), zs.Model(model, compute))

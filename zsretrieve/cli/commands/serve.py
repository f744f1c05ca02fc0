"""``zsretrieve serve``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsretrieve.cli import options, output
from zsretrieve.cli.groups import grouped
from zsretrieve.domain.errors import UsageError
from zsretrieve.domain.settings import Cluster, Shards
from zsretrieve.domain.wording import counted

if TYPE_CHECKING:
    from zsretrieve.web.service import Service

_ACCESS = "Who may use it"
_CLUSTER = "On a cluster"
_PORT = 7878


@grouped
def serve(
    context: typer.Context,
    galleries: Annotated[
        list[str],
        typer.Argument(metavar="GALLERY...", help="Gallery indexes or their @NAMEs; with --build folders of images."),
    ],
    *,
    compute: options.ComputeTexts,
    prototypes: Annotated[
        list[str] | None,
        typer.Option("--prototypes", "-p", metavar="INDEX", help="A prototype index to classify with; repeatable."),
    ] = None,
    build: Annotated[
        bool,
        typer.Option("--build", help="Index the folders first, with --model, and keep the indexes by name."),
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            metavar="N",
            help="Port; 0 picks any free one. If the default is in use, the next free one is tried.",
        ),
    ] = _PORT,
    open_: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open the page in a browser (the default at a desktop's terminal)."),
    ] = None,
    warm: Annotated[bool, typer.Option("--warm/--no-warm", help="Load the model before the first search.")] = True,
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            rich_help_panel=_ACCESS,
            help="Address to listen on; 0.0.0.0 is all interfaces.",
        ),
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            rich_help_panel=_ACCESS,
            help="A name by which browsers reach it; repeatable.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            rich_help_panel=_ACCESS,
            help="The token to ask for; without a file there is a fresh one where one is needed.",
        ),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", rich_help_panel=_ACCESS, help="Let whoever has the token change galleries.")
    ] = False,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", rich_help_panel=_ACCESS, help="Fetch the public URLs of query images.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            rich_help_panel=_CLUSTER,
            help="Spread galleries over a cluster of Ray: HOST:PORT, or auto for the one this machine belongs to.",
        ),
    ] = None,
    shards: Annotated[
        int, typer.Option("--shards", min=1, metavar="N", rich_help_panel=_CLUSTER, help="Parts of each gallery.")
    ] = Shards.count,
    replicas: Annotated[
        int,
        typer.Option("--replicas", min=1, metavar="N", rich_help_panel=_CLUSTER, help="Nodes that hold each part."),
    ] = Shards.replicas,
    shard_deadline: Annotated[
        float,
        typer.Option(
            "--shard-deadline",
            min=0.1,
            metavar="SECONDS",
            rich_help_panel=_CLUSTER,
            help="How long a search waits for a part.",
        ),
    ] = Shards.deadline_s,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial/--no-partial",
            rich_help_panel=_CLUSTER,
            help="While a part does not answer, search the others and say how many images are missing, or fail.",
        ),
    ] = True,
    model: options.ModelOfIndex = None,
) -> None:
    """Serve galleries: a page in the browser, an API under /api/v1, and the protocol of clip-retrieval's clients.

    Only this machine reaches it, unless --host says otherwise; then it asks for a token. Nothing can be changed without
    --write. With --ray, the nodes of a cluster search the galleries. Ctrl-C ends it after the running requests.

    Example: zsretrieve serve indexes/pictures --prototypes indexes/imagenet
    """
    import zsretrieve as zs
    from zsretrieve.web import serving
    from zsretrieve.web.settings import Settings

    token = None if token_file is None else serving.read_token(token_file)
    settings = Settings(host, port, tuple(allow_host or ()), token, write, allow_url)
    if token is None and (write or not settings.is_local):
        settings = replace(settings, token=serving.new_token())
    spread = None
    if ray is not None:
        spread = Shards(Cluster(ray), shards, replicas, shard_deadline, partial)
    else:
        _refuse_without_ray(context)
    with output.progress() as on_stage:
        engine = zs.Model(model, compute, on_stage=on_stage)
        if build:
            galleries = [zs.gallery_of(folder, engine, on_stage=on_stage) for folder in galleries]
    asked = serving.Asked(
        tuple(galleries),
        tuple(prototypes or ()),
        settings,
        is_port_wanted=options.is_given(context, "port"),
        open_browser=_is_at_desktop() if open_ is None else open_,
        warm=warm,
        shards=spread,
    )
    serving.serve(asked, zs.Model(model, compute), _say)


def _refuse_without_ray(context: typer.Context) -> None:
    for name, option in {
        "shards": "--shards", "replicas": "--replicas", "shard_deadline": "--shard-deadline", "partial": "--no-partial",
    }.items():  # fmt: skip
        if options.is_given(context, name):
            raise UsageError(f"{option} has no effect without --ray", hint="Add --ray ADDRESS, or leave it out.")


def _say(address: str, service: Service) -> None:
    """One line on stdout that other programs can read as well: the address is its last word."""
    from zsretrieve.web.serving import with_token

    images = sum(len(served.current.gallery.items) for served in service.shelf.galleries.values())
    output.out().print(
        f"Serving {counted(images, 'image')} at {address}", soft_wrap=True, highlight=False, markup=False
    )
    sys.stdout.flush()
    settings = service.settings
    if settings.network_address is not None:
        output.note(f"on your network: {with_token(settings.network_address, settings.token)}")


def _is_at_desktop() -> bool:
    return sys.stdout.isatty() and bool(
        sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )

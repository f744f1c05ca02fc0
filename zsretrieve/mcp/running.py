"""Running the MCP server over stdin and stdout."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import ValidationError

from zsretrieve.encoders.loading import Model
from zsretrieve.mcp.tools import Tools
from zsretrieve.system.version import tool_version
from zsretrieve.web.errors import unlike
from zsretrieve.web.service import Service, open_service
from zsretrieve.web.settings import Settings

_INSTRUCTIONS = (
    "Search and classify the user's images by what they show. Begin with describe to learn the names of galleries, "
    "labels and prototypes; search finds images by words, and open_images shows them."
)


def run(galleries: Sequence[str], prototypes: Sequence[str], model: Model) -> None:
    """Open galleries and prototypes, folders or ``@NAME``s, and answer an assistant until it closes stdin.

    Raises
    ------
    IndexFormatError, IntegrityError
        If an index is not sound.
    """
    asyncio.run(_run(open_service(galleries, prototypes, model, Settings())))


class _Server(MCPServer[Any]):
    """A server that says in one line what is wrong with the arguments of a call."""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            problem = unlike(error.__cause__.errors()[0])
            raise ToolError(f"Error executing tool {name}: {problem}") from error.__cause__


async def _run(service: Service) -> None:
    server = _Server("zsretrieve", version=tool_version(), instructions=_INSTRUCTIONS, log_level="WARNING")
    for tool in Tools(service).all:
        server.add_tool(tool, annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A thread that waits for stdin cannot be ended, and nothing here leaves a file half written.
        asyncio.get_running_loop().add_signal_handler(number, os._exit, 128 + number)
    async with service.running():
        await server.run_stdio_async()

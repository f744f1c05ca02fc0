"""An assistant: the client of the package mcp, with a server in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, Tool

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def words(*arguments: str | Path) -> list[str]:
    return ["-m", "zsretrieve", "mcp", *map(str, arguments)]


def asked(
    arguments: Sequence[str | Path], calls: Sequence[tuple[str, dict[str, Any]]]
) -> tuple[list[Tool], list[CallToolResult]]:
    """The tools of a server in a process of its own, and the results of some calls."""

    async def ask() -> tuple[list[Tool], list[CallToolResult]]:
        server = StdioServerParameters(command=sys.executable, args=words(*arguments), env=ENVIRONMENT)
        async with Client(stdio_client(server)) as client:
            tools = (await client.list_tools()).tools
            return tools, [await client.call_tool(name, given) for name, given in calls]

    # In a thread of its own: Playwright's loop may run in this one.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(asyncio.wait_for(ask(), 120))).result()

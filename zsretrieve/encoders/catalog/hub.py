"""Not waiting for a hub that cannot be reached."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

_PROXIES = ("https_proxy", "http_proxy", "all_proxy")
_TIMEOUT_S = 3.0


@contextlib.contextmanager
def offline_if_unreachable() -> Iterator[str | None]:
    """Put the hub's client into offline mode while the hub cannot be reached.

    Otherwise the client retries each file for half a minute before it looks into its cache or gives up.

    Yields
    ------
    str or None
        Why nothing can be downloaded, or None if the hub can be reached.
    """
    if constants.HF_HUB_OFFLINE:
        yield "HF_HUB_OFFLINE is set"
        return
    if _reachable(constants.ENDPOINT):
        yield None
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield f"{constants.ENDPOINT} cannot be reached"
    finally:
        constants.HF_HUB_OFFLINE = False


def _reachable(endpoint: str) -> bool:
    if any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return True  # a proxy may reach what this machine cannot
    place = urlsplit(endpoint)
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        with socket.create_connection((place.hostname or "", port), timeout=_TIMEOUT_S):
            return True
    except OSError:
        return False


def why_missing(error: BaseException, offline: str | None) -> str:
    """Why something from the hub is not available, in one line.

    ``offline`` is what ``offline_if_unreachable`` yielded. Only the root cause of an error counts, since the layers
    around it repeat it in long texts.
    """
    inner: BaseException = error
    while True:
        if offline is not None and isinstance(inner, OfflineModeIsEnabled | LocalEntryNotFoundError):
            return f"not in the cache, and {offline}"
        cause = inner.__cause__ or inner.__context__
        if cause is None:
            return " ".join(str(inner).split())[:200] or type(inner).__name__
        inner = cause

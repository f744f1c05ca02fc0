"""The page's files, kept in memory: a first visit asks for some forty of them at once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from zsretrieve.web.answers import unchanged

STATIC = Path(__file__).with_name("static")
_LOOKED_AT_AGAIN = "no-cache"
# Not from the system, some of which call JavaScript plain text, and browsers then refuse to run it.
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str


class PageFiles:
    """Answers with the files of a folder, as they were when it was made. Browsers look again on every visit."""

    def __init__(self, folder: Path = STATIC) -> None:
        found = [path for path in folder.rglob("*") if path.suffix in _TYPES]
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in found}

    async def answer(self, request: Request) -> Response:
        """A file by its path, at first ``index.html``. Raises HTTPException (404)."""
        file = self._files.get(request.path_params["path"] or "index.html")
        if file is None:
            raise HTTPException(404)
        known = unchanged(request, file.etag, _LOOKED_AT_AGAIN)
        headers = {"ETag": f'"{file.etag}"', "Cache-Control": _LOOKED_AT_AGAIN}
        return known or Response(file.content, 200, headers, file.media_type)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, _TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:32])

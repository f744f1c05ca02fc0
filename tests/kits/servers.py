"""Web servers of a folder, on this machine."""

from __future__ import annotations

import contextlib
import http.server
import io
import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path


class Plain(http.server.SimpleHTTPRequestHandler):
    """Gives whole files only."""

    def log_message(self, *args: object) -> None:
        pass


class Ranges(Plain):
    """Gives parts of files, too."""

    protocol_version = "HTTP/1.1"

    def send_head(self) -> io.BytesIO | None:  # type: ignore[override]
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = self.translate_path(self.path)
        if wanted is None or not os.path.isfile(path):
            return super().send_head()  # type: ignore[return-value]
        whole = Path(path).read_bytes()
        part = whole[int(wanted[1]) : int(wanted[2]) + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {wanted[1]}-{int(wanted[1]) + len(part) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)


class Redirects(Plain):
    """Sends everyone below ``/to/HOST/`` to the rest of the path on that host, ``/uri/HOST/`` by an old header."""

    def send_head(self) -> io.BytesIO | None:  # type: ignore[override]
        there = re.fullmatch(r"/(to|uri)/([^/]+)(/.*)", self.path)
        if there is None:
            return super().send_head()  # type: ignore[return-value]
        self.send_response(302)
        header = "Location" if there[1] == "to" else "URI"
        self.send_header(header, f"http://{there[2]}:{self.server.server_port}{there[3]}")  # type: ignore[attr-defined]
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None


@contextlib.contextmanager
def serving(folder: Path, kind: type[Plain] = Plain) -> Iterator[str]:
    """The URL at which a folder is served meanwhile."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

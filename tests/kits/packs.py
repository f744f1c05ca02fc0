"""Model packs written by hand, as docs/formats.md describes them."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from zsretrieve.encoders.catalog.model_name import DEMO_PACK

MANIFEST = "pack.json"
Members = dict[str, bytes]


def members_of(pack: Path = DEMO_PACK) -> Members:
    with zipfile.ZipFile(pack) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(members: Members, path: Path, how: int = zipfile.ZIP_STORED) -> Path:
    """A zip of members, whatever they are."""
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def signed(content: dict[str, Any]) -> bytes:
    """A manifest with the digest of its content."""
    content = {name: value for name, value in content.items() if name != "digest"}
    content["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def described(members: Members) -> Members:
    """The members with a manifest that fits them."""
    content = json.loads(members[MANIFEST])
    content["members"] = {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in members.items()
        if name != MANIFEST
    }
    return {**members, MANIFEST: signed(content)}


def tiny() -> Members:
    """The bundled pack's manifest over members of a few bytes, which are enough for what only reads the format."""
    members = members_of()
    return described(
        {name: data if name == MANIFEST else f"the bytes of {name}".encode() for name, data in members.items()}
    )

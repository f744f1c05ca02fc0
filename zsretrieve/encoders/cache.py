"""The user's cache folder: what can be made again, and is kept because making it takes long."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

ENVIRONMENT = "ZSRETRIEVE_CACHE"


def cache_folder() -> Path:
    """``$ZSRETRIEVE_CACHE``, or the place this system has for caches. It need not exist."""
    given = os.environ.get(ENVIRONMENT)
    return Path(given).expanduser().absolute() if given else platformdirs.user_cache_path("zsretrieve")

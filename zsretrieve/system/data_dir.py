"""The user's data folder, for what is kept until the user deletes it."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "ZSRETRIEVE_DATA"


def data_folder() -> Path:
    """``$ZSRETRIEVE_DATA``, or the system's place for data. It need not exist."""
    given = os.environ.get(ENVIRONMENT)
    if given:
        return Path(os.path.expanduser(given)).absolute()
    import platformdirs

    return platformdirs.user_data_path("zsretrieve")

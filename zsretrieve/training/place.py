"""Where a model is trained: a folder that holds the state of the training until the model takes its place."""

from __future__ import annotations

from pathlib import Path

from zsretrieve.encoders.catalog.fingerprint import RECORD
from zsretrieve.system.atomic import OutputKind, check_output

# In the folder, until the model is there.
FOLDER = ".training"
STATE = Path(FOLDER, "state.safetensors")
JOB = Path(FOLDER, "job.pickle")


def _is_ours(folder: Path) -> bool:
    if any((folder / one).is_file() for one in (RECORD, STATE, JOB)):
        return True
    # What is left where the disk was full from the start.
    return folder.is_dir() and [path.name for path in folder.iterdir()] == [FOLDER]


KIND = OutputKind(is_folder=True, is_ours=_is_ours, name="model")


def check_place(out: Path, *, force: bool) -> None:
    """Raise OutputExistsError unless a model can be trained in a folder: it is free, has an unfinished training, or
    with ``force`` a model that was trained here. Raises IndexFolderError if nothing could be written there.
    """
    check_output(out, KIND, force=force or not (out / RECORD).is_file())

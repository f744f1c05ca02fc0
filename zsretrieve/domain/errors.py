"""Every error the library raises.

ZsRetrieveError
├── UsageError              options that contradict each other, or the source they are given with
│   ├── RankError           a k, a threshold or a selection of rows that is out of range
│   └── ArgumentError       a value of the wrong type, or a number out of its bounds
├── ModelNameError          a model name that cannot be read or does not exist
├── WeightsUnavailableError the weights of a known model are not available
├── UntrustedCodeError      a model that would run code of its own, which the caller did not allow
├── ConversionError         a model that the CPU engine cannot run
├── DeviceError             a device or precision that is not available
│   └── MissingGpuError     it names more GPUs than there are
├── CacheError              the cache folder cannot be written
├── PromptError             class names, templates or prompts that cannot be used
├── SourceError             a folder, list or file of images that cannot be used
├── ImageError              an image that cannot be read (becomes a Skipped in a run)
│   └── MissingImageError   it is definitely gone
├── SkippedInputError       an input was skipped, and the caller asked for none to be
├── QueryError              a search query that cannot be read
├── FilterError             a condition on a gallery's items that cannot be used
│   └── NothingPassesError  it is sound, and no item passes it
├── ShapeError              an array of the wrong shape, dtype or norm
├── ClassMappingError       labels of a source that are not classes of the prototypes
├── SpaceMismatchError      vectors of two different embedding spaces were about to meet
├── ReportError             a report that cannot be written
├── TrainingError           a training whose loss is not a number any more
├── ServerError             a server that cannot be reached, or does not answer as it should
├── MissingRowsError        rows of a gallery are on machines that do not answer
├── ClusterError            a cluster that cannot be reached, or does not suit the work
├── OptionalDependencyError an optional package is not installed
└── IndexFolderError        an index folder that cannot be opened or written
    ├── IndexBusyError      another process is writing it
    ├── IndexFormatError    its manifest is damaged, or of a newer format
    │   └── IndexVersionError   it has a format that this version does not read
    ├── IntegrityError      a file differs from what the manifest says
    └── OutputExistsError   the output folder already holds something
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ZsRetrieveError(Exception):
    """Base of all errors a user can act on.

    Parameters
    ----------
    message : str
        What is wrong and where, in one line.
    hint : str, optional
        What to do next, in one line.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ZsRetrieveError):
    pass


class ArgumentError(UsageError):
    pass


class ModelNameError(ZsRetrieveError):
    pass


class WeightsUnavailableError(ZsRetrieveError):
    pass


class UntrustedCodeError(ZsRetrieveError):
    pass


class ConversionError(ZsRetrieveError):
    pass


class DeviceError(ZsRetrieveError):
    pass


class MissingGpuError(DeviceError):
    pass


class CacheError(ZsRetrieveError):
    pass


class PromptError(ZsRetrieveError):
    pass


class SourceError(ZsRetrieveError):
    pass


class ImageError(ZsRetrieveError):
    pass


class MissingImageError(ImageError):
    pass


class SkippedInputError(ZsRetrieveError):
    pass


class QueryError(ZsRetrieveError):
    pass


class FilterError(ZsRetrieveError):
    pass


class NothingPassesError(FilterError):
    pass


class RankError(UsageError):
    pass


class ShapeError(ZsRetrieveError):
    pass


class ClassMappingError(ZsRetrieveError):
    pass


class SpaceMismatchError(ZsRetrieveError):
    pass


class OptionalDependencyError(ZsRetrieveError):
    pass


class ReportError(ZsRetrieveError):
    pass


class TrainingError(ZsRetrieveError):
    pass


class ServerError(ZsRetrieveError):
    pass


class MissingRowsError(ZsRetrieveError):
    """``available`` are the rows that can be searched meanwhile, ascending; None where a part is not wanted."""

    available: NDArray[np.int64] | None = None


class ClusterError(ZsRetrieveError):
    pass


class IndexFolderError(ZsRetrieveError):
    pass


class IndexBusyError(IndexFolderError):
    pass


class IndexFormatError(IndexFolderError):
    pass


class IndexVersionError(IndexFormatError):
    pass


class IntegrityError(IndexFolderError):
    pass


class OutputExistsError(IndexFolderError):
    pass


class DoesNotApplyError(Exception):
    """An ablation that does not apply to a model; the message says why."""

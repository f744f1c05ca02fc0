"""Every error the library raises.

ZsRetrieveError
├── ModelNameError          a model name that cannot be read or does not exist
├── WeightsUnavailableError the weights of a known model cannot be had
├── ConversionError         a model that the CPU engine cannot run
├── DeviceError             the device or precision asked for is not there
│   └── MissingGpuError     fewer GPUs are seen than it names
├── CacheError              the cache folder cannot be written
├── PromptError             class names, templates or prompts that cannot be used
├── SourceError             a folder, list or file of images that cannot be used
├── ImageError              one picture that cannot be read (becomes a Skipped in a run)
│   └── MissingImageError   it surely is not there any more
├── SkippedInputError       an input was skipped and the caller asked for none to be
├── QueryError              a search query that cannot be read
├── FilterError             a condition on the items of a gallery that cannot be used, or that nothing passes
├── RankError               a k, a threshold or a selection of rows that does not fit the index
├── ShapeError              an array of the wrong shape, dtype or norm
├── ClassMappingError       labels of a source that are not classes of the prototypes
├── SpaceMismatchError      vectors of two different spaces were about to meet
├── ReportError             a report that cannot be written
├── OptionalDependencyError an optional package is not installed
└── IndexFolderError        an index folder that cannot be opened or written
    ├── IndexFormatError    its passport is damaged, or of a newer format
    │   └── IndexVersionError   it is of a format that this version does not read
    ├── IntegrityError      a file differs from what the passport says
    └── OutputExistsError   the output folder already holds something
"""

from __future__ import annotations


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


class ModelNameError(ZsRetrieveError):
    pass


class WeightsUnavailableError(ZsRetrieveError):
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


class RankError(ZsRetrieveError):
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


class IndexFolderError(ZsRetrieveError):
    pass


class IndexFormatError(IndexFolderError):
    pass


class IndexVersionError(IndexFormatError):
    pass


class IntegrityError(IndexFolderError):
    pass


class OutputExistsError(IndexFolderError):
    pass

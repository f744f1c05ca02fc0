"""What a client reads when a request is not answered: never a path, a trace or a detail of the server."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from zsretrieve.domain.errors import (
    ClassMappingError,
    ClusterError,
    FilterError,
    ImageError,
    IndexBusyError,
    MissingRowsError,
    OutputExistsError,
    PromptError,
    QueryError,
    RankError,
    ServerError,
    ShapeError,
    SpaceMismatchError,
    UsageError,
    WeightsUnavailableError,
    ZsRetrieveError,
)
from zsretrieve.domain.wording import parameters, with_parameters
from zsretrieve.web.analysis_bodies import ClassifyBody
from zsretrieve.web.bodies import SearchBody

_log = logging.getLogger("zsretrieve")

# Their messages hold what the client sent, and nothing that the server knows.
_CLIENT = (
    ClassMappingError, FilterError, PromptError, QueryError, RankError, ShapeError, SpaceMismatchError, UsageError,
)  # fmt: skip
_FIELDS = SearchBody.model_fields.keys() | ClassifyBody.model_fields.keys()


class HttpError(ZsRetrieveError):
    """A request that is refused with a status; ``kind`` is the error of the library that it stands for."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
        kind: type[ZsRetrieveError] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.headers = dict(headers or {})
        self.kind = kind or (ServerError if status >= 500 else UsageError)


def missing(what: str, hint: str) -> HttpError:
    """404."""
    return HttpError(404, what, hint=hint)


def overloaded() -> HttpError:
    """503: more is waiting than the server is willing to keep."""
    return HttpError(503, "the server is busy", hint="Try again in a second.", headers={"Retry-After": "1"})


def as_http(error: Exception) -> HttpError:
    """The status and the words for an error of the library, or of anything else."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, _CLIENT):
        return HttpError(400, _with_fields(error.message), hint=_hint(error.hint), kind=type(error))
    if isinstance(error, ImageError):
        return HttpError(
            415, f"the image cannot be used: {error.message}", hint="Send a JPEG or PNG file.", kind=ImageError
        )
    if isinstance(error, OutputExistsError):
        return HttpError(
            409, "there is already something of that name", hint="Choose another name.", kind=OutputExistsError
        )
    if isinstance(error, IndexBusyError):
        again = {"Retry-After": "1"}
        return HttpError(
            503, "the gallery is being changed", hint="Try again when that is done.", headers=again, kind=IndexBusyError
        )
    if isinstance(error, MissingRowsError):
        again = {"Retry-After": "5"}
        return HttpError(503, error.message, hint="Try again in a minute.", headers=again, kind=MissingRowsError)
    if isinstance(error, ClusterError):
        _log.error(f"{error.message} ({error.hint})")
        what = "the machines that hold this state of the gallery cannot answer any more"
        return HttpError(
            503,
            what,
            hint="Search again; if that does not help, the operator starts the server again.",
            kind=ClusterError,
        )
    if isinstance(error, WeightsUnavailableError):
        _log.error(f"{error.message} ({error.hint})")
        return HttpError(
            503, "the model of this gallery is not available to the server", hint="Its operator finds why in its log."
        )
    _log.error(f"{type(error).__name__}: {error}", exc_info=None if isinstance(error, ZsRetrieveError) else error)
    return HttpError(500, "the server cannot answer this", hint="Its operator finds why in its log.")


def _with_fields(text: str) -> str:
    """A message of the library, whose parameters are the fields of requests."""
    return with_parameters(text, str)


def _hint(hint: str | None) -> str | None:
    """A hint of the library with the fields of requests; None if it is for the command line alone."""
    if hint is None or "zsretrieve " in hint or not _FIELDS.issuperset(parameters(hint)):
        return None
    return _with_fields(hint)


def unlike(problem: Mapping[str, Any]) -> str:
    """What pydantic says of a value that is not as a schema says, in one line, without repeating the value."""
    if problem["type"] == "json_invalid":
        return f"the body is not JSON: {problem['ctx']['error'].lower()} at character {problem['loc'][-1]}"
    if problem["loc"] == ("body",):
        return "the body is missing" if problem["type"] == "missing" else "the body is not a JSON object"
    place = ".".join(str(part) for part in problem["loc"] if part not in ("body", "query", "path"))
    message = f"{problem['msg'][:1].lower()}{problem['msg'][1:]}"
    return f"{place[:100]}: {message}" if place else message


def is_undeclared(problem: Mapping[str, Any]) -> bool:
    """Whether a body was not read as JSON, since its content type is another."""
    return problem["loc"] == ("body",) and isinstance(problem["input"], bytes)


def body_of(error: HttpError) -> dict[str, Any]:
    """The JSON of an error."""
    return {"error": {"kind": error.kind.__name__, "message": error.message, "hint": error.hint}}

"""The findings of checks, without personal data."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any


class Status(StrEnum):
    """``warning``: works, but not as well as it could. ``problem``: does not work. ``unknown``: not checked."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Parameters
    ----------
    name : str
        What was checked.
    status : Status
    found : str
        The result, in one line.
    fix : str, optional
        The command that fixes it; for a finding that is ``ok``, one that adds something optional.
    """

    name: str
    status: Status
    found: str
    fix: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    version: str
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is a problem."""
        return all(finding.status is not Status.PROBLEM for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """The form for bug reports."""
        counts = Counter(finding.status.value for finding in self.findings)
        return {
            "zsretrieve": self.version,
            "healthy": self.healthy,
            "counts": {status.value: counts[status.value] for status in Status},
            "findings": [asdict(finding) for finding in self.findings],
        }


Check = Callable[[], Iterable[Finding]]


def guarded(name: str, check: Check) -> list[Finding]:
    """The findings of a check, without personal data; an error becomes one more, of status ``unknown``."""
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except Exception as error:  # noqa: BLE001  (one check must not end the others)
        findings.append(Finding(name, Status.UNKNOWN, f"the check failed: {reason(error)}"))
    return [
        Finding(f.name, f.status, anonymous(f.found), None if f.fix is None else anonymous(f.fix)) for f in findings
    ]


def reason(error: BaseException) -> str:
    """An error in one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def anonymous(text: str) -> str:
    """Hide the home folder, the user's name in paths and passwords in URLs; shells still understand the result."""
    text = re.sub(r"://[^/@\s]+@", "://", text)
    for home in sorted({str(Path.home()), os.path.realpath(Path.home())}, key=len, reverse=True):
        if len(Path(home).parts) > 1:  # the home folder of a service may be /
            # Shells do not expand a ~ in quotes.
            text = re.sub(rf"'{re.escape(home)}/", "~/'", text)
            text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text)
    user = os.environ.get("USER") or os.environ.get("LOGNAME")
    return re.sub(rf"/{re.escape(user)}(?![\w.-])", "/$USER", text) if user else text

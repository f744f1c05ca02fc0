"""Commands in a process of their own that succeed, fail, crash and hang."""

from __future__ import annotations

import sys

from zsretrieve.system.trial import Trial


def outcome(code: str, limit_s: float = 60) -> tuple[str, str | None]:
    with Trial([sys.executable, "-c", code], limit_s) as trial:
        return trial.outcome()


def test_how_a_command_ends() -> None:
    assert outcome("print('well')") == ("well\n", None)
    assert outcome("import os; os.abort()") == ("", "crashed (SIGABRT)")
    failing = "import sys; print('CUDA error 209', file=sys.stderr); sys.exit(3)"
    assert outcome(failing) == ("", "exited with code 3: CUDA error 209")
    assert outcome("import sys; print('no devices'); sys.exit(9)")[1] == "exited with code 9: no devices"
    assert outcome("import time; print('so far', flush=True); time.sleep(60)", 3) == (
        "so far\n", "did not answer within 3 s",
    )  # fmt: skip

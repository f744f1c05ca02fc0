"""Work that takes longer than a request: clients ask how far it is, or are sent every step."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

from zsretrieve.domain.errors import ZsRetrieveError
from zsretrieve.domain.ports import OnStage
from zsretrieve.domain.records import Changes
from zsretrieve.web.errors import as_http, missing
from zsretrieve.web.pools import Pool

_log = logging.getLogger("zsretrieve")
_KEPT = 100
_STEP_S, _SILENT_STEPS = 0.2, 50


class StoppedError(ZsRetrieveError):
    """The server ends, and with it a job; what it has written stays, and it can be begun again."""


class Job:
    """One job and how far it is."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._record: dict[str, Any] = {
            "job": self.name, "state": "running", "stage": "", "done": 0, "total": 0, "message": "", "changes": None,
        }  # fmt: skip

    def update(self, **changes: Any) -> None:
        """Note a change, from any thread."""
        with self._lock:
            self._record = {**self._record, **changes}

    @property
    def record(self) -> dict[str, Any]:
        """How far it is now."""
        return self._record

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return bool(self._record["state"] != "running")


class Jobs:
    """Runs jobs one after the other.

    Parameters
    ----------
    waiting : int
        Jobs that may wait; more are refused with 503.
    is_local : bool
        Whether errors may name what is on this machine.
    """

    def __init__(self, waiting: int, *, is_local: bool) -> None:
        self._pool = Pool("job", 1, waiting)
        self._is_local = is_local
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: set[asyncio.Task[None]] = set()
        self.stopping = threading.Event()

    async def start(self, work: Callable[[OnStage], Changes]) -> Job:
        """Begin a job: ``work`` runs in a thread, reports its progress to its argument, and returns what was done."""
        job = Job()

        def on_stage(stage: str, done: int, total: int) -> None:
            if self.stopping.is_set():
                raise StoppedError("the server ended before this was done", hint="Begin it again.")
            job.update(stage=stage, done=done, total=total)

        def run() -> None:
            try:
                job.update(state="done", **_outcome(work(on_stage)))
            except Exception as error:  # noqa: BLE001  (it is the job's outcome)
                shown = error if isinstance(error, ZsRetrieveError) and self._is_local else as_http(error)
                _log.warning(f"a job failed: {error}")
                job.update(state="failed", message=shown.message)

        task = asyncio.get_running_loop().create_task(self._pool.run(run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        await asyncio.sleep(0)
        if task.done():
            task.result()  # raises where too many wait
        self._jobs[job.name] = job
        while len(self._jobs) > _KEPT:
            self._jobs.popitem(last=False)
        return job

    def job(self, name: str) -> Job:
        """A job by its name. Raises HttpError (404)."""
        if name not in self._jobs:
            raise missing(f"there is no job '{name}'", "Only the latest are remembered.")
        return self._jobs[name]

    async def events(self, job: Job) -> AsyncIterator[bytes]:
        """A server-sent event for each step of a job, until it is over."""
        last: dict[str, Any] | None = None
        silent = 0
        while not self.stopping.is_set():
            record = job.record
            if record is not last:
                last, silent = record, 0
                yield f"data: {json.dumps(record)}\n\n".encode()
                if record["state"] != "running":
                    return
            elif silent >= _SILENT_STEPS:
                silent = 0
                yield b": still running\n\n"  # so that nothing between ends the connection
            silent += 1
            await asyncio.sleep(_STEP_S)

    def close(self) -> None:
        """End the job that runs at its next step, and drop the others."""
        self.stopping.set()
        self._pool.close()


def _outcome(changes: Changes) -> dict[str, Any]:
    """What was done, as numbers and in words."""
    counts = {**vars(changes), "skipped": len(changes.skipped)}
    words = [f"{number} {name}" for name, number in counts.items() if name != "encoded"]
    return {"message": ", ".join(words), "changes": counts}

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from zsretrieve.system.interruption import held_back

# In a process of its own: an interruption that goes astray would end the tests.
INTERRUPTED = """
import signal
from zsretrieve.system.interruption import held_back
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
try:
    with held_back():
        signal.raise_signal(signal.SIGINT)
        print("went on")
    print("never reached")
except KeyboardInterrupt:
    print("interrupted", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_an_interruption_waits_for_the_end_of_the_block() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["went on", "interrupted True", ""]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with held_back():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_leave_the_handlers_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]

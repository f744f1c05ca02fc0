"""The program's start, which answers Ctrl-C before the command line is imported."""

import os
import signal
from types import FrameType
from typing import NoReturn


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


def main() -> NoReturn:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job in the background may ignore it
        signal.signal(signal.SIGINT, _stop)
    from zsretrieve.cli.app import main

    main()


if __name__ == "__main__":
    main()

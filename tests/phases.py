"""Be ``infogan``, but stay in one phase of a command until a signal ends it.

python -m tests.phases FUNCTION HOW ARGUMENT ...

The phase is the first call of FUNCTION, such as ``infogan.training.loop.run_stage_hooks``. HOW is ``waits``, in Python,
or ``computes``, in a library, during which Python runs no handler.
"""

import hashlib
import os
import sys
import tempfile
import time
from unittest import mock

from infogan.cli.app import main

REACHED = "the phase is reached by process "


def stay(*_: object, **__: object) -> None:
    """Never return."""
    os.write(2, f"{REACHED}{os.getpid()}\n".encode())
    if os.environ["PHASE"] == "computes":
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    time.sleep(10_000)


def run() -> None:
    """Run the command of this process."""
    function, os.environ["PHASE"] = sys.argv[1:3]
    del sys.argv[1:3]
    tempfile.tempdir = None  # known before this process got its environment
    with mock.patch(function, stay):
        main()


if __name__ == "__main__":
    from tests import phases

    phases.run()  # of the module that worker processes find

"""What libraries print while a sweep runs: into a file of its own, not between the lines that the user reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

LOGS = "logs"  # the folder in a sweep's own where all that is nobody's truth goes
FILE = "messages.log"


@contextmanager
def aside(folder: Path) -> Iterator[None]:
    """Whatever is written to stderr meanwhile, by C++ too, is added to a file in `folder`; none is left if it is empty.

    Where that cannot be, nothing is redirected. Who has to tell the user something all the same finds the stderr of
    before as `sys.__stderr__`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / FILE).open("a", buffering=1, encoding="utf-8", errors="backslashreplace")
    except OSError:
        yield
        return
    try:
        with log, into(log):
            yield
    finally:
        with suppress(OSError):
            if not os.path.getsize(folder / FILE):
                os.remove(folder / FILE)
                folder.rmdir()  # unless there is more in it


@contextmanager
def no_prints() -> Iterator[None]:
    """What libraries print to stdout goes where their warnings go."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def into(log: TextIO) -> Iterator[None]:
    """Descriptor 2 and sys.stderr are the log; sys.__stderr__ is what descriptor 2 was."""
    with ExitStack() as stack:
        if sys.stderr:
            sys.stderr.flush()
        before, original = os.dup(2), sys.__stderr__
        stack.callback(os.close, before)
        sys.__stderr__ = stack.enter_context(os.fdopen(os.dup(before), "w", buffering=1, errors="backslashreplace"))  # type: ignore[misc]
        stack.callback(setattr, sys, "__stderr__", original)
        os.dup2(log.fileno(), 2)
        stack.callback(os.dup2, before, 2)
        stack.enter_context(redirect_stderr(log))
        yield

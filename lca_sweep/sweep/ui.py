"""`ui [NAME]`: the MLflow UI on the store of a sweep, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from subprocess import Popen

from rich.console import Console

from lca_sweep.config import Tracking, without_password
from lca_sweep.sweep.console import wide_console
from lca_sweep.sweep.errors import SweepError
from lca_sweep.sweep.known import Known
from lca_sweep.sweep.printing import print_line
from lca_sweep.sweep.tracked import store_of
from lca_sweep.tracking.finding import experiment_id
from lca_sweep.tracking.records import TrackingError
from lca_sweep.tracking.serving import HOST, check_there, free_port, served
from lca_sweep.tracking.uri import kind, page


def ui(known: Known | None, uri: str | None, port: int | None) -> int:
    """Serve the store of this sweep, or the one at `uri`, or the default; exit status 0 after Ctrl-C."""
    tracking = known.config.tracking if known else Tracking()
    found = uri or (store_of(known) if known else tracking.uri)
    if "***" in found:
        raise SweepError(f"ui: tracking.uri={found}: say tracking.uri=URL, with the password")
    if kind(found) == "http":
        return _point(found, known, port)
    place = check_there(found)
    listening = free_port(port)
    console = wide_console()
    try:
        with ExitStack() as stack:
            stack.enter_context(_ending())
            server = _started(place, listening, console, stack)
            print_line(console, _page(f"http://{HOST}:{listening}", tracking.experiment, known))
            print_line(console, f"the MLflow UI on {without_password(found)}; Ctrl-C ends it")
            code = server.wait()
    except KeyboardInterrupt:
        return 0
    raise TrackingError(f"tracking.uri={without_password(found)}: the MLflow UI has ended by itself, with {code}")


def _started(uri: str, port: int, console: Console, stack: ExitStack) -> Popen[bytes]:
    """The server, which is taken down with the stack; starting it takes seconds, and on a machine at work a minute."""
    if not console.is_terminal:
        print_line(console, "starting the MLflow UI")
    with console.status("starting the MLflow UI"):
        return stack.enter_context(served(uri, port))


def _point(uri: str, known: Known | None, port: int | None) -> int:
    """A server has its UI: only its address is told."""
    if port:
        raise SweepError(f"ui: --port {port}: {without_password(uri)} is a server, which has its UI and its port")
    experiment = (known.config.tracking if known else Tracking()).experiment
    print_line(wide_console(), _page(uri, experiment, known))
    return 0


def _page(uri: str, experiment: str, known: Known | None) -> str:
    """The table of a sweep's runs, or of all; of a server that does not say which that is, where it begins."""
    own = (known.uid, known.config.search.goal().first) if known else ()
    with suppress(TrackingError):
        if number := experiment_id(uri, experiment):
            return page(uri, number, *own)
    return without_password(uri).rstrip("/")


@contextmanager
def _ending() -> Iterator[None]:
    """SIGTERM, too, takes the server down."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

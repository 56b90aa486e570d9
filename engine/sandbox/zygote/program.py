"""The zygote's loop: imports ahead, answers the engine, and returns in each process that has become a runtime."""

from __future__ import annotations

import gc
import os
import signal
import sys
from _socket import socket

from ..spawner import wire  # noqa: TID252 - not within `engine` where it runs
from . import become, enter, orders, rehearse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .orders import Order

_CONTROL = 3
#: Until the interpreter has made up its mind about bytecode.
_REHEARSALS = 16
#: What nearly every function imports, most of it indirectly; awslambdaric has most of it loaded too. Not ssl: it would
#: be initialised before the function's environment is known.
AHEAD = (
    "base64", "collections.abc", "contextlib", "copy", "dataclasses", "datetime", "decimal", "functools", "json",
    "logging", "math", "os", "random", "re", "socket", "string", "threading", "traceback", "typing", "urllib.parse",
)  # fmt: skip


def main() -> None:
    """Serve until the engine hangs up."""
    # A service manager's SIGTERM goes to all; this ends with the engine, not before.
    signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    given = dict(os.environb)
    control = socket(fileno=_CONTROL)
    first = orders.receive(control)
    if first is None:
        os._exit(0)
    ahead, filter_program = _get_ready(first)
    runtime = sys.modules["bootstrap"]
    for _ in range(_REHEARSALS):
        rehearse.rehearse(runtime)
    for name in first.payload.split(b"\0")[1:]:
        given.pop(name, None)
    gc.collect()
    gc.freeze()  # keep the collector from touching pages that are shared
    orders.done(control)
    while True:
        order = orders.receive(control)
        if order is None:
            os._exit(0)
        if order.kind != wire.STEM:
            orders.done(control, 71, "a zygote only makes stems")
        else:
            sock = enter.fork(order, filter_program, control)
            if sock is not None:
                rehearse.rehearse(runtime)
                become.rehearse()
                become.become(sock, ahead, given)
                _forget()
                return
        order.close()


def _get_ready(order: Order) -> tuple[frozenset[str], bytes]:
    """Import the runtime, and what functions import. Returns the names of the latter, and the filter.

    Strings: the runtime's folder; names of the environment variables that we were started with. Descriptor: the filter
    of system calls, if any.
    """
    folder = os.fsdecode(order.payload.split(b"\0")[0])
    filter_program = b""
    for descriptor in order.descriptors:
        filter_program = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    order.close()
    sys.path[0] = folder
    del sys.modules["bootstrap"]  # which is us
    runtime = __import__("bootstrap")
    for name in AHEAD:
        __import__(name)
    # The runtime sees to it that a logging.py of the function's is never found.
    own = {*sys.builtin_module_names, "logging", "bootstrap", "sandbox", "__main__"}
    ahead = frozenset(name.partition(".")[0] for name in sys.modules) - own
    assert runtime.__file__ is not None
    return ahead, filter_program


def _forget() -> None:
    """Nothing of the zygote is left to be found by the function."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "sandbox"]:
        del sys.modules[name]
    # A folder that was missing or empty in the zygote's view need not be in here.
    for path in list(sys.path_importer_cache):
        if not path.startswith("/usr/"):
            del sys.path_importer_cache[path]

"""The one order of a process that waits in a sandbox: to be a function's runtime (native/stem.c and program.c)."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from _socket import socket, socketpair

from ..spawner import wire  # noqa: TID252 - not within `engine` where it runs
from . import calls, orders


def rehearse() -> None:
    """Touch what `become` will need; without effect."""
    ours, theirs = socketpair()
    strings = [b"0", b"", b"/", b"1", b"/bin/true", *(name + b"=" + value for name, value in os.environb.items())]
    payload = wire.join(*strings)
    ours.send(wire.ORDER.pack(len(payload), wire.SPAWN) + payload)
    order = orders.receive(theirs)
    assert order is not None
    _parse(order)
    ours.close()
    theirs.close()
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    _set_limits(f"{resource.RLIMIT_CORE}={limit[0]}:{limit[1]}")
    calls.memory_map()
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    calls.dumpable()
    os.chdir("/")
    _set_environment([*(name + b"=" + value for name, value in os.environb.items()), b"TZ=:UTC"], {})
    del os.environb[b"TZ"]
    _shadowed(frozenset({"os"}))


def become(sock: socket, ahead: frozenset[str], added: dict[bytes, bytes]) -> None:
    """Wait for the order and carry it out. Returns where the runtime's own command is to go on.

    It does not when the order cannot be carried out, or takes an execve.

    Args:
        sock: of this process. When it is closed without an answer, an execve has succeeded.
        ahead: modules that were imported ahead. A function that has one of its own by such a name is executed.
        added: what the interpreter added to its environment when it started.
    """
    step = wire.STEP_SETUP
    shown = calls.memory_map()
    try:
        order = orders.receive(sock)
        if order is None:
            os._exit(0)
        user, limits, cwd, arguments, environment = _parse(order)
        _set_limits(limits.decode())
        calls.show_as(shown, arguments, environment)
        _become_user(int(user))
        step = wire.STEP_CWD
        os.chdir(cwd)
        step = wire.STEP_EXEC
        _set_environment(environment, added)
        if _shadowed(ahead):
            _execute(arguments, environment)
        sock.send(wire.ANSWER.pack(0, wire.STEP_PRELOADED))
    except OSError as error:
        sock.send(wire.ANSWER.pack(error.errno or 5, step))
        os._exit(0)
    sock.close()
    if hasattr(sys, "orig_argv"):
        sys.orig_argv[:] = [os.fsdecode(argument) for argument in arguments]


def _parse(order: orders.Order) -> tuple[bytes, bytes, bytes, list[bytes], list[bytes]]:
    """User, limits, working directory, arguments, environment."""
    user, limits, cwd, count, *strings = order.payload.split(b"\0")
    return user, limits, cwd, strings[: int(count)], strings[int(count) :]


def _set_limits(text: str) -> None:
    """``resource=soft:hard,…``; none is raised above the hard one that holds already, and a negative one is none."""
    for limit in filter(None, text.split(",")):
        number, _, values = limit.partition("=")
        soft, hard = (resource.RLIM_INFINITY if int(v) < 0 else int(v) for v in values.split(":"))
        now = resource.getrlimit(int(number))[1]
        if now != resource.RLIM_INFINITY:
            hard = now if hard == resource.RLIM_INFINITY else min(hard, now)
        if hard != resource.RLIM_INFINITY:
            soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(int(number), (soft, hard))


def _become_user(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    calls.drop_all_capabilities()
    calls.dumpable()


def _set_environment(entries: list[bytes], added: dict[bytes, bytes]) -> None:
    """As if the interpreter had started with these. `posix.environ` is the dictionary behind `os.environ`."""
    for name in list(os.environb):
        del os.environb[name]
    for entry in entries:
        name, _, value = entry.partition(b"=")
        os.environb[name] = value
    for name, value in added.items():
        os.environb.setdefault(name, value)
    time.tzset()


def _shadowed(ahead: frozenset[str]) -> bool:
    """Whether what is imported next from where functions have their modules would be another module by such a name."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folders = [
        os.environ.get("LAMBDA_TASK_ROOT") or ".",
        "/opt/python",
        f"/opt/python/lib/{version}/site-packages",
    ]
    folders += [entry for entry in os.environ.get("PYTHONPATH", "").split(":") if entry]
    for folder in folders:
        try:
            names = os.listdir(folder)  # noqa: PTH208 - pathlib is large
        except OSError:
            continue  # for the import too it is as good as empty
        if not ahead.isdisjoint(name.partition(".")[0] for name in names):
            return True
    return False


def _execute(arguments: list[bytes], environment: list[bytes]) -> None:
    """Raises OSError. An ignored signal stays ignored over execve, and the interpreter ignores some."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    os.execve(arguments[0], arguments, dict(entry.split(b"=", 1) for entry in environment))  # noqa: S606

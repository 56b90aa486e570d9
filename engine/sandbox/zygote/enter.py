"""From the zygote into a sandbox: two forks, and all that a stem does before it waits (native/stem.c)."""

from __future__ import annotations

import os
import signal
import struct
from _socket import socket, socketpair

from ..spawner import wire  # noqa: TID252 - not within `engine` where it runs
from . import calls, orders
from .orders import Order

#: Where the waiting process has its socket, as a stem.
SOCKET = 3
_NUMBER = struct.Struct("<i")


def fork(order: Order, filter_program: bytes, control: socket) -> socket | None:
    """Make a process in a sandbox. In that process: its socket. In the zygote: None, and the engine has its answer.

    Strings: the CLONE_NEW flags of the sandbox's namespaces; "v2" when there is a v2 control group. Descriptors: a
    pidfd of the sandbox's first process, the new process's socket, its output, the v2 group's directory, v1's files.

    The answer is as for a stem: the process's pid in there as the text, and its pidfd. It is a child of the first
    process by then, which has to be told to adopt it.
    """
    flags, *v2 = order.payload.split(b"\0")
    first, sock, output, *joins = order.descriptors
    group = joins.pop(0) if b"v2" in v2 else -1
    ours, theirs = socketpair()
    try:
        middle = _fork_into(first, group)
    except OSError as error:
        orders.done(control, error.errno or 5, "forking a zygote")
    else:
        if middle == 0:
            _in_between(first, int(flags) & ~calls.NEWPID, joins, theirs)
            for unused in (ours, theirs, control):
                unused.detach()  # their numbers are closed, or another's, in a moment
            return _settle(sock, output, filter_program)
        theirs.close()
        data, passed = orders.receive_with(ours, _NUMBER.size)
        os.waitpid(middle, 0)  # from now on the new process has its new parent
        number = _NUMBER.unpack(data)[0] if data else -1
        if number > 0:
            orders.done(control, 0, str(number), passed)
        else:
            orders.done(control, -number, "entering a sandbox")
        for descriptor in passed:
            os.close(descriptor)
    ours.close()
    theirs.close()
    return None


def _fork_into(first: int, group: int) -> int:
    """Fork into the pid namespace of this process, and into this v2 control group."""
    own = os.pidfd_open(os.getpid())
    try:
        calls.enter(first, calls.NEWPID)
        try:
            middle = calls.fork_into(group)
        except OSError:
            calls.enter(own, calls.NEWPID)
            raise
        if middle:
            calls.enter(own, calls.NEWPID)
    finally:
        os.close(own)
    return middle


def _in_between(first: int, namespaces: int, joins: list[int], told: socket) -> None:
    """In the first fork: join the sandbox, fork again, tell the zygote, end. Returns in the second fork only."""
    try:
        try:
            for tasks in joins:
                os.write(tasks, b"0")
            calls.enter(first, namespaces)
            pid = os.fork()
        except OSError as error:
            orders.send_with(told, _NUMBER.pack(-(error.errno or 5)), [])
            os._exit(1)
        if pid:
            orders.send_with(told, _NUMBER.pack(pid), [os.pidfd_open(pid)])
            os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it is, there must not be two zygotes
        os._exit(1)


def _settle(sock: int, output: int, filter_program: bytes) -> socket:
    """What a stem does before it waits."""
    try:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        for source, target in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(source, target)
        os.dup2(sock, SOCKET, inheritable=False)
        calls.close_from(SOCKET + 1)
        os.dup2(1, wire.LOG_FD)
        calls.give_up_capabilities()
        if filter_program:
            calls.load_filter(filter_program)
    except OSError as error:
        socket(fileno=sock).send(wire.ANSWER.pack(error.errno or 5, wire.STEP_SETUP))
        os._exit(0)
    return socket(fileno=SOCKET)

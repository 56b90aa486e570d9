"""What a forked child of the spawner does: get ready, wait for one order, and carry it out.

The order is to become a program, or to do work that may take long (killing a tree, removing files) away from the
spawner's loop. Everything that does not depend on the order is done before it comes.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
import sys
from _socket import socket

from . import remove, system, tree, wire

TYPE_CHECKING = False  # as typing has it, which would double the memory of this program
if TYPE_CHECKING:
    from typing import NoReturn

#: How long a tree may take to die before the order fails, seconds. Only a process stuck in the kernel takes long.
KILL_SECONDS = 5.0

_MAX_DESCRIPTOR = 1 << 20


class Refused(Exception):
    """The order failed at `step` with `number`; `text` says more."""

    def __init__(self, step: int, number: int, text: str = "") -> None:
        self.step = step
        self.number = number
        self.text = text


def run(sock: socket, output: int, spawner: int) -> NoReturn:
    """The life of a blank, from just after the fork. Never returns."""
    answer = b""
    if sock.fileno() == wire.LOG_FD:
        sock = socket(fileno=os.dup(sock.detach()))
    try:
        _prepare(sock, output, spawner)
        _rehearse()
        order = _receive(sock)
        if order is not None:
            answer = _carry_out(order[0], order[1], spawner)
    except Refused as refused:
        answer = wire.ANSWER.pack(refused.number, refused.step) + os.fsencode(refused.text)
    except BaseException as error:  # noqa: BLE001 - nothing may reach the spawner's loop, whose copy this process is
        number = error.errno if isinstance(error, OSError) and error.errno else 5
        answer = wire.ANSWER.pack(number, wire.STEP_SETUP) + os.fsencode(f"{type(error).__name__}: {error}")
    try:
        if answer:
            sock.sendall(answer)
    finally:
        os._exit(0)


def _prepare(sock: socket, output: int, spawner: int) -> None:
    system.die_with_parent(spawner)
    for number in signal.valid_signals():
        if number not in {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(number, signal.SIG_DFL)
            except OSError:
                continue  # the two that the C library keeps for itself
    signal.set_wakeup_fd(-1)
    os.setsid()
    os.umask(0o022)
    os.dup2(output, 1)
    os.dup2(output, 2)
    keep = sock.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, _MAX_DESCRIPTOR)
    os.dup2(1, wire.LOG_FD)


def _rehearse() -> None:
    """Do once, with no effect, what an order will need.

    The pages of a forked process are shared or absent until they are touched. Touching them now takes the faults off
    the way of the order: 0.2 ms where a fault is dear (virtual machines).
    """
    payload = wire.join(b"1", b"4=0:0", b"/", b"1", b"-", *[b"NAME_%d=%s" % (i, b"value" * 8) for i in range(40)])
    data = wire.ORDER.pack(len(payload), wire.SPAWN) + payload
    wire.ORDER.unpack_from(data)
    _, limits, cwd, arguments, environment = _parse(wire.split(data[wire.ORDER.size :]))
    _limit(limits)
    os.chdir(cwd)
    try:
        os.execve(b"", arguments, environment)  # noqa: S606 - there is no program with an empty path
    except FileNotFoundError:
        return


def _receive(sock: socket) -> tuple[int, bytes] | None:
    """The order as (kind, payload); None when the engine closed the socket without one."""
    data, ancillary, _, _ = sock.recvmsg(16384, 64)
    if not data:
        return None
    while len(data) < wire.ORDER.size:
        data += sock.recv(wire.ORDER.size - len(data)) or _cut_off()
    length, kind = wire.ORDER.unpack_from(data)
    if length == wire.IN_FILE:
        return kind, _read_file(int.from_bytes(ancillary[0][2][:4], sys.byteorder))
    payload = data[wire.ORDER.size :]
    while len(payload) < length:
        payload += sock.recv(length - len(payload)) or _cut_off()
    return kind, payload


def _cut_off() -> bytes:
    os._exit(1)


def _read_file(descriptor: int) -> bytes:
    chunks = []
    offset = 0
    while chunk := os.pread(descriptor, 1 << 20, offset):
        chunks.append(chunk)
        offset += len(chunk)
    os.close(descriptor)
    return b"".join(chunks)


def _carry_out(kind: int, payload: bytes, spawner: int) -> bytes:
    strings = wire.split(payload)
    if kind == wire.SPAWN:
        _become(strings, spawner)
    if kind == wire.EXPLAIN:
        _change_user(strings[0])
        raise Refused(wire.STEP_EXPLAINED, 1, _explain(strings[1]))
    group = tree.Group.parse(strings[0])
    if kind == wire.KILL:
        end(group)
    elif kind == wire.CLOSE:
        end(group)
        remove_folder(strings[1])
    elif kind == wire.STOP:
        tree.send(group, signal.SIGSTOP)
        return wire.ANSWER.pack(0, 0) + b" ".join(b"%d" % pid for pid in group.pids())
    elif kind == wire.SWEEP:
        _sweep(group, strings[1:])
    return wire.ANSWER.pack(0, 0)


def end(group: tree.Group) -> None:
    """End all processes of a group.

    Raises:
        Refused: naming those that would not die.
    """
    left = tree.kill(group, KILL_SECONDS)
    if left:
        raise Refused(wire.STEP_TREE, 16, ", ".join(map(str, sorted(left))))


def remove_folder(path: bytes) -> None:
    """Remove a folder whatever is in it.

    Raises:
        Refused: naming what could not be removed.
    """
    try:
        remove.remove(path)
    except OSError as error:
        raise Refused(wire.STEP_REMOVE, error.errno or 5, f"{error.strerror}: {error.filename!r}") from error


def _sweep(group: tree.Group, folders: list[bytes]) -> None:
    """End what an earlier engine left: here `user` and `sender` are the bounds of its block of user ids."""
    if group.user:
        for user in tree.users_between(group.user, group.sender):
            end(tree.Group(user=user, sender=user ^ 1))
    elif group.marker:
        end(group)
    for folder in folders:
        if folder:
            remove_folder(folder)


def _become(strings: list[bytes], spawner: int) -> NoReturn:
    """Become the program.

    Raises:
        Refused: the step that failed, its errno, and what is known about the cause.
    """
    user, limits, cwd, arguments, environment = _parse(strings)
    _limit(limits)
    if user:
        _change_user(user)
        system.die_with_parent(spawner)
    try:
        os.chdir(cwd)
    except OSError as error:
        raise Refused(wire.STEP_CWD, error.errno or 5, _explain(cwd)) from error
    try:
        os.execve(arguments[0], arguments, environment)  # noqa: S606 - it is what this process is for
    except OSError as error:
        raise Refused(wire.STEP_EXEC, error.errno or 5, _explain(arguments[0])) from error


def _change_user(user: bytes) -> None:
    if user:
        number = int(user)
        os.setgroups([])
        os.setresgid(number, number, number)
        os.setresuid(number, number, number)


def _parse(strings: list[bytes]) -> tuple[bytes, bytes, bytes, list[bytes], dict[bytes, bytes]]:
    """An order to become a program: user, limits, cwd, count of arguments, arguments, environment entries."""
    user, limits, cwd, count = strings[:4]
    end_of_arguments = 4 + int(count)
    environment = dict([entry.split(b"=", 1) for entry in strings[end_of_arguments:]])
    return user, limits, cwd, strings[4:end_of_arguments], environment


def _limit(limits: bytes) -> None:
    """Set the rlimits of ``resource=soft:hard,…``; no limit is raised above the hard one that holds already."""
    for limit in limits.split(b","):
        name, _, values = limit.partition(b"=")
        soft, hard = map(int, values.split(b":"))
        number = int(name)
        ceiling = resource.getrlimit(number)[1]
        if ceiling != resource.RLIM_INFINITY:
            hard = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
        if hard != resource.RLIM_INFINITY:
            soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
        resource.setrlimit(number, (soft, hard))


def _explain(path: bytes) -> str:
    """Why this user cannot execute or enter `path`, as far as can be seen from here."""
    walked = b""
    for part in path.split(b"/")[1:]:
        if not os.access(walked or b"/", os.X_OK):
            return f"user {os.getuid()} may not pass {os.fsdecode(walked or b'/')}"
        walked += b"/" + part
        try:
            os.lstat(walked)
        except OSError as error:
            return f"{os.fsdecode(walked)}: {error.strerror}"
    found = os.stat(path)  # noqa: PTH116 - pathlib is large
    if not os.access(path, os.X_OK):
        what = "pass" if stat.S_ISDIR(found.st_mode) else f"execute (mode {stat.S_IMODE(found.st_mode):04o})"
        return f"user {os.getuid()} may not {what} {os.fsdecode(path)}"
    if stat.S_ISDIR(found.st_mode):
        return "it is a folder"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            start = os.read(descriptor, 256)
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{os.fsdecode(path)}: {error.strerror}"
    if start.startswith(b"#!"):
        return f"its interpreter is {os.fsdecode(start[2:].splitlines()[0].strip())!r}"
    return f"it starts with {start[:4]!r}"

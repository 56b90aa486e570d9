"""The spawner's loop: makes blanks, reaps children, and ends everything when the engine is gone.

It sleeps in poll until the engine writes, a child ends, or the engine dies; an idle spawner does not wake up.
"""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import struct
import time
from _socket import MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET, socket, socketpair

from . import blank, groups, system, tree, wire

TYPE_CHECKING = False  # as typing has it, which would double the memory of this program
if TYPE_CHECKING:
    from collections.abc import Callable

#: How long the clean-up after the engine's end may take, seconds.
CLEAN_UP_SECONDS = 20.0
_CLEANERS = 8


#: Where a native blank finds its socket.
_BLANK_SOCKET = 3
_NOT_A_PROGRAM = {errno.ENOENT, errno.ENOTDIR, errno.ENOEXEC, errno.EACCES}


def main(control: int, engine: int, native: str) -> None:
    """Run until the engine closes the socket `control` or the process `engine` ends.

    `native` is the path of the native blank, empty when there is none: then forks of this program take its place.
    """
    Spawner(socket(fileno=control), engine, native).run()


class Spawner:
    """The state of this process: its children, and the sandboxes to end when the engine is gone."""

    def __init__(self, control: socket, engine: int, native: str) -> None:
        self.control = control
        self.native = native
        self.reader = wire.FrameReader()
        self.children: set[int] = set()
        self.sandboxes: dict[int, tuple[bytes, bytes, list[bytes]]] = {}
        self.pid = os.getpid()
        self.engine = engine
        self.poll = select.poll()
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        # It ends when the engine does, not before: a service manager's SIGTERM goes to all; the engine drains first.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.engine_pidfd = -1

    def run(self) -> None:
        """Serve until the engine is gone, then clean up."""
        system.become_subreaper()
        system.no_new_privileges()
        self.poll.register(self.control.fileno(), select.POLLIN)
        self.poll.register(self.wake, select.POLLIN)
        if hasattr(os, "pidfd_open"):
            try:
                self.engine_pidfd = os.pidfd_open(self.engine)
                self.poll.register(self.engine_pidfd, select.POLLIN)
            except OSError:
                return  # the engine has ended already, and nothing was made for it
        gc.collect()
        gc.freeze()  # keep the collector from touching pages that blanks share
        gc.disable()
        try:
            self._send(wire.frame(wire.READY, self.pid))
            while self._turn():
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        self._clean_up()

    def _turn(self) -> bool:
        """Wait for something and handle it. False when the engine is gone."""
        ready = {descriptor for descriptor, _ in self.poll.poll()}
        if self.engine_pidfd in ready:
            return False
        if self.wake in ready:
            os.read(self.wake, 4096)
            self._reap()
        if self.control.fileno() in ready:
            data = self.control.recv(65536)
            if not data:
                return False
            for kind, number, payload, _ in self.reader.feed(data, []):
                self._request(kind, number, payload)
        return True

    def _request(self, kind: int, number: int, payload: bytes) -> None:
        if kind == wire.MORE:
            for _ in range(number):
                self._make_blank(self._start_native if self.native else self._fork, wire.BLANK, wire.NO_BLANK)
        elif kind == wire.WORKERS:
            for _ in range(number):
                self._make_blank(self._fork, wire.WORKER, wire.NO_WORKER)
        elif kind == wire.FIRST:
            self._start_native_role(b"sandbox", payload)
        elif kind == wire.ZYGOTE:
            self._start_native_role(b"zygote")
        elif kind == wire.OPEN:
            self._open(number, payload)
        elif kind == wire.FORGET:
            self.sandboxes.pop(number, None)

    def _open(self, number: int, payload: bytes) -> None:
        """Make the folder of a sandbox and remember the sandbox.

        Strings: group, folder, user, and directories of control groups; each may be empty. Number 0 is the engine,
        whose things are the last to go.
        """
        group, folder, user, *directories = wire.split(payload)
        self.sandboxes[number] = (group, folder, [directory for directory in directories if directory])
        answer = wire.ANSWER.pack(0, 0)
        try:
            if folder:
                os.mkdir(folder, 0o700)  # noqa: PTH102
            if user:
                os.chown(folder, int(user), int(user))
        except FileExistsError:
            pass  # it was made before an earlier spawner ended
        except OSError as error:
            answer = wire.ANSWER.pack(error.errno or 5, wire.STEP_SETUP)
        self._send(wire.frame(wire.OPENED, number, answer))

    def _make_blank(self, start: Callable[[socket, int], int], made: int, failed: int) -> None:
        passed: list[int] = []
        try:
            ours, theirs = socketpair()
            passed.append(ours.detach())
            read, write = os.pipe()
            passed.append(read)
            os.set_blocking(read, False)
            try:
                pid = start(theirs, write)
            finally:
                theirs.close()
                os.close(write)
            self.children.add(pid)
            if hasattr(os, "pidfd_open"):
                passed.append(os.pidfd_open(pid))
        except OSError as error:  # a blank without its pidfd ends by itself, as nobody holds its socket
            self._send(wire.frame(failed, error.errno or 5))
        else:
            self._send(wire.frame(made, pid, descriptors=len(passed)), passed)
        finally:
            for descriptor in passed:
                os.close(descriptor)

    def _fork(self, theirs: socket, output: int) -> int:
        pid = os.fork()
        if pid == 0:
            blank.run(theirs, output, self.pid)
        return pid

    def _start_native(self, theirs: socket, output: int) -> int:
        """As `_fork`, but the blank is the native program: less to make here, nothing to take down there."""
        number = theirs.fileno()
        actions = [(os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
        actions.append((os.POSIX_SPAWN_DUP2, number, _BLANK_SOCKET))
        arguments = [self.native, "blank", str(_BLANK_SOCKET), str(self.pid)]
        try:
            return os.posix_spawn(self.native, arguments, {}, file_actions=actions)
        except OSError as error:
            if error.errno not in _NOT_A_PROGRAM:
                raise
            self.native = ""  # removed, or made for another machine
            return self._fork(theirs, output)

    def _start_native_role(self, role: bytes, *more: bytes) -> None:
        """Start a native program that the engine talks to itself, and hears from.

        What starts the first process of a sandbox ends at once; that process becomes our child.
        """
        failed, passed = 0, []
        try:
            ours, theirs = socketpair()
            passed = [ours.detach()]
            try:
                arguments = [b"lambent", role, str(_BLANK_SOCKET).encode(), str(self.pid).encode(), *more]
                actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), _BLANK_SOCKET)]
                os.posix_spawn(self.native, arguments, {}, file_actions=actions)
            finally:
                theirs.close()
        except OSError as error:
            failed = error.errno or 5
        self._send(wire.frame(wire.STARTED, failed, descriptors=0 if failed else 1), None if failed else passed)
        for descriptor in passed:
            os.close(descriptor)

    def _reap(self) -> None:
        """Collect every child that ended; the engine hears of those that were blanks, adopted orphans just go."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self.children:
                self.children.discard(pid)
                peak = usage.ru_maxrss * (1024 if system.LINUX else 1)
                payload = wire.EXIT_STATUS.pack(os.waitstatus_to_exitcode(status), peak)
                self._send(wire.frame(wire.EXIT, pid, payload))

    def _send(self, data: bytes, descriptors: list[int] | None = None) -> None:
        """Send a frame, waiting while the engine does not read: it holds no lock that this could deadlock with."""
        if descriptors:
            rights = struct.pack(f"{len(descriptors)}i", *descriptors)
            sent = self.control.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, rights)], MSG_NOSIGNAL)
            data = data[sent:]
        if data:
            self.control.sendall(data, MSG_NOSIGNAL)

    def _clean_up(self) -> None:
        """End all processes, then all sandboxes, several at a time."""
        self.control.close()
        signal.set_wakeup_fd(-1)
        for pid in self.children:
            tree.signal_one(pid, signal.SIGKILL)
        deadline = time.monotonic() + CLEAN_UP_SECONDS
        cleaners: set[int] = set()
        engine = self.sandboxes.pop(0, None)
        todo = list(self.sandboxes.values())
        while (todo or cleaners or self.children) and time.monotonic() < deadline:
            while todo and len(cleaners) < _CLEANERS:
                cleaners.add(self._clean(*todo.pop()))
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                cleaners.clear()
                self.children.clear()
                continue
            cleaners.discard(pid)
            self.children.discard(pid)
        if engine is not None:  # its control groups are above those of the sandboxes
            os.waitpid(self._clean(*engine), 0)

    def _clean(self, group: bytes, folder: bytes, directories: list[bytes]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                if group:
                    blank.end(tree.Group.parse(group))
                if directories:
                    groups.end_and_remove(directories)
                if folder:
                    blank.remove_folder(folder)
            finally:
                os._exit(0)
        return pid

"""The engine's end of the spawner: starts it, keeps a few blanks at hand, hears of exits, notices when it is gone.

Everything here runs on the event loop and never blocks it: sockets are non-blocking and watched with `add_reader`;
starting and reaping the spawner, which the standard library only offers as blocking calls, go to a thread.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import SandboxError
from engine.sandbox.api import Exit

from .blanks import Blank, check
from .native import native_program
from .spawner import wire
from .stock import Stock

#: Blanks kept ready to become programs. One costs 0.3 MB and 0.5 ms of a core to make.
BLANKS = 4

_PROGRAM = Path(__file__).parent / "spawner" / "__main__.py"
#: How many blanks in a row may turn out to have died while they were idle (the out-of-memory killer, an operator).
TRIES = BLANKS + 2
_STOP_SECONDS = 30.0
_REPLENISH_SECONDS = 0.05
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
#: What the dynamic loader may need to start this very interpreter; nothing else of our environment is passed on.
_KEPT_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class SpawnerGoneError(SandboxError):
    """The spawner ended in the middle of something. The next use starts a new one."""


class SpawnerClient:
    """One spawner at a time, started on first use and again after it died.

    Args:
        on_exit: called on the loop with (pid, exit, peak resident bytes) for each process that ended.
        on_death: called on the loop when the spawner ended unexpectedly; all its processes are dead or dying.
        inherit: descriptors that live as long as the spawner does (locks).
        blanks: how many to keep ready.
    """

    def __init__(
        self,
        *,
        on_exit: Callable[[int, Exit, int], None],
        on_death: Callable[[], None],
        inherit: Sequence[int] = (),
        blanks: int = BLANKS,
    ) -> None:
        self.pid: int | None = None
        """The running spawner's process id."""
        self._on_exit = on_exit
        self._on_death = on_death
        self._inherit = tuple(inherit)
        self._program: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reader = wire.FrameReader()
        self._unsent = b""
        self._programs = Stock(blanks, lambda count: self._ask(wire.MORE, count))
        self._workers = Stock(0, lambda count: self._ask(wire.WORKERS, count))
        self._requests: dict[int, asyncio.Future[bytes]] = {}
        self._firsts: deque[asyncio.Future[socket.socket]] = deque()
        self._started: asyncio.Future[None] | None = None
        self._later: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether a spawner is there to take orders."""
        return self.pid is not None

    async def start(self) -> None:
        """Start the program and wait for its first word.

        Raises:
            SandboxError: it could not be started, or ended at once.
        """
        await self._bury()
        if not sys.executable:
            raise SandboxError("this Python does not know its own executable (sys.executable), so no spawner can start")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        native = await asyncio.to_thread(native_program)
        arguments = [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno()), str(os.getpid()), native or ""]
        environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        try:
            self._program = await asyncio.to_thread(
                subprocess.Popen,
                arguments,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._inherit),
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"the spawner could not be started ({' '.join(arguments)}): {error}") from error
        finally:
            theirs.close()
        loop = asyncio.get_running_loop()
        self._control = ours
        self._reader = wire.FrameReader()
        self._unsent = b""
        self._started = loop.create_future()
        loop.add_reader(ours.fileno(), self._readable)
        await self._started
        self._order_blanks()

    async def take(self) -> Blank:
        """A blank that can become a program: a ready one, or the next that the spawner makes.

        Raises:
            SandboxError: the host refused to make it, or the spawner is not there.
        """
        if not self.running:
            raise SpawnerGoneError("the spawner is not running")
        return await self._programs.take()

    def replenish(self) -> None:
        """Order what was taken, a little later: making it now would compete with the program that has just started.

        An interpreter takes about so long. Whoever finds no blank does not wait for this.
        """
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(_REPLENISH_SECONDS, self._order_blanks)

    async def work(self, kind: int, strings: Sequence[bytes]) -> bytes:
        """Have a process do some work that may be begun twice: another takes over when one is killed over it.

        Returns the text of its answer.

        Raises:
            Answer: it failed.
            SpawnerGoneError: the blank ended without an answer.
        """
        for _ in range(TRIES):
            if not self.running:
                raise SpawnerGoneError("the spawner is not running")
            blank = await self._workers.take()
            try:
                blank.close_output()
                answer = await blank.order(kind, wire.join(*strings))
            except BrokenPipeError:
                continue
            finally:
                blank.close_pidfd()
            if answer:
                return check(answer)
            if not self.running:
                raise SpawnerGoneError(f"the spawner and its process {blank.pid} ended in the middle of their work")
        raise SandboxError(f"{TRIES} processes of the spawner ended over one piece of work; its stderr may say why")

    async def start_first(self, namespaces: int) -> socket.socket:
        """Start the first process of a sandbox in these namespaces (CLONE_NEW flags); returns our end of its socket.

        Raises:
            SandboxError: the host refused.
            SpawnerGoneError: the spawner ended meanwhile.
        """
        return await self._start_role(wire.FIRST, str(namespaces).encode())

    async def start_zygote(self) -> socket.socket:
        """Start what becomes a zygote; returns our end of its socket.

        Raises:
            SandboxError: the host refused.
            SpawnerGoneError: the spawner ended meanwhile.
        """
        return await self._start_role(wire.ZYGOTE, b"")

    async def _start_role(self, kind: int, payload: bytes) -> socket.socket:
        answer: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
        self._firsts.append(answer)
        self._send(wire.frame(kind, 0, payload))
        return await answer

    async def open_sandbox(self, number: int, *strings: bytes) -> None:
        """Have a sandbox ended when the engine is gone, and make its folder if it has one.

        Args:
            number: the engine's number for it.
            strings: its group (`tree.Group`), its folder, that folder's user, directories of its control groups; each
                may be empty.

        Raises:
            Answer: the folder could not be made.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._requests[number] = answer
        try:
            self._send(wire.frame(wire.OPEN, number, wire.join(*strings)))
            check(await answer)
        finally:
            del self._requests[number]

    def forget_sandbox(self, number: int) -> None:
        """The sandbox is closed; nothing of it is left to end."""
        if self.running:
            self._send(wire.frame(wire.FORGET, number))

    async def stop(self) -> None:
        """Let the spawner end what is left and exit, and wait for that."""
        self._hang_up()
        await self._bury()

    def _send(self, data: bytes) -> None:
        if self._control is None:
            raise SpawnerGoneError("the spawner is not running")
        if self._unsent:
            self._unsent += data
            return
        self._unsent = data
        self._writable()

    def _writable(self) -> None:
        control = self._control
        if control is None:
            return
        loop = asyncio.get_running_loop()
        try:
            self._unsent = self._unsent[control.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # gone: the reader finds out and tells everybody
            self._unsent = b""
        if self._unsent:
            loop.add_writer(control.fileno(), self._writable)
        else:
            loop.remove_writer(control.fileno())

    def _order_blanks(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._programs.replenish()

    def _ask(self, kind: int, count: int) -> bool:
        if self.running:
            self._send(wire.frame(kind, count))
        return self.running

    def _readable(self) -> None:
        control = self._control
        assert control is not None
        try:
            data, ancillary, _, _ = control.recvmsg(65536, socket.CMSG_SPACE(16 * 4), _CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            self._died()
            return
        descriptors = array.array("i")
        for _, _, rights in ancillary:
            descriptors.frombytes(rights[: len(rights) - len(rights) % 4])
        for kind, number, payload, passed in self._reader.feed(data, list(descriptors)):
            self._event(kind, number, payload, passed)

    def _event(self, kind: int, number: int, payload: bytes, descriptors: list[int]) -> None:
        if kind == wire.BLANK:
            self._programs.arrived(Blank(number, descriptors))
        elif kind == wire.WORKER:
            self._workers.arrived(Blank(number, descriptors))
        elif kind == wire.EXIT:
            code, peak = wire.EXIT_STATUS.unpack(payload)
            self._programs.ended(number)
            self._on_exit(number, Exit(code) if code >= 0 else Exit(None, -code), peak)
        elif kind == wire.STARTED:
            self._first_started(number, descriptors)
        elif kind == wire.OPENED:
            request = self._requests.get(number)
            if request is not None and not request.done():
                request.set_result(payload)
        elif kind in {wire.NO_BLANK, wire.NO_WORKER}:
            error = SandboxError(f"the host refused to make a process for a sandbox: {os.strerror(number)}")
            (self._programs if kind == wire.NO_BLANK else self._workers).refused(error)
        elif kind == wire.READY:
            self.pid = number
            if self._started is not None and not self._started.done():
                self._started.set_result(None)

    def _first_started(self, failed: int, descriptors: list[int]) -> None:
        answer = self._firsts.popleft()
        if answer.done():  # whoever asked was cancelled
            for descriptor in descriptors:
                os.close(descriptor)
        elif failed:
            answer.set_exception(SandboxError(f"a native process of a sandbox did not start: {os.strerror(failed)}"))
        else:
            answer.set_result(socket.socket(fileno=descriptors[0]))

    def _died(self) -> None:
        """The spawner is gone although nobody asked: its processes die with it."""
        self._hang_up()
        self._on_death()

    def _hang_up(self) -> None:
        control, self._control = self._control, None
        self.pid = None
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if control is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(control.fileno())
        loop.remove_writer(control.fileno())
        control.close()
        for descriptor in self._reader.abandon():
            os.close(descriptor)
        error = SpawnerGoneError("the spawner ended")
        self._programs.clear(error)
        self._workers.clear(error)
        for request in self._requests.values():
            if not request.done():
                request.set_exception(error)
        while self._firsts:
            first = self._firsts.popleft()
            if not first.done():
                first.set_exception(error)
        if self._started is not None and not self._started.done():
            self._started.set_exception(SandboxError("the spawner ended before it was ready; its stderr says why"))

    async def _bury(self) -> None:
        """Reap the program's process."""
        program, self._program = self._program, None
        if program is not None:
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await asyncio.to_thread(program.wait)
            except TimeoutError:
                program.kill()
                await asyncio.to_thread(program.wait)

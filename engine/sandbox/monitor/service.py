"""The monitor's thread: reads, asks `Watch` what follows, acts, and sleeps until something can have changed."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count

from engine.sandbox.api import SandboxLimits

from .alarms import Sleeper, make_sleeper
from .census import Census
from .duty import DutyCycle
from .host import Host, make_host
from .pace import REST
from .storage import StorageThread
from .watch import Plan, Watch

_LOG = logging.getLogger("lambent.sandbox.monitor")

#: How often to ask whether there are new processes, seconds: while something runs, and while nothing does.
LISTING_BUSY = 0.01
LISTING_IDLE = 0.1
#: For how long after it last consumed CPU a sandbox counts as running, seconds.
_RUNNING = 0.1
#: A tree with more processes than this has no alarms; it is looked at by the clock.
_MOST_ALARMS = 32
_CROWD_LOOK = 0.02
_JOIN_SECONDS = 10.0
#: The thread's niceness where the engine may choose it: what it has to hold back must not keep it waiting for a core.
_NICE = -10


class Monitor:
    """Watches the sandboxes of one engine. All methods are for the event loop, and none of them waits.

    Args:
        mode: how processes are told apart, see `make_host`.
        count_processes: whether the number of processes is ours to limit (no RLIMIT_NPROC does).
    """

    def __init__(
        self, mode: str, *, count_processes: bool, host: Host | None = None, sleeper: Sleeper | None = None
    ) -> None:
        self._sleeper = sleeper if sleeper is not None else make_sleeper()
        host = host if host is not None else make_host(mode)
        self._census = Census(host, self._sleeper, sessions=mode == "session")
        self._count_processes = count_processes
        self._cores = os.cpu_count() or 1
        self._orders: deque[Callable[[], None]] = deque()
        self._awake: set[Watch] = set()
        self._queue: list[tuple[float, int, Watch]] = []
        self._serial = count()
        self._list_at = 0.0
        self._list_rest = 0.0
        self._running_until = 0.0
        self._ending = False
        self._ready = threading.Event()
        self._storage = StorageThread()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="lambent-monitor", daemon=True)
        self.looks = 0
        """How many looks at a sandbox were made, for whoever measures."""
        self.wakes = 0
        """How many times the thread has woken up."""

    async def start(self) -> None:
        """Start the threads."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        self._storage.start()
        await asyncio.to_thread(self._ready.wait)

    async def stop(self) -> None:
        """End the threads and wait for that; call it when all sandboxes are closed."""
        if self._loop is None:
            return
        self._loop = None
        self._storage.end()
        await asyncio.to_thread(self._storage.join, _JOIN_SECONDS)
        self._ending = True
        self._sleeper.wake()
        await asyncio.to_thread(self._thread.join, _JOIN_SECONDS)

    def watch(self, key: int, limits: SandboxLimits, tmp_dir: str, on_over: Callable[[int, str], None]) -> Watch:
        """Hold a sandbox to its limits from now on.

        Args:
            key: what its processes are known by: user id, marker, or (set by `add`) session.
            limits: what it is allowed.
            tmp_dir: its /tmp.
            on_over: called on the loop with (epoch, cause) when the monitor kills the tree.
        """
        watch = Watch(key, limits, tmp_dir, on_over, count_processes=self._count_processes, cores=self._cores)
        self._order(lambda: self._census.register(watch))
        return watch

    def begin(self, watch: Watch) -> None:
        """The first process of a new tree is about to start."""
        watch.epoch += 1
        watch.frozen = False
        watch.peak = 0
        self._order(lambda: self._begin(watch))

    def add(self, watch: Watch, pid: int) -> None:
        """A process was started in the sandbox."""
        epoch = watch.epoch
        self._order(lambda: self._add(watch, pid, epoch))

    def initialized(self, watch: Watch) -> None:
        """Init is over: the share of CPU holds from here on."""
        epoch = watch.epoch
        self._order(lambda: self._initialized(watch, epoch))

    def freezing(self, watch: Watch) -> None:
        """All processes are about to be stopped, until `thawed`."""
        watch.frozen = True
        self._order(lambda: self._rest(watch))

    def thawed(self, watch: Watch) -> None:
        """All processes were continued."""
        watch.frozen = False
        self._order(lambda: self._thawed(watch))

    def close(self, watch: Watch) -> None:
        """The sandbox is closed."""
        watch.closed = True
        self._order(lambda: self._close(watch))

    def _order(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        if self._loop is not None:
            self._sleeper.wake()

    # What follows runs in the thread.

    def _run(self) -> None:
        self._sleeper.attach()
        with contextlib.suppress(OSError):
            if sys.platform == "linux":  # where threads have a niceness of their own (setpriority(2))
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        self._census.begin()
        self._ready.set()
        fired: set[int] = set()
        while not self._ending:
            try:
                self._turn(fired)
            except Exception:  # noqa: BLE001 - without this thread no limit holds
                _LOG.exception("the monitor of sandboxes failed at something and goes on; a limit may be held late")
            fired = self._sleeper.wait(self._pause())
            self.wakes += 1
        self._census.end()

    def _pause(self) -> float | None:
        """Seconds until something is due by the clock; None when nothing is."""
        if self._orders:
            return 0.0
        until = self._list_at if self._awake else math.inf
        if self._queue:
            until = min(until, self._queue[0][0])
        return None if until == math.inf else max(0.0, until - time.monotonic())

    def _turn(self, fired: set[int]) -> None:
        while self._orders:
            self._orders.popleft()()
        now = time.monotonic()
        for pid in fired:
            watch = self._census.by_pid.get(pid)
            if watch is not None and watch in self._awake:
                self._schedule(watch, now)
        if self._awake and now >= self._list_at:
            self._find(now)
        while self._queue and self._queue[0][0] <= now:
            due, _, watch = heapq.heappop(self._queue)
            if due == watch.due and watch in self._awake:
                watch.due = math.inf
                try:
                    self._look(watch)
                except Exception:
                    self._schedule(watch, now + 1.0)
                    raise

    def _schedule(self, watch: Watch, when: float) -> None:
        if when < watch.due:
            watch.due = when
            heapq.heappush(self._queue, (when, next(self._serial), watch))

    def _begin(self, watch: Watch) -> None:
        self._census.clear(watch)
        watch.begin(time.monotonic())
        if watch.overfull:
            watch.walks()
            self._storage.look(watch.measure, lambda used, _: self._found(watch, used), anew=True)

    def _add(self, watch: Watch, pid: int, epoch: int) -> None:
        if epoch == watch.epoch and not watch.closed and self._census.add(watch, pid):
            self._wake(watch)

    def _wake(self, watch: Watch) -> None:
        """It may run: look now, and soon again for new processes."""
        if watch.frozen or watch.cause is not None or watch.closed:
            return
        now = time.monotonic()
        self._awake.add(watch)
        self._runs(now)
        self._schedule(watch, now)

    def _runs(self, now: float) -> None:
        self._running_until = now + _RUNNING
        self._list_at = max(self._list_rest, min(self._list_at, now + LISTING_BUSY))

    def _rest(self, watch: Watch) -> None:
        """Frozen, dead or closed: nothing to see."""
        self._awake.discard(watch)
        watch.due = math.inf

    def _initialized(self, watch: Watch, epoch: int) -> None:
        if epoch != watch.epoch or watch.duty is not None or watch.limits.cpu_share >= self._cores:
            return
        self._census.consumption(watch)  # what Init consumed is not charged
        watch.duty = DutyCycle(watch.limits.cpu_share, time.monotonic())
        self._wake(watch)

    def _thawed(self, watch: Watch) -> None:
        watch.looked = time.monotonic()
        if watch.duty is not None:
            watch.duty.resumed(watch.looked)
        self._census.go_on(watch, thawed=True)
        self._wake(watch)

    def _close(self, watch: Watch) -> None:
        self._rest(watch)
        self._census.remove(watch)
        self._storage.close(watch.measure)

    def _find(self, now: float) -> None:
        """Find new processes of all sandboxes."""
        then = time.thread_time()
        found = self._census.find()
        if found is not None:
            for watch in found:
                self._wake(watch)
            for watch in self._awake:
                if watch.ran:
                    self._census.read_children(watch)
        pause = LISTING_BUSY if now < self._running_until else LISTING_IDLE
        self._list_rest = now + REST * (time.thread_time() - then)
        self._list_at = max(self._list_rest, now + pause)

    def _look(self, watch: Watch) -> None:
        then = time.thread_time()
        epoch = watch.epoch
        self.looks += 1
        consumed = self._census.consumption(watch)
        now = time.monotonic()
        elapsed, watch.looked = now - watch.looked, now
        if not watch.members:
            self._find(now)  # what they left running
        if not watch.members:
            self._rest(watch)
            return
        watch.consumed(consumed)
        if consumed > 0:
            self._runs(now)
        over = "processes" if watch.too_many() else None
        if over is None and watch.memory_due(now, consumed):
            over = self._census.memory(watch)
        if over is not None:
            self._kill(watch, epoch, over)
            return
        if watch.storage_due(now, consumed):
            watch.walks()
            self._storage.look(watch.measure, lambda used, cost: self._walked(watch, epoch, used, cost))
        crowd = len(watch.members) > _MOST_ALARMS
        stop, plan = watch.plan(now, consumed, elapsed, alarms=self._sleeper.alarms and not crowd)
        if stop:
            self._census.halt(watch)
        elif watch.halted:
            self._census.go_on(watch)
        self._sleep(watch, now, plan, time.thread_time() - then)

    def _sleep(self, watch: Watch, now: float, plan: Plan, cost: float) -> None:
        if plan.clock is not None:
            self._schedule(watch, now + max(plan.clock, REST * cost if len(watch.members) > 1 else 0.0))
        if plan.cpu is not None:
            each = max(0.001, plan.cpu / len(watch.members))
            if not all(self._sleeper.arm(pid, each) for pid in watch.members):
                self._schedule(watch, now + _CROWD_LOOK)

    def _walked(self, watch: Watch, epoch: int, used: int, cost: float) -> None:
        """In the storage thread."""

        def tell() -> None:
            over = watch.saw_storage(used, time.monotonic() + REST * cost)
            if over is not None and watch in self._awake:
                self._kill(watch, epoch, over)

        self._orders.append(tell)
        self._sleeper.wake()

    def _found(self, watch: Watch, used: int) -> None:
        """In the storage thread."""
        self._orders.append(lambda: watch.found_storage(used))
        self._sleeper.wake()

    def _kill(self, watch: Watch, epoch: int, cause: str) -> None:
        """End the tree: at once what is known of it, and the rest by the engine's order, which also waits for it."""
        loop = self._loop
        if epoch != watch.epoch or watch.cause is not None or loop is None:
            return
        watch.verdict = (epoch, cause)
        self._rest(watch)
        try:
            loop.call_soon_threadsafe(watch.on_over, epoch, cause)
        except RuntimeError:  # the loop is closed: the spawner ends all
            return
        self._census.kill(watch)

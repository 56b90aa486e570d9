"""The scheduler's records: slots, pools, waiters, limits, and the effects it has on the world.

Plain mutable objects with ``__slots__``; states are small ints because they are compared on every invocation. Who may
change them: only :class:`engine.scheduler.core.Scheduler` and its :class:`engine.scheduler.room.Room`. The shell reads
them, and owns two fields: :attr:`Slot.environment` and :attr:`Pool.data`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    from engine.model.initialization import InitializationType

I = TypeVar("I")  # noqa: E741  # the shell's invocation object: opaque here, compared by identity
I_contra = TypeVar("I_contra", contravariant=True)

STARTING: Final = 0
"""Launched, not yet ready: counted against memory, waited for by the first waiters of its pool."""
READY: Final = 1
"""Idle: on its pool's stack and in the list of idle environments. The only state in which it may be retired."""
BUSY: Final = 2
"""Has exactly one invocation. In no list: only the shell holds it."""
RETIRING: Final = 3
"""The shell was told to end it. Its memory is not free before :meth:`Scheduler.gone`."""
GONE: Final = 4
"""Ended; the record is dead."""
LOST: Final = 5
"""Takes nothing any more, and nobody knows when it will end: it keeps its memory, which is promised to nobody."""

STATE_NAMES: Final = ("STARTING", "READY", "BUSY", "RETIRING", "GONE", "LOST")

RetireReason = Literal["keep-alive", "evicted", "stale", "shutdown"]
Refusal = Literal["ConcurrentInvocationLimitExceeded", "ReservedFunctionConcurrentInvocationLimitExceeded"]
"""The two of AWS's throttle reasons that a scheduler gives: a subset of ``engine.errors.ThrottleReason``."""


class Effects(Protocol[I_contra]):
    """What the scheduler does to the world: plain calls, made after its own books are straight.

    Each may call back into the scheduler at once (a launch that fails on the spot may call ``launch_failed``), except
    :meth:`wake`. None may raise: a decision, once told, is made.
    """

    def start(self, slot: Slot[Any], invocation: I_contra, /) -> None:
        """Hand the invocation to this environment, which is ready and now BUSY."""
        ...

    def launch(self, slot: Slot[Any], /) -> None:
        """Make a new environment for ``slot.pool``; later ``ready`` or one of its opposites."""
        ...

    def retire(self, slot: Slot[Any], reason: RetireReason, /) -> None:
        """End this environment, which has no invocation; ``gone`` when its memory is free."""
        ...

    def refuse(self, invocation: I_contra, reason: Refusal, /) -> None:
        """Answer the invocation with 429 and this Reason. The scheduler has forgotten it."""
        ...

    def wake(self, at: float, /) -> None:
        """Call ``advance`` at time `at` (seconds): earlier than promised so far. Must not call back."""
        ...


class IllegalTransition(RuntimeError):  # named after what happened, as dask's InvalidTransition is
    """The shell reported something that cannot happen to a slot in its state, or used a closed pool."""


class InvariantViolation(AssertionError):  # named after what happened
    """The scheduler's books contradict each other: a bug here. The message names the slot or pool, and its story."""


class Limit:
    """How many invocations may be in flight (waiting or running) at once, and the reason to refuse one more."""

    __slots__ = ("ceiling", "in_flight", "reason")

    def __init__(self, ceiling: int, reason: Refusal) -> None:
        self.ceiling = ceiling
        self.in_flight = 0
        self.reason: Refusal = reason


class Slot(Generic[I]):
    """The scheduler's record of one environment. Not to be confused with the environment itself, which does the work.

    Attributes:
        pool: the function revision that it serves, for life.
        state: STARTING, READY, BUSY, RETIRING, LOST or GONE.
        answered: BUSY, but its invocation is answered: it is *returning*, and will be `ready` in a moment.
        environment: whatever the shell keeps here; never looked at.
        initialization: how it comes to be initialised; nothing is decided by it here.
        expected: invocations that it may take and has not asked for yet: 1 while STARTING, then 0.
        ready_since: when it last became idle (seconds); meaningful while READY.
        since: when it first became ready; -1.0 before.
    """

    __slots__ = (
        "__weakref__",
        "above",
        "answered",
        "below",
        "environment",
        "expected",
        "initialization",
        "newer",
        "older",
        "pool",
        "ready_since",
        "since",
        "state",
    )

    def __init__(self, pool: Pool[I]) -> None:
        self.pool = pool
        self.state: int = STARTING
        self.answered = False
        self.initialization: InitializationType = pool.initialization
        self.expected = 1
        self.environment: Any = None
        self.ready_since = -1.0
        self.since = -1.0
        # Links of two intrusive lists, valid while READY: all idle environments by age, and the pool's stack.
        self.older: Slot[I] = self
        self.newer: Slot[I] = self
        self.above: Slot[I] | None = None
        self.below: Slot[I] | None = None

    def unlink(self) -> None:
        """Out of both lists, wherever it stands in them; it is READY. The hot path has its own, shorter, copy."""
        self.older.newer = self.newer
        self.newer.older = self.older
        pool, above, below = self.pool, self.above, self.below
        if above is None:
            pool.top = below
        else:
            above.below = below
        if below is None:
            pool.bottom = above
        else:
            below.above = above
        self.above = self.below = None
        self.older = self.newer = self

    def __repr__(self) -> str:
        return (
            f"<Slot {id(self):#x} {STATE_NAMES[self.state]} of {self.pool.function!r} {self.pool.memory_mb} MB"
            f" since={self.since:.6f} ready_since={self.ready_since:.6f}{' answered' if self.answered else ''}>"
        )


class Waiter(Generic[I]):
    """An accepted invocation that waits for the first ready environment of its pool.

    `late`: its time is over, but an environment is starting that will take it (see the package's prose).
    `patient_until`: while it is in its pool's `patient`, no environment is launched for it before then (seconds).
    """

    __slots__ = ("deadline", "invocation", "late", "patient_until", "pool")

    def __init__(self, invocation: I, pool: Pool[I], deadline: float) -> None:
        self.invocation = invocation
        self.pool = pool
        self.deadline = deadline
        self.patient_until = -1.0
        self.late = False


class Pool(Generic[I]):
    """One function revision and its environments.

    Attributes:
        function: the function's name: what concurrency limits are counted by.
        memory_mb: what each environment of it takes from the host's budget, in MB.
        capacity: invocations that one environment of it takes at a time: 1 here, see `places` for more.
        initialization: how environments of it that are launched on a caller's behalf are initialised.
        data: whatever the shell keeps here; never looked at.
        closed: None while open; else why ("stale", "shutdown"): nothing new starts, whatever is done retires.
        top, bottom: the stack of READY environments, most recently used on top, those that need a re-init below.
        open: None here; not None in a :class:`SharedPool`, whose environments are in no stack.
        busy, starting: environments in these states.
        returning: how many of the busy ones have answered.
        held: environments STARTING, READY or BUSY (RETIRING and LOST ones are no more of use to the pool).
        granted: launches that memory is promised to, once retiring environments are gone.
        waiters: invocations waiting, oldest first, by ``id()``; None until the first one ever.
        late: how many of them, all at the front, are past their deadline.
        patient: those of them, all at the back and never more than `returning`, that trust a returning environment to
            take them; same keys; None until the first one ever.
    """

    __slots__ = (
        "__weakref__",
        "bottom",
        "busy",
        "capacity",
        "closed",
        "contending",
        "data",
        "function",
        "granted",
        "held",
        "initialization",
        "late",
        "limit",
        "memory_mb",
        "open",
        "patient",
        "returning",
        "ring",
        "starting",
        "top",
        "waiters",
    )

    def __init__(self, function: str, memory_mb: int, limit: Limit) -> None:
        self.function = function
        self.memory_mb = memory_mb
        self.capacity = 1
        self.initialization: InitializationType = "on-demand"
        self.limit = limit
        self.data: Any = None
        self.closed: RetireReason | None = None
        self.top: Slot[I] | None = None
        self.bottom: Slot[I] | None = None
        self.open: OrderedDict[SharedSlot[I], None] | None = None
        self.busy = 0
        self.starting = 0
        self.returning = 0
        self.held = 0
        self.granted = 0
        self.waiters: OrderedDict[int, Waiter[I]] | None = None
        self.late = 0
        self.patient: OrderedDict[int, Waiter[I]] | None = None
        self.contending = False
        self.ring: OrderedDict[Pool[I], None] | None = None

    @property
    def waiting(self) -> int:
        """Invocations that wait for an environment."""
        return len(self.waiters) if self.waiters else 0

    @property
    def wanted(self) -> int:
        """Environments to be launched, or promised room already: one per waiter that none starts or returns for.

        Negative when more are starting than are waited for.
        """
        waiting = len(self.waiters) if self.waiters else 0
        return waiting - self.starting - len(self.patient) if self.patient else waiting - self.starting

    @property
    def coming(self) -> int:
        """Invocations that environments on their way will take: the late waiters trust in these."""
        return self.starting

    @property
    def running(self) -> int:
        """Invocations that were started and are not answered."""
        return self.busy - self.returning

    @property
    def idle(self) -> int:
        """Environments that are READY."""
        return self.held - self.starting - self.busy

    def __repr__(self) -> str:
        return (
            f"<Pool {self.function!r} {self.memory_mb} MB starting={self.starting} idle={self.idle} busy={self.busy}"
            f" returning={self.returning} granted={self.granted} waiting={self.waiting}"
            f" patient={len(self.patient or ())} late={self.late}{' closed' if self.closed else ''}>"
        )


class SharedSlot(Slot[I]):
    """The record of an environment that takes several invocations at a time.

    Attributes:
        home: its pool.
        places: free places.
        running: invocations on it that are not answered.
        returning: places whose worker is expected back in a moment.
        expected: places that have not shown up yet: while STARTING all of them, then until `expected_until` (seconds).
        draining: given nothing more, and retired when nothing is on it any more.
    """

    __slots__ = ("draining", "expected_until", "home", "places", "returning", "running")

    def __init__(self, pool: SharedPool[I]) -> None:
        super().__init__(pool)
        self.home = pool
        self.expected = pool.capacity
        self.places = self.running = self.returning = 0
        self.expected_until = -1.0
        self.draining = False

    def unlink(self) -> None:
        """Out of the list of idle environments; it is READY."""
        self.older.newer = self.newer
        self.newer.older = self.older
        self.older = self.newer = self

    def __repr__(self) -> str:
        return (
            f"<SharedSlot {id(self):#x} {STATE_NAMES[self.state]} of {self.pool.function!r} {self.pool.memory_mb} MB"
            f" places={self.places} running={self.running} returning={self.returning} expected={self.expected} of"
            f" {self.home.capacity} since={self.since:.6f} ready_since={self.ready_since:.6f}"
            f"{' draining' if self.draining else ''}>"
        )


class SharedPool(Pool[I]):
    """One function revision whose environments take several invocations at a time.

    Attributes:
        open: environments with a free place that may be given something, the next to be used last. `top` stays None.
        taken: invocations on its environments that are not answered; `returning`, likewise, counts places here.
        expected: places that are expected, of all its environments.
        slots: environments STARTING, READY or BUSY.
    """

    __slots__ = ("expected", "slots", "taken")

    open: OrderedDict[SharedSlot[I], None]

    def __init__(self, function: str, memory_mb: int, limit: Limit, capacity: int) -> None:
        super().__init__(function, memory_mb, limit)
        self.capacity = capacity
        self.open = OrderedDict()  # pyright: ignore[reportIncompatibleVariableOverride]  # narrower: never None here
        self.taken = 0
        self.expected = 0
        self.slots: dict[SharedSlot[I], None] = {}

    @property
    def wanted(self) -> int:
        """Environments to be launched, or promised room already: as many as the waiters fill that nothing comes for.

        Rounded up: a single waiter wants a whole environment. Negative when more places come than are waited for.
        """
        return -((self.expected + len(self.patient or ()) - self.waiting) // self.capacity)

    @property
    def coming(self) -> int:
        """Invocations that places on their way will take."""
        return self.expected

    @property
    def running(self) -> int:
        """Invocations that were started and are not answered."""
        return self.taken

    def __repr__(self) -> str:
        return (
            f"<SharedPool {self.function!r} {self.memory_mb} MB of {self.capacity} starting={self.starting}"
            f" idle={self.idle} busy={self.busy} open={len(self.open)} running={self.taken} returning={self.returning}"
            f" expected={self.expected} granted={self.granted} waiting={self.waiting}"
            f" patient={len(self.patient or ())} late={self.late}{' closed' if self.closed else ''}>"
        )

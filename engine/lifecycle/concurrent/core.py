"""The decisions of an environment with several invocations in flight: events in, actions out; no I/O, no clock."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from math import inf
from typing import ClassVar

from engine.lifecycle import failures
from engine.lifecycle.concurrent import states
from engine.lifecycle.core import EnvironmentCore
from engine.lifecycle.failures import Failure
from engine.lifecycle.states import Event, IllegalTransition, Phase
from engine.model.invocation import Invocation

_READY, _INIT = Phase.READY, Phase.INIT


class ConcurrentCore(EnvironmentCore):
    """One environment's phase, its invocations in flight and their deadlines. All times are monotonic seconds.

    What it takes over from `EnvironmentCore` is how an environment comes and goes; `invocation` stays None.

    Attributes:
        capacity: how many invocations are in flight at once, at most.
        flight: those that are, by request id, in the order in which they began, and so of their deadlines.
        asking: workers that wait for an invocation.
        offered: how many of them the scheduler knows as free places; never more than `capacity` less what is in flight.
        workers: the most that have waited at once.
        waited_for: until when each worker that has answered is expected to ask again, soonest first.
        begun: how many invocations have begun here.
        deadline: when the next of all these times is; in INIT its limit, in QUARANTINED when to try again.
    """

    # No slots: a shell inherits from here and from the parts that both kinds share, only one of which may have them.

    table: ClassVar[dict[Phase, dict[Event, Phase]]] = states.TRANSITIONS

    def prepare(self, capacity: int) -> None:
        """Set the attributes up; to be called once, after the base class is."""
        self.capacity = capacity
        self.flight: dict[str, Invocation] = {}
        self.asking = self.offered = self.workers = self.begun = 0
        self.waited_for: deque[float] = deque()

    # ---- one invocation --------------------------------------------------------------------------------------------

    def begin(self, now: float, invocation: Invocation) -> None:
        """An invocation was assigned to a place that was offered: hand it to a worker."""
        if self.phase is not _READY or not self.offered:
            raise IllegalTransition(self.phase, Event.BEGIN, self.story())
        self.asking -= 1
        self.offered -= 1
        invocation.started = now
        if not self.begun:
            invocation.init_s = self.init_s
        self.begun += 1
        self.flight[invocation.request_id] = invocation
        self.note_start(invocation)
        self.deliver(invocation)
        self._watch(now + self.timeout_s)

    def next(self, now: float) -> None:
        """A worker asks for an invocation: the first one ends Init."""
        if self.phase is not _READY:
            self._to(Event.NEXT)
            self.init_failure = None
            self.initialized()
            self.init_s = now - self._init_began
            self.deadline = inf
            self.note_init(None, self.init_s)
        self.asking += 1
        self.workers = max(self.workers, self.asking)
        self._offer()

    def left(self, now: float) -> None:
        """A worker that asked is gone."""
        self.asking -= 1
        self.workers -= 1
        if self.offered > self.asking:
            self.offered -= 1
            self.withdrawn()

    def answered(self, now: float, invocation: Invocation, body: bytes) -> None:
        """A worker posted the response to this invocation."""
        self._over(now, Event.RESPONSE, invocation)
        invocation.outcome = body
        invocation.produced = len(body)
        invocation.status = "success"
        self._tell(invocation)

    def errored(self, now: float, invocation: Invocation, failure: Failure) -> None:
        """A worker posted an error of this invocation, or a response that cannot be used."""
        self._over(now, Event.ERROR, invocation)
        self._fail(invocation, failure)
        self._tell(invocation)

    # ---- time ------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """The timer fired. Enforces what is due, and arms for what comes next."""
        if self.phase is not _READY or now < self.deadline:
            super().tick(now)
            return
        self._armed_for = inf
        self._time_out(now)
        while self.waited_for and self.waited_for[0] <= now:
            self.waited_for.popleft()
            self.abandoned()
        self.deadline = min(
            next(iter(self.flight.values())).started + self.timeout_s if self.flight else inf,
            self.waited_for[0] if self.waited_for else inf,
        )
        if self.deadline != inf:
            self._limit(self.deadline)
        self._offer()

    def _time_out(self, now: float) -> None:
        """Fail what is over its time; the workers are left alone."""
        while self.flight:
            invocation = next(iter(self.flight.values()))
            deadline = invocation.started + self.timeout_s
            if deadline > now:
                return
            del self.flight[invocation.request_id]
            self.expired(invocation)
            self.served += 1
            failure = failures.timed_out_alone(self.timeout_s)
            self._fail(invocation, failure)
            invocation.ended = deadline
            self.note_end(invocation, failure)
            self.answer(invocation)

    # ---- coming and going ------------------------------------------------------------------------------------------

    def init_failed(self, now: float, failure: Failure) -> None:
        """A worker posted an init error, before any was ready."""
        self._end_init(now, Event.INIT_ERROR, failure)

    def exited(self, now: float, failure: Failure) -> None:
        """The runtime's process ended, or could not be started at all."""
        if self.phase is _INIT:
            self._end_init(now, Event.EXIT, failure)
            return
        serving = self.phase is _READY
        self._to(Event.EXIT)
        if serving:
            self._end_extensions()
            self.deadline = inf
            self.lost()
            self._fail_all(now, failure)
            self.close()

    def retire(self, now: float, *, final: bool = False) -> None:
        """End this environment. What is in flight fails (only an engine that is stopped hard does that)."""
        super().retire(now, final=final)
        self._fail_all(now, failures.sandbox_failed("The engine stopped before the invocation ended"))

    def _end_badly(self, now: float, event: Event, failure: Failure, ended: float = inf) -> None:
        """Of what the base class ends badly only Init's time limit is left."""
        self._end_init(now, event, failures.init_timed_out_for_good(self.init_timeout_s))

    def _end_init(self, now: float, event: Event, failure: Failure) -> None:
        """It will never serve: those that it was started for are told why."""
        self._to(event)
        self._end_extensions()
        self.deadline = inf
        self.init_failure = failure
        self.init_s = None
        self.note_init(failure, now - self._init_began)
        for invocation in self.bereaved():
            invocation.started = now
            self.note_start(invocation)
            self._end(now, invocation, failure)
        self.close()

    def _give_up(self, now: float, event: Event, reason: str) -> None:
        super()._give_up(now, event, reason)
        self._fail_all(now, failures.sandbox_failed(reason))

    # ---- shared ----------------------------------------------------------------------------------------------------

    def _offer(self) -> None:
        """Tell the scheduler of the workers that wait, as far as the capacity goes."""
        while self.offered < self.asking and self.offered + len(self.flight) < self.capacity:
            self.offered += 1
            if self.waited_for:
                self.waited_for.popleft()
            self.available(broken=False)

    def _watch(self, at: float) -> None:
        if at < self.deadline:
            self.deadline = at
            if at < self._armed_for:
                self._armed_for = at
                self.arm(at)

    def returning(self, invocation: Invocation) -> None:
        """Not of this kind: see `replied`."""

    def _over(self, now: float, event: Event, invocation: Invocation) -> None:
        """The runtime has answered it. The scheduler hears before the caller does, who may submit again at once.

        A worker that takes one invocation at a time asks again after its answer. But there are runtimes whose workers
        ask again at once and have many in hand (AWS's for Node.js): with them nobody is to come back. How many are on
        their way is told by how many wait less than once did.
        """
        if self.phase is not _READY or self.flight.pop(invocation.request_id, None) is None:
            raise IllegalTransition(self.phase, event, self.story())
        invocation.responded = invocation.ended = now
        self.served += 1
        comes_back = len(self.waited_for) < self.workers - self.asking
        if comes_back:
            self.waited_for.append(now + self.timeout_s)
            self._watch(now + self.timeout_s)
        self.replied(comes_back)

    def _tell(self, invocation: Invocation) -> None:
        """The caller hears at once, unless it wants the log's tail, which ends with REPORT."""
        if invocation.tail:
            self.note_end(invocation)
            self.answer(invocation)
        else:
            self.answer(invocation)
            self.note_end(invocation)
        self._offer()  # a worker may have waited while the environment was full

    def _end_extensions(self) -> None:
        if self.extending is not None:
            self.extending.end("failure")  # of this kind no environment ends by a time limit (facts §12)

    def _fail_all(self, now: float, failure: Failure) -> None:
        """Nothing that is in flight will be answered any more."""
        flight, self.flight = self.flight, {}
        self.asking = self.offered = 0
        self.waited_for.clear()
        for invocation in flight.values():
            self._end(now, invocation, failure)

    def _end(self, now: float, invocation: Invocation, failure: Failure) -> None:
        self.served += 1
        self._fail(invocation, failure)
        invocation.ended = now
        self.note_end(invocation, failure)
        self.answer(invocation)

    # ---- actions ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def replied(self, comes_back: bool) -> None:
        """Tell the scheduler that an invocation was answered, and whether its worker will ask again in a moment."""

    @abstractmethod
    def withdrawn(self) -> None:
        """Tell the scheduler that a free place is gone."""

    @abstractmethod
    def abandoned(self) -> None:
        """Tell the scheduler that a worker which answered is not expected back any more."""

    @abstractmethod
    def expired(self, invocation: Invocation) -> None:
        """Tell the Runtime API, and the scheduler, that this invocation has timed out: its worker goes on with it."""

    @abstractmethod
    def bereaved(self) -> list[Invocation]:
        """Tell the scheduler that Init has failed for good; returns those that waited for it, who are to be told."""

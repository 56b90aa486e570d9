"""An environment with extensions under any order of events: nothing illegal happens, and everybody is answered once."""

from __future__ import annotations

import itertools
import uuid

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.lifecycle import failures
from engine.lifecycle.extending import Extending, Stage
from engine.lifecycle.states import Phase
from engine.sandbox.api import Exit
from runtime_api import INVOKE, SHUTDOWN, Extension, ExtensionEvent, Extensions, ExtensionState, Runtime, State
from runtime_api import Event as RuntimeEvent
from tests.unit.test_lifecycle_core import Recorder, invocation

LISTENING = Phase.REINIT
EVENTS = st.sampled_from([[INVOKE], [INVOKE, SHUTDOWN], [SHUTDOWN], []])
IDS = itertools.count()
RARELY = st.integers(0, 40).map(lambda number: number == 40)
"""What ends a life happens seldom, so that most lives get somewhere first."""


class Shell(Recorder):
    """A core with as much of its shell as decides: what `environment` and `extended` do around it."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime: Runtime | None = None
        self.known = Extensions(lambda: str(uuid.uuid4()))

    def launch(self) -> None:
        super().launch()
        self.known = Extensions(lambda: str(uuid.uuid4()))
        self.runtime = None
        self.extending = None

    def deliver(self, invocation) -> None:
        super().deliver(invocation)
        assert self.runtime is not None
        self.runtime.fire(RuntimeEvent.DELIVER)
        if self.extending is not None:
            self.extending.delivered()
            for one in self.known:
                if one.wants(INVOKE) and one.state is ExtensionState.READY:
                    one.fire(ExtensionEvent.DELIVER)


class ExtendedLife(RuleBasedStateMachine):
    """Processes that do whatever the Extensions API and the Runtime API let them do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.shell = Shell()
        self.sent: list = []

    @initialize()
    def begin_life(self) -> None:
        self.shell.start(self.now)

    def _later(self) -> float:
        self.now += 0.01
        return self.now

    @property
    def _heard(self) -> bool:
        return self.shell.phase <= LISTENING and self.shell.phase is not Phase.NEW

    def _extensions(self, *states: ExtensionState) -> list[Extension]:
        return [one for one in self.shell.known if one.state in states]

    def _runtime_is(self, *states: State) -> bool:
        return self._heard and self.shell.runtime is not None and self.shell.runtime.state in states

    def _has_processes(self) -> bool:
        return self.shell.runtime is not None or self.shell.extending is not None

    # ---- Init ----------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.shell.phase in {Phase.INIT, Phase.REINIT} and not self._has_processes())
    @rule(external=st.integers(0, 3))
    def processes_start(self, external) -> None:
        shell = self.shell
        shell.sandbox_made(self._later())
        for number in range(external):
            shell.known.expect(f"x{number}")
        if external:
            shell.extending = Extending(shell.known, external=True)
        else:
            shell.runtime = Runtime()

    @precondition(lambda self: self._heard and self._extensions(ExtensionState.STARTED))
    @rule(data=st.data(), events=EVENTS)
    def an_external_extension_registers(self, data, events) -> None:
        shell = self.shell
        one = data.draw(st.sampled_from(self._extensions(ExtensionState.STARTED)))
        shell.known.register(one.name, events, open=True)
        assert shell.extending is not None
        if shell.extending.registered():
            assert shell.runtime is None
            shell.runtime = Runtime()

    @precondition(lambda self: self._runtime_is(State.STARTED) and len(self.shell.known) < 5)
    @rule(wants_invoke=st.booleans())
    def an_internal_extension_registers(self, wants_invoke) -> None:
        shell = self.shell
        shell.known.register(f"i{next(IDS)}", [INVOKE] if wants_invoke else [], open=True)
        if shell.extending is None:
            shell.extending = Extending(shell.known, external=False)
        assert not shell.extending.registered()

    # ---- what they say -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self._heard and self._extensions(ExtensionState.REGISTERED, ExtensionState.RUNNING))
    @rule(data=st.data())
    def an_extension_asks(self, data) -> None:
        shell = self.shell
        one = data.draw(st.sampled_from(self._extensions(ExtensionState.REGISTERED, ExtensionState.RUNNING)))
        one.fire(ExtensionEvent.NEXT)
        assert shell.extending is not None
        if shell.extending.extension_next():
            shell.next(self._later())

    @precondition(lambda self: self._heard and any(one.may(ExtensionEvent.EXIT_ERROR) for one in self.shell.known))
    @rule(data=st.data(), really=RARELY)
    def an_extension_says_that_it_cannot_go_on(self, data, really) -> None:
        if not really:
            return
        one = data.draw(st.sampled_from([one for one in self.shell.known if one.may(ExtensionEvent.EXIT_ERROR)]))
        one.fire(ExtensionEvent.EXIT_ERROR)
        assert self.shell.extending is not None
        self.shell.extending.failed(one)

    @precondition(lambda self: self._runtime_is(State.STARTED, State.READY, State.RUNNING, State.RESPONSE_SENT))
    @rule()
    def the_runtime_asks(self) -> None:
        shell = self.shell
        before = shell.runtime.state
        after = shell.runtime.fire(RuntimeEvent.NEXT)
        heard = after is State.READY and before is not State.READY  # as `RuntimeServer.poll`
        if heard and (shell.extending is None or shell.extending.runtime_next()):
            shell.next(self._later())

    @precondition(lambda self: self.shell.phase is Phase.INVOKE)
    @rule(fails=st.booleans())
    def the_runtime_answers(self, fails) -> None:
        shell = self.shell
        shell.runtime.fire(RuntimeEvent.ERROR if fails else RuntimeEvent.RESPONSE)
        shell.runtime.fire(RuntimeEvent.SENT)
        if fails:
            shell.failed(self._later(), failures.posted(b"{}", "Function.X"))
        else:
            shell.responded(self._later(), b"1")

    # ---- what befalls them ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.shell.phase in {Phase.READY, Phase.BROKEN})
    @rule()
    def an_invocation_comes(self) -> None:
        one = invocation()
        self.sent.append(one)
        self.shell.begin(self._later(), one)

    @precondition(lambda self: self._heard and self._has_processes())
    @rule(whose=st.sampled_from(["runtime", "extension"]), really=RARELY)
    def a_process_ends(self, whose, really) -> None:
        shell = self.shell
        if not really:
            return
        if whose == "extension" and shell.extending is None:
            whose = "runtime"
        if whose == "runtime" and shell.runtime is None:
            return
        failure = failures.exited(Exit(1)) if whose == "runtime" else failures.extension_ended(Exit(1))
        shell.exited(self._later(), failure if shell.extending is None else shell.extending.judge(failure))

    @rule(really=RARELY)
    def time_passes(self, really) -> None:
        if not really:
            return
        self.now += 20.0
        self.shell.tick(self.now)

    @precondition(lambda self: self.shell.phase is Phase.RESETTING)
    @rule()
    def all_are_killed(self) -> None:
        self.shell.extending = None
        self.shell.runtime = None
        self.shell.killed(self._later())

    @precondition(lambda self: self.shell.phase is not Phase.CLOSED)
    @rule(really=RARELY)
    def it_is_retired(self, really) -> None:
        if really:
            self.shell.retire(self._later())

    @precondition(lambda self: self.shell.phase is Phase.CLOSING)
    @rule()
    def it_is_closed(self) -> None:
        self.shell.closed(self._later())

    # ---- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def an_idle_environment_has_nobody_at_work(self) -> None:
        shell = self.shell
        if shell.phase is Phase.READY:
            assert shell.runtime is not None
            assert shell.runtime.state is State.READY
            assert not self._extensions(ExtensionState.STARTED, ExtensionState.REGISTERED, ExtensionState.RUNNING)
            if shell.extending is not None:
                assert shell.extending.stage is Stage.IDLE

    @invariant()
    def what_is_being_ended_knows_why(self) -> None:
        shell = self.shell
        if shell.extending is not None:
            ending = shell.phase in {Phase.RESETTING, Phase.CLOSING, Phase.CLOSED}
            assert (shell.extending.stage is Stage.ENDING) is ending

    @invariant()
    def every_invocation_is_answered_at_most_once_and_exactly_once_when_it_is_over(self) -> None:
        for one in self.sent:
            assert len(one.log) <= 1
            if one is not self.shell.invocation:
                assert len(one.log) == 1


ExtendedLife.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
test_any_order_of_events = ExtendedLife.TestCase

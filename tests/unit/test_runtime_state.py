"""The runtime's state table: every (state, event) pair, in the table or not."""

from __future__ import annotations

import itertools

import pytest

from runtime_api import TRANSITIONS, Event, Runtime, State, TransitionRefused

# The contract, written a second time and by hand (facts §1.4), so that a row changed by accident is noticed.
LEGAL = {
    (State.STARTED, Event.NEXT): State.READY,
    (State.STARTED, Event.INIT_ERROR): State.INIT_ERROR,
    (State.STARTED, Event.RESTORE_NEXT): State.RESTORE_READY,
    (State.READY, Event.NEXT): State.READY,
    (State.READY, Event.DELIVER): State.RUNNING,
    (State.RUNNING, Event.NEXT): State.RUNNING,
    (State.RUNNING, Event.RESPONSE): State.INVOCATION_RESPONSE,
    (State.RUNNING, Event.ERROR): State.INVOCATION_ERROR_RESPONSE,
    (State.INVOCATION_RESPONSE, Event.SENT): State.RESPONSE_SENT,
    (State.INVOCATION_ERROR_RESPONSE, Event.SENT): State.RESPONSE_SENT,
    (State.RESPONSE_SENT, Event.NEXT): State.READY,
    (State.RESTORE_READY, Event.RESTORE): State.RESTORING,
    (State.RESTORING, Event.NEXT): State.READY,
    (State.RESTORING, Event.RESTORE_ERROR): State.RESTORE_ERROR,
    (State.RESTORING, Event.INIT_ERROR): State.RESTORE_ERROR,
}

AWS_NAMES = {
    "Started",
    "InitError",
    "Ready",
    "Running",
    "RestoreReady",
    "Restoring",
    "InvocationResponse",
    "InvocationErrorResponse",
    "RuntimeResponseSentState",
    "RuntimeRestoreErrorState",
}

PAIRS = [pytest.param(s, e, id=f"{s.name}-{e.name}") for s, e in itertools.product(State, Event)]


@pytest.mark.parametrize(("state", "event"), PAIRS)
def test_each_event_in_each_state_makes_its_transition_or_is_refused_without_a_trace(state, event):
    machine = Runtime()
    machine.state = state
    wanted = LEGAL.get((state, event))
    assert machine.may(event) is (wanted is not None)
    if wanted is not None:
        assert machine.fire(event) is wanted
        assert machine.state is wanted
    else:
        with pytest.raises(TransitionRefused) as refused:
            machine.fire(event)
        assert machine.state is state
        assert str(refused.value) == (
            f"State transition from {state.aws_name} to {event.wanted_name} failed for runtime. "
            "Error: State transition is not allowed"
        )


def test_the_table_has_a_row_for_each_state_and_no_others():
    assert set(TRANSITIONS) == set(State)


def test_states_carry_awss_names():
    assert {state.aws_name for state in State} == AWS_NAMES


def test_each_state_is_reachable_from_started():
    reached, frontier = {State.STARTED}, [State.STARTED]
    while frontier:
        for state in TRANSITIONS[frontier.pop()].values():
            if state not in reached:
                reached.add(state)
                frontier.append(state)
    assert reached == set(State)


@pytest.mark.parametrize("state", State)
def test_reset_leads_back_to_started_from_anywhere(state):
    machine = Runtime()
    machine.state = state
    machine.reset()
    assert machine.state is State.STARTED
    assert repr(machine) == "<Runtime Started>"


def test_a_refused_duplicate_says_so_in_awss_words():
    machine = Runtime()
    for event in (Event.NEXT, Event.DELIVER, Event.RESPONSE, Event.SENT):
        machine.fire(event)
    with pytest.raises(TransitionRefused) as refused:
        machine.fire(Event.RESPONSE)
    assert str(refused.value) == (
        "State transition from RuntimeResponseSentState to InvocationResponse failed for runtime. "
        "Error: State transition is not allowed"
    )

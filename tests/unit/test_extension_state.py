"""An extension's state tables, internal and external: every (state, event) pair; and what a set of them answers for."""

from __future__ import annotations

import itertools
import uuid

import pytest

from runtime_api import INVOKE, SHUTDOWN, Extension, ExtensionEvent, ExtensionRefused, Extensions, ExtensionState

STARTED, REGISTERED, READY, RUNNING = (
    ExtensionState.STARTED,
    ExtensionState.REGISTERED,
    ExtensionState.READY,
    ExtensionState.RUNNING,
)

# The contract, written a second time and by hand (facts §2.3, 2.7).
INTERNAL = {
    (STARTED, ExtensionEvent.REGISTER): REGISTERED,
    (REGISTERED, ExtensionEvent.NEXT): READY,
    (REGISTERED, ExtensionEvent.INIT_ERROR): ExtensionState.INIT_ERROR,
    (REGISTERED, ExtensionEvent.EXIT_ERROR): ExtensionState.EXIT_ERROR,
    (READY, ExtensionEvent.DELIVER): RUNNING,
    (READY, ExtensionEvent.EXIT_ERROR): ExtensionState.EXIT_ERROR,
    (RUNNING, ExtensionEvent.NEXT): READY,
    (RUNNING, ExtensionEvent.EXIT_ERROR): ExtensionState.EXIT_ERROR,
    (ExtensionState.INIT_ERROR, ExtensionEvent.INIT_ERROR): ExtensionState.INIT_ERROR,
    (ExtensionState.EXIT_ERROR, ExtensionEvent.EXIT_ERROR): ExtensionState.EXIT_ERROR,
}
EXTERNAL = {
    **INTERNAL,
    (STARTED, ExtensionEvent.LAUNCH_ERROR): ExtensionState.LAUNCH_ERROR,
    (RUNNING, ExtensionEvent.EXITED): ExtensionState.EXITED,
    (RUNNING, ExtensionEvent.SHUTDOWN_FAILED): ExtensionState.SHUTDOWN_FAILED,
}

PAIRS = [
    pytest.param(external, state, event, id=f"{'external' if external else 'internal'}-{state.name}-{event.name}")
    for external, state, event in itertools.product((False, True), ExtensionState, ExtensionEvent)
]


@pytest.mark.parametrize(("external", "state", "event"), PAIRS)
def test_each_event_in_each_state_makes_its_transition_or_is_refused_without_a_trace(external, state, event):
    extension = Extension("name", "the-id", external=external)
    extension.state = state
    wanted = (EXTERNAL if external else INTERNAL).get((state, event))
    assert extension.may(event) is (wanted is not None)
    if wanted is not None:
        assert extension.fire(event) is wanted
        assert extension.state is wanted
        return
    with pytest.raises(ExtensionRefused) as refused:
        extension.fire(event)
    assert extension.state is state
    assert refused.value.error_type == "Extension.InvalidExtensionState"
    who = "name" if event is ExtensionEvent.REGISTER else "the-id"
    assert str(refused.value) == (
        f"State transition from {state.aws_name} to {event.wanted_name} failed for extension {who}. "
        "Error: State transition is not allowed"
    )


def test_states_have_the_names_that_aws_prints():
    assert [state.aws_name for state in ExtensionState] == [
        "Started", "Registered", "Ready", "Running", "InitError", "ExitError", "ShutdownFailed", "Exited", "LaunchError",
    ]  # fmt: skip


@pytest.fixture
def known() -> Extensions:
    return Extensions(lambda: str(uuid.uuid4()))


def refusal(act) -> tuple[str, str]:
    with pytest.raises(ExtensionRefused) as refused:
        act()
    return refused.value.error_type, str(refused.value)


def test_where_several_invocations_are_in_flight_nobody_is_told_of_them():
    known = Extensions(lambda: str(uuid.uuid4()), invocations=False)
    known.expect("outside")
    for events in ([INVOKE], [SHUTDOWN, INVOKE]):
        assert refusal(lambda events=events: known.register("outside", events, open=True)) == (
            "Extension.InvalidEventType",
            "INVOKE: ErrorInvalidEventType",
        )
        assert refusal(lambda events=events: known.register("inside", events, open=True)) == (
            "Extension.InvalidEventType",
            "No events allowed for internal extensions",
        )
    assert known.register("outside", [SHUTDOWN], open=True).events == (SHUTDOWN,)
    assert known.register("inside", [], open=True).events == ()


def test_a_name_that_is_expected_is_external_and_any_other_is_internal(known):
    known.expect("outside")
    assert known.registering()
    assert known.register("outside", [INVOKE, SHUTDOWN], open=True).external
    assert not known.registering()
    assert not known.register("inside", [INVOKE], open=True).external
    assert [one.name for one in known] == ["outside", "inside"]


def test_events_are_kept_as_asked_for_and_once(known):
    known.expect("one")
    assert known.register("one", [SHUTDOWN, INVOKE, SHUTDOWN], open=True).events == (SHUTDOWN, INVOKE)


def test_an_external_extension_may_register_when_registration_is_closed_for_internal_ones(known):
    known.expect("late")
    assert known.register("late", [], open=False).state is REGISTERED


@pytest.mark.parametrize(
    ("name", "events", "is_open", "error"),
    [
        ("", [], True, ("Extension.InvalidExtensionName", "Empty extension name")),
        ("x", ["STOP"], True, ("Extension.InvalidEventType", "STOP: ErrorInvalidEventType")),
        ("x", [SHUTDOWN], True,
         ("Extension.InvalidEventType", "SHUTDOWN: ShutdownEventNotSupportedForInternalExtension")),
        ("x", [], False, ("Extension.RegistrationClosed", "Extension registration closed already")),
        ("inside", [], True, ("Extension.InvalidExtensionState", "Extension with this name already registered")),
        ("outside", [], True, (
            "Extension.InvalidExtensionState",
            ("State transition from Registered to Registered failed for extension outside. "
            "Error: State transition is not allowed"),
        )),
    ],
)  # fmt: skip
def test_registrations_are_refused_in_aws_words_and_leave_no_trace(known, name, events, is_open, error):
    known.expect("outside")
    known.register("outside", [], open=True)
    known.register("inside", [], open=True)
    assert refusal(lambda: known.register(name, events, open=is_open)) == error
    assert len(known) == 2


def test_a_long_name_is_refused(known):
    assert refusal(lambda: known.register("n" * 256, [], open=True))[0] == "Extension.InvalidExtensionName"


def test_there_are_at_most_ten_extensions_of_both_kinds(known):
    for number in range(9):
        known.expect(f"outside-{number}")
    known.register("inside", [], open=True)
    assert refusal(lambda: known.register("one more", [], open=True)) == (
        "Extension.TooManyExtensions",
        "Extension limit (10) reached",
    )
    assert refusal(lambda: known.expect("and one more")) == (
        "Extension.LaunchError",
        "Extension limit (10) reached",
    )
    failed = known.named("and one more")
    assert failed is not None
    assert (failed.state, failed.error_type) == (ExtensionState.LAUNCH_ERROR, "TooManyExtensions")


def test_identifiers_are_checked_in_the_order_that_aws_checks_them(known):
    one = known.register("inside", [], open=True)
    assert known.find(one.identifier.encode()) is one
    assert known.find(one.identifier.upper().encode()) is one, "it is a UUID, not a text"
    missing = ("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
    assert refusal(lambda: known.find(None)) == refusal(lambda: known.find(b"")) == missing
    assert refusal(lambda: known.find(b"junk")) == (
        "Extension.InvalidExtensionIdentifier",
        "Invalid Lambda-Extension-Identifier",
    )
    other = str(uuid.uuid4())
    assert refusal(lambda: known.find(other.encode())) == (
        "Extension.UnknownExtensionIdentifier",
        f"Unknown extension {other}",
    )


def test_init_waits_for_all_and_an_invocation_for_those_that_are_told_of_it(known):
    told, quiet = known.register("told", [INVOKE], open=True), known.register("quiet", [], open=True)
    assert known.initializing()
    told.fire(ExtensionEvent.NEXT)
    assert known.initializing()
    quiet.fire(ExtensionEvent.NEXT)
    assert not known.initializing()
    assert not known.busy()
    told.fire(ExtensionEvent.DELIVER)
    assert known.busy()
    told.fire(ExtensionEvent.NEXT)
    assert not known.busy()

"""A streamed response's way to its caller, event by event: no loop, no socket, no clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engine.lifecycle.streaming import TRANSITIONS, IllegalStreamEvent, ResponseStream, Step, StreamEvent

INVOCATION: Any = SimpleNamespace(request_id="id-1")


class Source:
    """The runtime's side."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class Recorder(ResponseStream):
    """Writes down what its caller is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.did: list[Any] = []

    def open(self, invocation: Any) -> None:
        self.did.append("open")

    def send(self, data: bytes) -> None:
        self.did.append(data)

    def finish(self, invocation: Any) -> None:
        self.did.append("finish")


def flowing() -> tuple[Recorder, Source]:
    stream, source = Recorder(), Source()
    stream.begin(INVOCATION, b"text/plain", source)
    return stream, source


def fire(stream: ResponseStream, event: StreamEvent) -> None:
    if event is StreamEvent.BEGIN:
        stream.begin(INVOCATION, b"", Source())
    elif event is StreamEvent.PIECE:
        stream.piece(1.0, b"x")
    else:
        stream.end(INVOCATION)


def at(step: Step) -> Recorder:
    stream = Recorder()
    if step is not Step.WAITING:
        fire(stream, StreamEvent.BEGIN)
    if step is Step.ENDED:
        fire(stream, StreamEvent.END)
    stream.did.clear()
    return stream


@pytest.mark.parametrize("event", list(StreamEvent))
@pytest.mark.parametrize("step", list(Step))
def test_every_step_takes_what_its_row_says_and_refuses_the_rest_unchanged(step, event):
    stream = at(step)
    target = TRANSITIONS[step].get(event)
    if target is not None:
        fire(stream, event)
        assert stream.step is target
        return
    with pytest.raises(IllegalStreamEvent, match=f"{event.name} is not allowed in step {step.name}"):
        fire(stream, event)
    assert stream.step is step
    assert stream.did == []


def test_pieces_go_on_in_order_between_the_opening_and_the_end():
    stream, _ = flowing()
    stream.piece(5.0, b"ab")
    stream.piece(6.0, b"c")
    stream.end(INVOCATION)
    assert stream.did == ["open", b"ab", b"c", "finish"]
    assert (stream.first_byte, stream.size, stream.begun, stream.content_type) == (5.0, 3, True, b"text/plain")


def test_an_end_without_a_beginning_is_a_response_in_one_piece_or_none():
    stream = Recorder()
    stream.end(INVOCATION)
    assert (stream.did, stream.begun, stream.first_byte) == (["finish"], False, 0.0)


def test_the_runtime_is_held_back_while_the_caller_is_behind():
    stream, source = flowing()
    stream.slow()
    stream.slow()
    assert (source.calls, stream.held) == (["pause"], True)
    stream.piece(1.0, b"what was read already")
    assert stream.did[-1] == b"what was read already"
    stream.quick()
    stream.quick()
    assert (source.calls, stream.held) == (["pause", "resume"], False)


def test_a_caller_that_is_behind_already_holds_the_runtime_from_the_beginning():
    stream, source = Recorder(), Source()
    stream.slow()
    assert not stream.held
    stream.begin(INVOCATION, b"", source)
    assert source.calls == ["pause"]


def test_without_a_caller_the_runtime_goes_on_and_nothing_is_sent():
    stream, source = flowing()
    stream.slow()
    stream.gone()
    assert source.calls == ["pause", "resume"]
    stream.piece(1.0, b"x")
    stream.slow()
    assert source.calls == ["pause", "resume"]
    stream.end(INVOCATION)
    assert stream.did == ["open", "finish"]
    assert stream.size == 1


def test_a_caller_that_is_gone_before_the_beginning_is_sent_nothing():
    stream = Recorder()
    stream.gone()
    stream.begin(INVOCATION, b"", Source())
    stream.piece(1.0, b"x")
    stream.end(INVOCATION)
    assert stream.did == ["finish"]


def test_after_the_end_the_runtime_is_left_alone():
    stream, source = flowing()
    stream.slow()
    stream.end(INVOCATION)
    assert not stream.held
    stream.quick()
    stream.slow()
    stream.gone()
    assert source.calls == ["pause"]


@pytest.mark.parametrize(("size", "kept"), [(1024, 1024), (1025, 0), (1 << 20, 0)])
def test_a_content_type_without_end_is_not_kept(size, kept):
    stream = Recorder()
    stream.begin(INVOCATION, b"x" * size, Source())
    assert len(stream.content_type) == kept

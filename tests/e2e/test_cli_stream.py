"""`lambent invoke --stream`, as a process of its own: what is printed, and when."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.cli import lambent, public_folder, serving, start
from tests.support.streaming import streamer


@pytest.fixture(scope="module")
def endpoint():
    with public_folder() as folder, serving(data=folder / "data") as served:
        done = lambent("deploy", str(streamer(folder / "f")), "--endpoint-url", served.url, "--timeout", "20")
        assert done.returncode == 0, done.stderr
        yield {"LAMBENT_ENDPOINT_URL": served.url}


def invoke(endpoint, event: object, *arguments: str):
    return lambent("invoke", "f", json.dumps(event), "--stream", *arguments, env=endpoint)


def test_the_answer_is_printed_while_it_is_written(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as gate:
        event = {"do": "stream", "pieces": ["first\n", gate.getsockname()[1], "second, without a newline"]}
        process = start("invoke", "f", json.dumps(event), "--stream", env=endpoint)
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        waiting, _ = gate.accept()
        waiting.close()
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("second, without a newline", "", 0)


def test_a_failure_in_the_middle_is_said_behind_what_was_printed(endpoint):
    done = invoke(endpoint, {"do": "break", "pieces": ["half"]})
    assert (done.stdout, done.returncode) == ("half", 1)
    assert done.stderr == (
        'lambent: function \'f\' failed: {"errorType": "Function.Broke", "errorMessage": "in the middle"}\n'
    )


def test_a_function_that_does_not_stream_and_its_log(endpoint):
    done = invoke(endpoint, {"do": "whole", "value": [1]}, "--log-type", "Tail")
    assert (done.stdout, done.returncode) == ("[1]", 0)
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["START", "END", "REPORT"]
    assert invoke(endpoint, 1, "--invocation-type", "DryRun").stdout == ""


def test_refusals_and_wrong_use_are_one_sentence(endpoint):
    done = lambent("invoke", "nope", "--stream", env=endpoint)
    assert (done.stdout, done.returncode) == ("", 1)
    assert "ResourceNotFoundException (HTTP 404)" in done.stderr
    done = invoke(endpoint, 1, "--json")
    assert done.returncode == 2
    assert "use one of them" in done.stderr

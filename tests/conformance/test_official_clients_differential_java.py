"""Our Java runtime against AWS's client itself: the same class, the same event, and what they post must be the same."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import bootstraps
from tests.support import java
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

PERSON = (
    b'{"name": "Ada", "tags": ["a", "b"], "counts": {"x": 1}, "colour": "GREEN", "age": 36, "active": true,'
    b' "URL": "u", "secret": "no", "unknown": 1, "addresses": [{"street": "s", "number": "7"}, {}]}'
)
CASES = {
    "bean": ("Kit::bean", PERSON),
    "bean of nothing": ("Kit::bean", b"{}"),
    "null": ("Kit::bean", b"null"),
    "unknown enum": ("Kit::bean", b'{"colour": "BLUE"}'),
    "list": ("Kit::list", b"[1, 2, 39]"),
    "single value as list": ("Kit::list", b"5"),
    "object": ("Kit::type", b'{"a": 1}'),
    "long": ("Kit::type", b"12345678901"),
    "text": ("Kit::text", b'"x"'),
    "text of a number": ("Kit::text", b"7"),
    "text of an object": ("Kit::text", b'{"a": 1}'),
    "number": ("Kit::number", b"41"),
    "number of text": ("Kit::number", b'"41"'),
    "no number": ("Kit::number", b'"many"'),
    "set": ("Kit::set", b'["RED", "RED"]'),
    "static": ("Kit::unbound", b"{}"),
    "context only": ("Kit::contextOnly", b"{}"),
    "nothing": ("Kit::nothing", b'"x"'),
    "overloaded": ("Kit::overloaded", b'"x"'),
    "too many": ("Kit::tooMany", b'"x"'),
    "streams": ("Kit::bytes", b"raw \xff"),
    "stream in": ("Kit::bytesIn", b"123"),
    "stream out": ("Kit::bytesOut", b"{}"),
    "values": ("Kit::values", b"{}"),
    "fails": ("Kit::fails", b"{}"),
    "fails silently": ("Kit::failsSilently", b"{}"),
    "logs": ("Kit::logs", b"{}"),
    "client context": ("Kit::client", b"{}"),
    "bad json": ("Kit::type", b"{"),
    "no such method": ("Kit::absent", b"{}"),
    "no such class": ("Absent", b"{}"),
    "no such class for a method": ("Absent::go", b"{}"),
    "no handler": ("Kit", b"{}"),
    "bad name": ("Kit::", b"{}"),
    "generic": ("Kit$Derived", b'[{"street": "s"}]'),
    "stream handler": ("Kit$Stream", b"12345"),
    "unparameterised": ("Kit$Unparameterised", b"{}"),
    "constructor throws": ("Kit$Throwing::go", b"{}"),
    "no constructor": ("Kit$Closed::go", b"{}"),
    "inner": ("Kit$Inner", b'"x"'),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The handlers, with AWS's interfaces beside them."""
    core = java.jars("aws-lambda-java-core")
    target = tmp_path_factory.mktemp("java") / "code"
    source = (java.SOURCES / "Kit.java").read_text("utf-8")
    shutil.copytree(java.compiled(source, "Kit", tuple(core)), target)
    (target / "lib").mkdir()
    shutil.copy(core[0], target / "lib")
    return target


@pytest.fixture(scope="module")
def theirs():
    jars = java.jars(
        "aws-lambda-java-core",
        "aws-lambda-java-runtime-interface-client",
        "aws-lambda-java-serialization",
        "utils-lite",
    )
    main = "com.amazonaws.services.lambda.runtime.api.client.AWSLambda"
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", ":".join(map(str, jars)), main]
    return [java.java(), *options]


def observe(command, folder, handler, event):
    """What a runtime posts and prints for one invocation, and how it ends, without what differs from run to run."""
    with (
        ScriptedRuntimeApi() as api,
        api.start([*command, handler], cwd=folder, env={"_HANDLER": handler}) as runtime,
    ):
        api.send(
            event, request_id="rid", deadline_ms="9999999999999",
            client_context='{"custom": {"x": "1"}, "client": {"app_title": "t"}, "env": {"e": "f"}}',
        )  # fmt: skip
        posted = api.posted()
        if posted.path.endswith("init/error"):
            code = runtime.wait()
        else:
            api.send(b"{}", request_id="second")
            api.posted()
            code = None
        output = runtime.output()
    body = posted.body
    if posted.path.endswith("/error"):
        body = posted.json()
        # Reflection is done by other classes from one Java to another.
        frames = [line for line in body.get("stackTrace", ()) if not re.match(r"(java\.base/)?(jdk|java)\.", line)]
        body["stackTrace"] = frames
    elif body[:1] == b"{":
        body = list(posted.json().items())  # AWS's escapes what is beyond the basic plane
    kind = posted.headers.get("lambda-runtime-function-error-type")
    cause = json.loads(posted.headers.get("lambda-runtime-function-xray-error-cause", "null"))
    exceptions = [(one["type"], one.get("message")) for one in cause["exceptions"]] if cause else None
    return {"path": posted.path, "body": body, "kind": kind, "exceptions": exceptions, "exit": code}, output


@pytest.mark.parametrize("case", CASES)
def test_what_is_posted_is_that_of_awss_client(folder, theirs, case):
    handler, event = CASES[case]
    ours, our_output = observe(bootstraps.command("java17"), folder, handler, event)
    wanted, their_output = observe(theirs, folder, handler, event)
    assert ours == wanted
    if case == "logs":
        assert our_output.splitlines() == their_output.splitlines()

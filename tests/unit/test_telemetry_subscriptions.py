"""Subscriptions to the Telemetry and Logs API: what is accepted, and how the rest is refused."""

from __future__ import annotations

import json

import pytest

from runtime_api import LOGS_API, TELEMETRY_API, Buffering, Destination, Subscription, TelemetrySubscriptions

HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/path?x=1"}
GOOD = {"schemaVersion": "2022-12-13", "types": ["platform", "function"], "destination": HTTP}


@pytest.fixture
def opened() -> list[Subscription]:
    return []


@pytest.fixture
def subscriptions(opened) -> TelemetrySubscriptions:
    return TelemetrySubscriptions(opened.append)


def ask(subscriptions, body, api=TELEMETRY_API, extension="id-1"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = subscriptions.subscribe(extension, "recorder", api, data)
    return status, json.loads(answer)


@pytest.mark.parametrize("version", ["2022-07-01", "2022-12-13", "2025-01-29"])
def test_each_schema_version_of_the_telemetry_api_is_accepted(subscriptions, opened, version):
    assert ask(subscriptions, {**GOOD, "schemaVersion": version}) == (200, "OK")
    assert opened == [
        Subscription(
            "id-1", "recorder", TELEMETRY_API, version, ("platform", "function"),
            Destination("HTTP", 8080, "/path?x=1"), Buffering(10_000, 262_144, 1_000),
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("sent", "meant"), [({}, "2020-08-15"), ({"schemaVersion": "2021-03-18"}, "2021-03-18")])
def test_the_logs_api_has_a_default_schema_and_methods(subscriptions, opened, sent, meant):
    body = {"types": ["extension"], "destination": {**HTTP, "method": "PUT", "encoding": "JSON"}, **sent}
    assert ask(subscriptions, body, LOGS_API) == (200, "OK")
    assert (opened[0].schema_version, opened[0].destination.method) == (meant, "PUT")


def test_tcp_needs_a_port_only(subscriptions, opened):
    assert ask(subscriptions, {**GOOD, "destination": {"protocol": "TCP", "port": 1234}})[0] == 200
    assert opened[0].destination == Destination("TCP", 1234)


def test_buffering_is_taken_as_given_and_filled_in(subscriptions, opened):
    assert ask(subscriptions, {**GOOD, "buffering": {"maxItems": 1000, "timeoutMs": 25}})[0] == 200
    assert opened[0].buffering == Buffering(1000, 262_144, 25)


def test_the_example_of_the_documentation_names_both_faults(subscriptions):
    body = {**GOOD, "types": [], "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}}
    assert ask(subscriptions, body) == (
        400,
        {"errorType": "ValidationError", "errorMessage": "URI port is not provided; types should not be empty"},
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schemaVersion": "2020-08-15"}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"schemaVersion": None}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"schemaVersion": ["2022-12-13"]}, "schemaVersion should be one of 2022-07-01, 2022-12-13, 2025-01-29"),
        ({"types": "platform"}, "types should be among platform, function, extension"),
        ({"types": ["platform", "metrics"]}, "types should be among platform, function, extension"),
        ({"types": ["platform", 7]}, "types should be strings"),
        ({"types": {"platform": 1}}, "types should be among platform, function, extension"),
        ({"destination": None}, "destination is not provided"),
        ({"destination": {"protocol": "UDP"}}, "destination.protocol should be HTTP or TCP"),
        ({"destination": {"protocol": "TCP"}}, "destination.port is not provided"),
        ({"destination": {"protocol": "TCP", "port": True}}, "destination.port is not provided"),
        ({"destination": {"protocol": "TCP", "port": 0}}, "port should be between 1 and 65535, and not 9001"),
        ({"destination": {"protocol": "TCP", "port": 9001}}, "port should be between 1 and 65535, and not 9001"),
        ({"destination": {"protocol": "HTTP"}}, "URI is not provided"),
        ({"destination": {**HTTP, "URI": 5}}, "URI is not provided"),
        ({"destination": {**HTTP, "method": "GET"}}, "destination.method should be POST or PUT"),
        ({"destination": {**HTTP, "encoding": "XML"}}, "destination.encoding should be JSON"),
        ({"destination": {**HTTP, "URI": "https://sandbox.localdomain:80"}}, "URI scheme should be http"),
        ({"destination": {**HTTP, "URI": "http://example.com:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://127.0.0.1:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://a@sandbox.localdomain:80"}}, "URI host should be sandbox.localdomain"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:9001"}}, "port should be between 1 and 65535, and not 9001"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:80/a\r\nX: 1"}}, "URI is not valid"),
        ({"destination": {**HTTP, "URI": "http://sandbox.localdomain:80/é"}}, "URI is not valid"),
        ({"buffering": []}, "buffering should be an object"),
        ({"buffering": {"maxItems": 999}}, "buffering.maxItems should be an integer between 1000 and 10000"),
        ({"buffering": {"maxBytes": 1 << 21}}, "buffering.maxBytes should be an integer between 262144 and 1048576"),
        ({"buffering": {"timeoutMs": 24}}, "buffering.timeoutMs should be an integer between 25 and 30000"),
        ({"buffering": {"timeoutMs": 99.5}}, "buffering.timeoutMs should be an integer between 25 and 30000"),
        ({"buffering": {"timeoutMs": True}}, "buffering.timeoutMs should be an integer between 25 and 30000"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("api", [TELEMETRY_API, LOGS_API])
def test_what_is_wrong_is_said_and_nothing_is_subscribed(subscriptions, opened, change, words, api):
    body = {**GOOD, "schemaVersion": "2022-12-13" if api == TELEMETRY_API else "2021-03-18", **change}
    if api == LOGS_API and "schemaVersion" in change:
        body["schemaVersion"] = "2022-12-13"
        words = "schemaVersion should be one of 2020-08-15, 2021-03-18"
    kind = "ValidationError" if api == TELEMETRY_API else "Logs.ValidationError"
    assert ask(subscriptions, body, api) == (400, {"errorMessage": words, "errorType": kind})
    assert not opened
    assert not subscriptions.subscribed


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"\xff", b"nope"])
def test_what_is_not_json_is_refused(subscriptions, opened, body):
    status, answer = ask(subscriptions, body)
    assert (status, answer["errorType"]) == (400, "ValidationError")
    assert answer["errorMessage"].startswith("request body is not valid JSON")
    assert not opened


@pytest.mark.parametrize("body", [b"[]", b"7", b"null", b'"text"'])
def test_what_is_not_an_object_is_refused(subscriptions, body):
    assert ask(subscriptions, body)[1]["errorMessage"] == "request body should be a JSON object"


@pytest.mark.parametrize(("api", "name"), [(TELEMETRY_API, "Telemetry"), (LOGS_API, "Logs")])
def test_after_init_it_is_closed(subscriptions, opened, api, name):
    subscriptions.close()
    assert ask(subscriptions, GOOD, api) == (
        403,
        {"errorType": f"{name}.SubscriptionClosed", "errorMessage": f"{name} API subscription is closed"},
    )
    assert not opened
    subscriptions.reset()
    assert (
        ask(subscriptions, {**GOOD, "schemaVersion": "2021-03-18" if name == "Logs" else "2022-07-01"}, api)[0] == 200
    )


def test_one_environment_has_either_api(subscriptions):
    assert ask(subscriptions, GOOD)[0] == 200
    status, answer = ask(subscriptions, {**GOOD, "schemaVersion": "2021-03-18"}, LOGS_API, extension="id-2")
    assert (status, answer["errorType"]) == (400, "Logs.ValidationError")


def test_a_second_subscription_takes_the_place_of_the_first(subscriptions, opened):
    ask(subscriptions, GOOD)
    ask(subscriptions, {**GOOD, "types": ["extension"]})
    assert [one.types for one in subscriptions.subscribed.values()] == [("extension",)]
    assert len(opened) == 2

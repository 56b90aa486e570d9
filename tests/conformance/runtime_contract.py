"""What a runtime does on Lambda, checked through the engine: the tests run it for each client of each language."""

from __future__ import annotations

import re
from pathlib import Path

from engine import Engine, Function
from tests.support.clients import Client
from tests.support.families import FAMILIES


async def create(
    engine: Engine, client: Client, folder: Path, name: str, source: str | None = None, handler: str | None = None
) -> Function:
    """Deploy the client's function, or the same with another source or handler."""
    code = client.folder(folder / name, source)
    return await engine.create_function(
        name,
        code=code,
        runtime=client.runtime,
        handler=handler or client.handler,
        memory_mb=client.memory_mb,
        timeout_s=20,
    )


async def answers_cold_and_warm(engine: Engine, client: Client, folder: Path) -> None:
    """The first invocation starts an environment, the next ones find it as the last one left it."""
    function = await create(engine, client, folder, "warm")
    results = [await function.invoke({"do": "count"}) for _ in range(3)]
    assert [result.json() for result in results] == [1, 2, 3]
    assert [result.cold for result in results] == [True, False, False]
    assert len({result.environment_id for result in results}) == 1


async def carries_values_through(engine: Engine, client: Client, folder: Path) -> None:
    """JSON of every kind and script survives the way there and back, null included."""
    function = await create(engine, client, folder, "values")
    for value in (None, True, 0, -1.5, "", 'é € 😀 \u2028 \\ " \n', [], {}, {"a": [1, {"b": {}}]}, "\x7f"):
        result = await function.invoke({"do": "echo", "value": value})
        assert result.function_error is None
        assert result.json() == value
    nothing = (await function.invoke({"do": "echo", "value": {"a": [None, {"b": None}]}})).json()
    assert nothing == {"a": [None, {} if FAMILIES[client.family].drops_null else {"b": None}]}


async def carries_six_megabytes_through(engine: Engine, client: Client, folder: Path) -> None:
    """A payload near the limit, both ways, twice: buffers are ready for the next message."""
    function = await create(engine, client, folder, "big")
    value = "0123456789" * 629_100
    for _ in range(2):
        result = await function.invoke({"do": "echo", "value": value})
        assert result.json() == value


async def tells_the_context(engine: Engine, client: Client, folder: Path) -> None:
    """Ids, names, sizes, time left and client context reach the handler."""
    function = await create(engine, client, folder, "context")
    result = await function.invoke({"do": "context"}, client_context='{"custom": {"k": "é"}}')
    told = result.json()
    remaining = told.pop("remaining")
    assert 0 < remaining <= 20_000
    stream = told.pop("logStream")
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", stream)
    assert told == {
        "requestId": result.request_id,
        "arn": "arn:aws:lambda:us-east-1:000000000000:function:context",
        "name": "context",
        "version": "$LATEST",
        "memory": str(client.memory_mb),
        "logGroup": "/aws/lambda/context",
        "client": {"k": "é"},
    }


async def logs_with_the_request_id(engine: Engine, client: Client, folder: Path) -> None:
    """A line of the language's logger has time, level and request id; a printed one is as it was printed."""
    function = await create(engine, client, folder, "logs")
    for _ in range(2):
        result = await function.invoke({"do": "log"}, tail=True)
        line = FAMILIES[client.family].log_line.replace("{id}", result.request_id)
        assert re.search(rf"^{line}$", result.log_tail, re.MULTILINE), result.log_tail
        assert "\na printed line\n" in result.log_tail


async def reports_an_exception_and_lives_on(engine: Engine, client: Client, folder: Path) -> None:
    """The error body is the language's own; the environment answers the next invocation."""
    family = FAMILIES[client.family]
    function = await create(engine, client, folder, "fails")
    result = await function.invoke({"do": "fail"}, tail=True)
    assert result.function_error == "Unhandled"
    body = result.json()
    family.check(body)
    assert {name: body[name] for name in family.error} == family.error
    assert body["errorMessage"] == "it failed é"
    assert body.get("requestId", result.request_id) == result.request_id
    if family.trace is not None:
        member, pattern = family.trace
        assert any(re.search(pattern, str(line)) for line in body[member]), body
    logged = family.logged.replace("{id}", result.request_id)
    assert re.search(logged, result.log_tail, re.MULTILINE), result.log_tail
    after = await function.invoke({"do": "count"})
    assert (after.json(), after.cold) == (2, False)


async def reports_a_result_that_json_cannot_hold(engine: Engine, client: Client, folder: Path) -> None:
    """The caller is told which, and the environment lives on."""
    function = await create(engine, client, folder, "unserialisable")
    result = await function.invoke({"do": "unserialisable"})
    assert result.function_error == "Unhandled"
    body = result.json()
    kind, message = FAMILIES[client.family].unserialisable
    assert body["errorType"] == kind
    assert re.search(message, body["errorMessage"]), body
    assert (await function.invoke({"do": "count"})).json() == 2


async def is_told_that_a_result_is_too_large(engine: Engine, client: Client, folder: Path) -> None:
    """The caller gets AWS's error for a result over 6 MB, whatever the runtime makes of the 413; then life goes on."""
    function = await create(engine, client, folder, "large")
    assert (await function.invoke({"do": "large", "size": 10})).json() == "x" * 10
    result = await function.invoke({"do": "large", "size": 6_291_556})
    assert result.function_error == "Unhandled"
    assert result.json()["errorType"] == "Function.ResponseSizeTooLarge"
    assert (await function.invoke({"do": "large", "size": 10})).json() == "x" * 10


async def ends_when_the_function_ends_it(engine: Engine, client: Client, folder: Path) -> None:
    """The handler exits the process: Runtime.ExitError with the status, and a new process for the next caller."""
    function = await create(engine, client, folder, "exits")
    result = await function.invoke({"do": "exit", "status": 3})
    assert result.function_error == "Unhandled"
    assert result.json() == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {result.request_id} Error: Runtime exited with error: exit status 3",
    }
    assert (await function.invoke({"do": "count"})).json() == 1  # memory does not survive


async def reports_a_failed_init(engine: Engine, client: Client, folder: Path) -> None:
    """Init's own error is what the caller reads, and the next caller again."""
    function = await create(engine, client, folder, "broken", client.broken or None, client.broken_handler)
    kind, message = FAMILIES[client.family].init
    for _ in range(2):
        result = await function.invoke({"do": "count"})
        assert result.function_error == "Unhandled"
        body = result.json()
        assert body["errorType"] == kind
        assert re.match(message, body["errorMessage"]), body
        if client.family == "python":
            assert (body["requestId"], body["stackTrace"]) == ("", [])


CONTRACT = (
    answers_cold_and_warm,
    carries_values_through,
    carries_six_megabytes_through,
    tells_the_context,
    logs_with_the_request_id,
    reports_an_exception_and_lives_on,
    reports_a_result_that_json_cannot_hold,
    is_told_that_a_result_is_too_large,
    ends_when_the_function_ends_it,
    reports_a_failed_init,
)

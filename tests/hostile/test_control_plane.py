"""The engine's own port, which functions reach where they share the host's network."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import Engine
from engine.errors import ResourceNotFoundException
from tests.hostile.kit import Attackers, Neighbour

pytest_plugins = ("tests.support.sandbox_fixtures",)

ASK = """
def ask(url, method, path, body=b"", wait=True):
    server = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    server.request(method, path, body)
    if not wait:  # gone before anybody can have looked
        server.sock.close()
        return None
    reply = server.getresponse()
    return [reply.status, reply.read().decode()]

def attack(event):
    url, folder = event
    root = "/2015-03-31/functions"
    live = json.dumps({"FunctionName": "reader", "Role": "arn:aws:iam::000000000000:role/r",
                       "Runtime": "provided.al2023", "Handler": "x",
                       "Code": {"S3Bucket": "hot-reload", "S3Key": folder}})
    return {
        "invoke": ask(url, "POST", root + "/neighbour/invocations", b"0"),
        "read a folder": ask(url, "POST", root, live),
        "replace": ask(url, "PUT", root + "/neighbour/code", json.dumps({"S3Bucket": "hot-reload", "S3Key": folder})),
        "read code": ask(url, "GET", root + "/neighbour"),
        "list": ask(url, "GET", root + "/"),
        "delete": ask(url, "DELETE", root + "/neighbour"),
        "delete and go": ask(url, "DELETE", root + "/neighbour", wait=False),
        "logs": ask(url, "GET", "/_lambent/logs/neighbour"),
        "environments": ask(url, "GET", "/_lambent/environments"),
        "dots": ask(url, "DELETE", root + "/x/invocations/../../neighbour"),
        "no name": ask(url, "POST", root + "//invocations"),
    }
"""


async def test_a_function_may_invoke_others_and_do_nothing_else_to_them(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, tmp_path: Path
) -> None:
    """Not even have the engine read a folder of the host for it, as hot reload does for whoever develops here."""
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "private" / "bootstrap").write_text("of the host")
    server = await engine.serve(port=0)
    try:
        seen = await attackers.run(ASK, [server.url, str(tmp_path / "private")])
    finally:
        await server.stop()
    assert seen.pop("invoke")[0] == 200
    assert seen.pop("delete and go") is None
    assert {what: answer[0] for what, answer in seen.items() if answer[0] != 403} == {}, seen
    assert "not authorized to perform" in seen["read code"][1]
    assert {engine.resolve(name).function.name for name in ("attacker", "neighbour")} == {"attacker", "neighbour"}
    with pytest.raises(ResourceNotFoundException):
        engine.resolve("reader")


@pytest.mark.parametrize(("mode", "network"), [("sandbox", "own")])
async def test_in_a_network_of_its_own_there_is_no_such_port(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    server = await engine.serve(port=0)
    try:
        word = await attackers.run(
            """
            def attack(port):
                return tried(socket.create_connection, ("127.0.0.1", port), 2)
            """,
            int(server.url.rsplit(":", 1)[1]),
        )
    finally:
        await server.stop()
    assert word == "ECONNREFUSED"

"""AWS_LAMBDA_EXEC_WRAPPER: a script of the function's starts the managed runtime."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
import uvloop

from engine import Engine
from tests.support.clients import OUR_NODE, OUR_PYTHON, OUR_RUBY, Client

#: From AWS's documentation: options of the interpreter go before its last argument.
WITH_OPTIONS = """\
    #!/bin/bash
    args=("$@")
    extra_args=("-X" "importtime")
    args=("${args[@]:0:$#-1}" "${extra_args[@]}" "${args[@]: -1}")
    exec "${args[@]}"
"""
SAYS = """\
    #!/bin/sh
    echo "wrapped: ${1##*/}"
    export SET_BY_WRAPPER=yes
    exec "$@"
"""


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture(params=["process", "auto"])
async def engine(request):
    async with Engine(isolation=request.param) as running:
        yield running


async def deploy(engine: Engine, client: Client, folder: Path, wrapper: str | None, *, mode: int = 0o755):
    code = client.folder(folder / "code")
    if wrapper is not None:
        (code / "wrapper").write_text(textwrap.dedent(wrapper))
        (code / "wrapper").chmod(mode)
    return await engine.create_function(
        "wrapped", code=code, runtime=client.runtime, handler=client.handler, timeout_s=20,
        environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"},
    )  # fmt: skip


@pytest.mark.parametrize("client", [OUR_PYTHON, OUR_NODE, OUR_RUBY], ids=lambda client: client.name)
async def test_the_wrapper_starts_the_runtime(engine, client, tmp_path):
    function = await deploy(engine, client, tmp_path, SAYS)
    assert [(await function.invoke({"do": "count"})).json() for _ in range(2)] == [1, 2]
    lines = [record.message for record in engine.log("wrapped").records() if record.message.startswith("wrapped: ")]
    assert len(lines) == 1


async def test_options_can_be_put_before_the_last_argument_as_aws_documents(engine, tmp_path):
    function = await deploy(engine, OUR_PYTHON, tmp_path, WITH_OPTIONS)
    assert (await function.invoke({"do": "count"})).json() == 1
    assert any("import time:" in record.message for record in engine.log("wrapped").records())


@pytest.mark.parametrize(
    ("wrapper", "mode", "says", "status"),
    [(None, 0, "does not exist", 127), (SAYS, 0o644, "is not an executable", 126)],
    ids=["missing", "not-executable"],
)
async def test_a_wrapper_that_cannot_run_is_told_as_on_lambda(engine, tmp_path, wrapper, mode, says, status):
    function = await deploy(engine, OUR_PYTHON, tmp_path, wrapper, mode=mode)
    result = await function.invoke({"do": "count"}, tail=True)
    assert result.json() == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {result.request_id} Error: Runtime exited with error: exit status {status}",
    }
    assert f"/wrapper: {says}\n" in result.log_tail


async def test_provided_runtimes_have_no_wrapper(engine, tmp_path):
    code = tmp_path / "code"
    code.mkdir()
    (code / "bootstrap").write_text("#!/bin/sh\necho started\nexit 7\n")
    (code / "bootstrap").chmod(0o755)
    function = await engine.create_function(
        "own", code=code, timeout_s=20, environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrapper"}
    )
    result = await function.invoke(tail=True)
    assert "exit status 7" in result.json()["errorMessage"]
    assert "started\n" in result.log_tail

"""``lambent invoke``: one invocation on a server."""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import click

from engine.cli import payload
from engine.cli.console import CommandError, clean, emit, emit_json
from engine.cli.options import common, setting
from engine.settings import load


@click.command("invoke", epilog='\b\nExample:\n  lambent invoke hello \'{"name": "Ada"}\' --log-type Tail')
@click.argument("name")
@click.argument("event", metavar="[PAYLOAD|-|@FILE]", required=False)
@click.option("--event", "event_option", metavar="FILE|-|JSON", help="The event, as in 'lambent run'.  [default: {}]")
@click.option(
    "--log-type",
    type=click.Choice(["None", "Tail"]),
    default="None",
    show_default=True,
    help="Tail shows the end of the log on stderr.",
)
@click.option("--qualifier", metavar="VERSION|ALIAS", help="Version or alias.  [default: $LATEST]")
@click.option("--client-context", metavar="JSON", help="JSON object for the function's context.")
@click.option(
    "--invocation-type",
    type=click.Choice(["RequestResponse", "Event", "DryRun"]),
    default="RequestResponse",
    show_default=True,
    help="DryRun checks only.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object about the invocation instead of the payload."
)
@setting("endpoint_url")
@common
def command(
    *,
    name: str,
    event: str | None,
    event_option: str | None,
    log_type: str,
    qualifier: str | None,
    client_context: str | None,
    invocation_type: str,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> int:
    """Invoke a function on a server: its answer on stdout, exit code 1 when it failed."""
    from engine.cli.http import Client, function_path

    settings = load(flags, config=config)
    if event is not None and event_option is not None:
        raise click.UsageError("the event is given twice: as an argument and with --event.")
    body = payload.read(event if event is not None else event_option)
    headers = {"X-Amz-Log-Type": log_type, "X-Amz-Invocation-Type": invocation_type}
    if client_context is not None:
        headers["X-Amz-Client-Context"] = _context(client_context)
    answer = Client(settings.endpoint_url).request(
        f"invoke function '{name}'",
        "POST",
        function_path(name, "/invocations"),
        body=body,
        headers=headers,
        query={"Qualifier": qualifier} if qualifier else None,
    )
    log = base64.b64decode(answer.headers.get("x-amz-log-result", "")).decode("utf-8", "replace")
    failed = answer.headers.get("x-amz-function-error")
    if as_json:
        emit_json(
            {
                "request_id": answer.headers.get("x-amzn-requestid"),
                "status": answer.status,
                "payload": _decoded(answer.body),
                "function_error": failed,
                "executed_version": answer.headers.get("x-amz-executed-version"),
                "log": log or None,
            }
        )
    else:
        for line in log.splitlines():
            sys.stderr.write(clean(line, sys.stderr) + "\n")
        sys.stderr.flush()
        if answer.body or invocation_type == "RequestResponse":
            emit(answer.body)
    return 1 if failed else 0


def _context(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        raise CommandError(
            f"the client context is not JSON: {error}. Such as --client-context '{{\"custom\": {{}}}}'."
        ) from None
    return base64.b64encode(text.encode()).decode()


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return body.decode("utf-8", "replace")

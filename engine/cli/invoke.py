"""``lambent invoke``: one invocation on a server."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from engine.cli import payload
from engine.cli.console import CommandError, clean, emit, emit_json
from engine.cli.options import common, setting
from engine.settings import load

if TYPE_CHECKING:
    from engine.cli.http import Client


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
@click.option("--stream", is_flag=True, help="Print the answer as it is written, byte for byte.")
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
    stream: bool,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> int:
    """Invoke a function on a server: its answer on stdout, exit code 1 when it failed."""
    from engine.cli.http import Client, function_path

    if stream and as_json:
        raise click.UsageError("--stream prints the answer as it comes, --json when it is complete: use one of them.")
    settings = load(flags, config=config)
    if event is not None and event_option is not None:
        raise click.UsageError("the event is given twice: as an argument and with --event.")
    body = payload.read(event if event is not None else event_option)
    headers = {"X-Amz-Log-Type": log_type, "X-Amz-Invocation-Type": invocation_type}
    if client_context is not None:
        headers["X-Amz-Client-Context"] = _context(client_context)
    if stream:
        return _stream(Client(settings.endpoint_url), name, body, headers, qualifier)
    answer = Client(settings.endpoint_url).request(
        f"invoke function '{name}'",
        "POST",
        function_path(name, "/invocations"),
        body=body,
        headers=headers,
        query={"Qualifier": qualifier} if qualifier else None,
    )
    log = _log(answer.headers.get("x-amz-log-result", ""))
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
        _show_log(log)
        if answer.body or invocation_type == "RequestResponse":
            emit(answer.body)
    return 1 if failed else 0


def _stream(client: Client, name: str, body: bytes, headers: dict[str, str], qualifier: str | None) -> int:
    """Pieces on stdout as they come; the log, or the error, on stderr at the end."""
    from engine.cli.http import stream_path

    query = {"Qualifier": qualifier} if qualifier else None
    out = sys.stdout.buffer
    for frame in client.events(f"invoke function '{name}'", stream_path(name), body=body, headers=headers, query=query):
        if frame.headers.get(":event-type") == "PayloadChunk":
            out.write(frame.payload)
            out.flush()
            continue
        complete = json.loads(frame.payload)
        _show_log(_log(complete.get("LogResult", "")))
        if "ErrorCode" in complete:
            raise CommandError(f"function '{name}' failed: {complete.get('ErrorDetails') or complete['ErrorCode']}")
    return 0


def _log(encoded: str) -> str:
    return base64.b64decode(encoded).decode("utf-8", "replace")


def _show_log(log: str) -> None:
    for line in log.splitlines():
        sys.stderr.write(clean(line, sys.stderr) + "\n")
    sys.stderr.flush()


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

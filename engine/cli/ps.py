"""``lambent ps``: the environments of a server."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.console import emit_json, note, table
from engine.cli.options import common, setting
from engine.settings import load

MIB = 1024 * 1024


@click.command("ps", epilog="\b\nExample:\n  lambent ps --json")
@click.argument("function", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
@setting("endpoint_url")
@common
def command(function: str | None, as_json: bool, config: str | None, **flags: Any) -> None:
    """List a server's execution environments, or those of one FUNCTION."""
    from engine.cli.http import Client

    client = Client(load(flags, config=config).endpoint_url)
    found = client.request("list environments", "GET", "/_lambent/environments").json()["environments"]
    environments = [one for one in found if function is None or one["function"] == function]
    if as_json:
        emit_json(environments)
        return
    if not environments:
        note("no environments: each function gets one at its first invocation, and loses it after a while of idleness")
        return
    environments.sort(key=lambda one: (one["function"], one["age_s"]))
    table(
        ["ENVIRONMENT", "FUNCTION", "RUNTIME", "PHASE", "START", "PID", "MEMORY", "AGE", "IDLE", "SERVED", "NOW RUNS"],
        [
            [
                one["id"],
                one["function"] if one["version"] == "$LATEST" else f"{one['function']}:{one['version']}",
                one["runtime"] or "-",
                one["phase"].lower(),
                one["start"] or "-",
                str(one["pid"] or "-"),
                f"{_mib(one['max_memory_bytes'])} of {one['memory_mb']} MB",
                span(one["age_s"]),
                span(one["idle_s"]) if one["idle_s"] else "-",
                str(one["invocations"]),
                one["request_id"] or "-",
            ]
            for one in environments
        ],
        right={"PID", "MEMORY", "AGE", "IDLE", "SERVED"},
    )
    for one in environments:
        if one["trouble"]:
            note(f"{one['id']} could not be ended, and is tried again: {one['trouble']}")


def _mib(size: int | None) -> str:
    return "?" if size is None else str(-(-size // MIB))


def span(seconds: float) -> str:
    """A length of time for a person: ``8s``, ``4m10s``, ``3h02m``, ``2d05h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"

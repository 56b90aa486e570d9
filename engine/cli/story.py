"""``lambent story``: what happened to one invocation."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

import click

from engine.cli.console import clean, emit_json, paint, table
from engine.cli.options import common, setting
from engine.settings import load


@click.command("story", epilog="\b\nExample:\n  lambent story 6f1c2b0e-5f0d-4c3a-9a53-0d8f4f1f7f9c")
@click.argument("request_id")
@click.option("--json", "as_json", is_flag=True, help="Print the story as JSON.")
@setting("endpoint_url")
@common
def command(request_id: str, as_json: bool, config: str | None, **flags: Any) -> None:
    """Tell what happened to one invocation, step by step.

    REQUEST_ID is in the log, and in the x-amzn-RequestId header of the answer. The newest few thousand invocations are
    remembered.
    """
    from engine.cli.http import Client

    client = Client(load(flags, config=config).endpoint_url)
    path = f"/_lambent/story/{quote(request_id, safe='')}"
    story = client.request(f"tell the story of {request_id}", "GET", path).json()
    if as_json:
        emit_json(story)
        return
    out = sys.stdout
    status = story["status"] + (f" ({story['error_type']})" if story["error_type"] else "")
    colour = "32" if story["status"] == "success" else "33" if story["status"] == "in flight" else "31"
    out.write(
        f"{paint('1', clean(story['function'], out), out)}  {paint(colour, status, out)}  {story['request_id']}\n"
    )
    start = "warm" if story["init_ms"] is None else f"cold, Init {story['init_ms']:.3f} ms"
    where = story["environment"] or "none"
    gone = "" if story["environment_alive"] or not story["environment"] else ", which is gone and its steps with it"
    out.write(f"{start}; environment {where}{gone}\n\n")
    rows, before = [], None
    for step in story["timeline"]:
        gap = "" if before is None else f"+{step['ms'] - before:.3f}"
        before = step["ms"]
        rows.append([f"{step['ms']:.3f}", gap, step["source"], step["event"]])
    out.flush()
    table(["MS", "STEP", "OF", "WHAT"], rows, right={"MS", "STEP"})

"""``lambent deploy``: a function onto a server, over AWS's own API shapes."""

from __future__ import annotations

import base64
import sys
import time
from typing import Any

import click

from engine.cli import package
from engine.cli.console import CommandError, emit_json, note
from engine.cli.guess import Guess
from engine.cli.http import FUNCTIONS, Client, RefusedError, function_path
from engine.cli.options import common, layer_option, setting, variables
from engine.settings import load

SETTLE_LIMIT_S = 60.0
PREPARE_LIMIT_S = 930.0
"""For a version: with SnapStart it is Pending until its Init is over, which may take 15 minutes."""
HOT_RELOAD_BUCKET = "hot-reload"
"""The name by which LocalStack, and so every tool that knows it, asks for a live folder."""


@click.command(
    "deploy",
    epilog="\b\nExample:\n  lambent deploy functions/hello --name hello --memory 256 --env STAGE=dev\n"
    "  lambent deploy functions/hello --watch",
)
@click.argument("path")
@click.option("--name", metavar="NAME", help="The function's name.  [default: the folder's or file's]")
@click.option("--handler", metavar="NAME", help="Handler, such as app.handler.  [default: guessed from the files]")
@click.option("--runtime", metavar="ID", help="Runtime, such as python3.12.  [default: guessed from the files]")
@click.option("--memory", type=int, metavar="MB", help="Memory size in MB.  [default: 128, or as it is]")
@click.option("--timeout", type=int, metavar="SECONDS", help="Time limit of one invocation.  [default: 3, or as it is]")
@click.option(
    "--max-concurrency",
    type=int,
    metavar="N",
    help="Make it a function whose environments take up to N invocations at a time.  [default: one, or as it is]",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the function; may be repeated. Replaces all that were set.",
)
@layer_option("FOLDER|ZIP|ARN", " Replaces all that were set.")
@click.option("--description", metavar="TEXT", help="What it is for.")
@click.option("--role", metavar="ARN", help="Execution role.  [default: a placeholder: nothing checks it]")
@click.option("--watch", is_flag=True, help="Run from the folder itself: a saved file is live on the next invocation.")
@click.option(
    "--publish",
    "publish_version",
    is_flag=True,
    help="Publish a version of it, unless nothing has changed since the last one.",
)
@click.option(
    "--snapstart",
    is_flag=True,
    help="SnapStart for published versions: initialised when published. Publishes one, as --publish does.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the function's configuration as JSON instead of its ARN.")
@setting("endpoint_url")
@common
def command(
    *,
    path: str,
    name: str | None,
    handler: str | None,
    runtime: str | None,
    memory: int | None,
    timeout: int | None,
    max_concurrency: int | None,
    env: tuple[str, ...],
    layers: tuple[str, ...],
    description: str | None,
    role: str | None,
    watch: bool,
    publish_version: bool,
    snapstart: bool,
    as_json: bool,
    config: str | None,
    **flags: Any,
) -> None:
    """Create a function on a server, or update it, and wait until it can be invoked.

    PATH is a folder, a zip, a source file or a bootstrap executable. What is not given stays as it is on a function
    that is already there. Prints the function's ARN, with --publish the version's.
    """
    settings = load(flags, config=config)
    source = package.find(path)
    if watch and source.folder is None:
        raise CommandError(f"--watch runs a function from a folder, and {path} is none. Name the folder that it is in.")
    name = name or source.name
    wanted: dict[str, Any] = {
        "Runtime": runtime,
        "Handler": handler,
        "MemorySize": memory,
        "Timeout": timeout,
        "Description": description,
        "Role": role,
        "Environment": {"Variables": variables(env)} if env else None,
        "SnapStart": {"ApplyOn": "PublishedVersions"} if snapstart else None,
        "CapacityProviderConfig": _concurrently(max_concurrency),
    }
    client = Client(settings.endpoint_url)
    deployment = _Deployment(client, name, source, watch=watch)
    began = time.monotonic()
    existing = deployment.existing()
    if layers:
        from engine.cli.layers import publish

        wanted["Layers"] = publish(client, layers)
    done = deployment.create(wanted) if existing is None else deployment.update(existing, wanted)
    if publish_version or snapstart:
        done = deployment.publish()
    took = time.monotonic() - began
    what = "created" if existing is None else "updated"
    how = f"live from {source.folder}" if watch else f"{done.get('CodeSize', 0)} bytes"
    what = f"published version {done['Version']} of" if publish_version or snapstart else what
    note(f"{what} {name} ({done.get('Runtime')}, handler {done.get('Handler')}, {how}) in {took:.2f} s")
    if as_json:
        emit_json(done)
    else:
        sys.stdout.write(done["FunctionArn"] + "\n")


class _Deployment:
    """One function on one server."""

    def __init__(self, client: Client, name: str, source: package.Source, *, watch: bool) -> None:
        self._client = client
        self._name = name
        self._source = source
        self._watch = watch

    def existing(self) -> dict[str, Any] | None:
        """Its configuration, None when it is not there."""
        try:
            return self._get(f"look for function '{self._name}'")
        except RefusedError as refused:
            if refused.code == "ResourceNotFoundException":
                return None
            raise

    def create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """CreateFunction."""
        guess = self._source.guess(wanted["Runtime"], wanted["Handler"])
        _tell(guess)
        body = {key: value for key, value in wanted.items() if value is not None}
        body |= {"FunctionName": self._name, "Code": self._code(), "Runtime": guess.runtime, "Handler": guess.handler}
        body.setdefault("Role", "arn:aws:iam::000000000000:role/lambent")
        self._client.request(f"create function '{self._name}'", "POST", FUNCTIONS, body=body)
        return self._settled()

    def update(self, existing: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
        """UpdateFunctionConfiguration for what differs, then UpdateFunctionCode."""
        if wanted["Runtime"] is None and wanted["Handler"] is None:
            wanted |= self._other_language(existing)
        snap_start = {"ApplyOn": existing.get("SnapStart", {}).get("ApplyOn")}
        have = {**existing, "SnapStart": snap_start, "Layers": [layer["Arn"] for layer in existing.get("Layers", ())]}
        changes = {key: value for key, value in wanted.items() if value is not None and have.get(key) != value}
        what = f"update function '{self._name}'"
        if changes:
            self._settled()
            path = function_path(self._name, "/configuration")
            self._client.request(what, "PUT", path, body=changes)
        self._settled()
        self._client.request(what, "PUT", function_path(self._name, "/code"), body=self._code())
        return self._settled()

    def publish(self) -> dict[str, Any]:
        """PublishVersion; the version's configuration once it can be invoked."""
        what = f"publish a version of function '{self._name}'"
        version = self._client.request(what, "POST", function_path(self._name, "/versions"), body={}).json()
        return self._settled(str(version["Version"]))

    def _other_language(self, existing: dict[str, Any]) -> dict[str, str]:
        """Runtime and handler anew when the code is now in another language; else what is set stays."""
        try:
            guess = self._source.guess(None, None)
        except CommandError:
            return {}
        if _family(guess.runtime) == _family(existing.get("Runtime") or ""):
            return {}
        _tell(guess)
        return {"Runtime": guess.runtime, "Handler": guess.handler}

    def _code(self) -> dict[str, str]:
        if self._watch:
            return {"S3Bucket": HOT_RELOAD_BUCKET, "S3Key": str(self._source.folder)}
        return {"ZipFile": base64.b64encode(self._source.package()).decode()}

    def _get(self, what: str, version: str | None = None) -> dict[str, Any]:
        query = None if version is None else {"Qualifier": version}
        path = function_path(self._name, "/configuration")
        configuration = self._client.request(what, "GET", path, query=query).json()
        assert isinstance(configuration, dict)
        return configuration

    def _settled(self, version: str | None = None) -> dict[str, Any]:
        """Wait until it is Active and no update is in progress."""
        limit_s = SETTLE_LIMIT_S if version is None else PREPARE_LIMIT_S
        deadline = time.monotonic() + limit_s
        pause = 0.005
        while True:
            now = self._get(f"wait for function '{self._name}'", version)
            state, update = now.get("State"), now.get("LastUpdateStatus")
            if state == "Failed" or update == "Failed":
                reason = now.get("StateReason") or now.get("LastUpdateStatusReason") or "no reason was given"
                raise CommandError(f"function '{self._name}' could not be made ready on {self._client.url}: {reason}.")
            if state != "Pending" and update != "InProgress":
                return now
            if time.monotonic() > deadline:
                raise CommandError(
                    f"function '{self._name}' is still {state}, its update {update}, after {limit_s:g} s. "
                    f"See the output of the server at {self._client.url}."
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.5)


def _concurrently(many: int | None) -> dict[str, Any] | None:
    """AWS's way of saying it; the capacity provider is a placeholder: nothing looks it up."""
    if many is None:
        return None
    config = {
        "CapacityProviderArn": "arn:aws:lambda:us-east-1:000000000000:capacity-provider:lambent",
        "PerExecutionEnvironmentMaxConcurrency": many,
    }
    return {"LambdaManagedInstancesCapacityProviderConfig": config}


def _family(runtime: str) -> str:
    return runtime.rstrip("0123456789.x") if not runtime.startswith("provided") else "provided"


def _tell(guess: Guess) -> None:
    if guess.why != "as given":
        note(f"{guess.runtime}, handler {guess.handler} ({guess.why})")

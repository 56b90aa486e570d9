"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine import settings
from engine.cli.console import Report

F = TypeVar("F", bound=Callable[..., Any])

_HELP = {
    "host": "Address to listen on.",
    "port": "Port to listen on; 0 takes a free one.",
    "data_dir": "Where functions and their code are kept.",
    "isolation": "How functions are held; auto takes the strongest that this host permits.",
    "network": "What functions in sandboxes reach: all that the host reaches, or only their own loopback.",
    "memory_budget": "Sum of the memory sizes of all environments at one time, in MB.",
    "keep_alive": "Seconds that an idle environment is kept.",
    "wait_limit": "Seconds that an invocation waits for room on a full host before it is throttled.",
    "init_timeout": "Seconds that a function may take to initialise.",
    "freeze_after": "Milliseconds after which an idle environment's processes are stopped until it is used; 0: never.",
    "account_concurrency": "Invocations at one time, over all functions.",
    "log_limit": "MiB of logs that are kept for each log group.",
    "account_id": "Account in ARNs: twelve digits.",
    "region": "Region in ARNs and in AWS_REGION.",
    "drain": "Seconds that a stopping server waits for running invocations.",
    "endpoint_url": "Address of the server.",
}
_METAVARS = {
    "host": "ADDRESS", "port": "PORT", "data_dir": "DIR", "isolation": "auto|sandbox|process",
    "network": "host|own", "memory_budget": "MB",
    "keep_alive": "SECONDS", "wait_limit": "SECONDS", "init_timeout": "SECONDS", "freeze_after": "MS",
    "account_concurrency": "N", "log_limit": "MIB", "account_id": "ID", "region": "REGION",
    "drain": "SECONDS", "endpoint_url": "URL",
}  # fmt: skip
_TYPES: dict[str, click.ParamType[Any]] = {
    "isolation": click.Choice(["auto", "sandbox", "process"]),
    "network": click.Choice(["host", "own"]),
    "port": click.INT,
    "memory_budget": click.INT,
    "account_concurrency": click.INT,
    "log_limit": click.INT,
    "keep_alive": click.FLOAT,
    "wait_limit": click.FLOAT,
    "init_timeout": click.FLOAT,
    "freeze_after": click.FLOAT,
    "drain": click.FLOAT,
}


def setting(*names: str) -> Callable[[F], F]:
    """Options for settings, by the names of `engine.settings.NAMES`.

    The value is None when the flag is not given: `load` then looks at the environment and the file.
    """

    def decorate(function: F) -> F:
        for name in reversed(names):
            value = settings.default(name)
            shown = (
                "a share of the machine's memory"
                if value is None
                else f"{value:g}"
                if isinstance(value, float)
                else value
            )
            function = click.option(
                settings.flag(name),
                name,
                type=_TYPES.get(name, click.STRING),
                metavar=_METAVARS[name],
                help=f"{_HELP[name]}  [default: {shown}; {settings.variable(name)}]",
            )(function)
        return function

    return decorate


def common(function: F) -> F:
    """--config and --debug, on every command."""
    function = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_debug,
        help="Show the traceback of an error.",
    )(function)
    return click.option(
        "--config",
        metavar="FILE",
        type=click.Path(dir_okay=False),
        help=f"Settings file.  [default: {settings.FILE} when it is there; LAMBENT_CONFIG]",
    )(function)


def _debug(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    report = ctx.find_root().obj
    if value and isinstance(report, Report):
        report.debug = True


def layer_option(metavar: str, also: str = "") -> Callable[[F], F]:
    """--layer, repeatable; `also` is the end of its help."""
    return click.option(
        "--layer",
        "layers",
        multiple=True,
        metavar=metavar,
        help=f"A layer, merged into /opt; may be repeated, later ones cover earlier ones.{also}",
    )


def variables(pairs: tuple[str, ...]) -> dict[str, str]:
    """--env K=V …; ``--env K`` takes K's value from the caller's environment.

    Raises:
        click.UsageError: for a pair that is none.
    """
    import os

    out = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            if key not in os.environ:
                raise click.UsageError(f"--env {pair}: write NAME=VALUE, or NAME of a variable that is set here.")
            value = os.environ[key]
        if not key:
            raise click.UsageError(f"--env {pair}: the name before '=' is missing.")
        out[key] = value
    return out

"""Settings: flags, then ``LAMBENT_*`` environment variables, then ``lambent.toml``, then the defaults.

One frozen Struct; each field's type carries its range, so that a value is checked the same way wherever it came from,
and an error names the source: the flag, the variable, or the file and key. In the file a key may be written with
underscores or dashes::

    # lambent.toml
    port = 9100
    keep-alive = 60

A setting's name in the file and on the command line leaves the unit out (``keep_alive``, ``--keep-alive``); its unit
is in its help text and in the Struct's field name.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from engine.errors import ConfigurationError

FILE = "lambent.toml"
"""Read from the working directory when neither ``--config`` nor ``LAMBENT_CONFIG`` names another."""

PREFIX = "LAMBENT_"
Isolation = Literal["auto", "sandbox", "process"]
Network = Literal["host", "own"]


class Settings(Struct, frozen=True, kw_only=True):
    """What a person can set.

    Attributes:
        host: address that `serve` listens on.
        port: port that `serve` listens on; 0 takes a free one.
        data_dir: where functions and their code are kept; relative to the working directory.
        isolation: how functions are held; ``auto`` takes the strongest that the host permits.
        network: in sandbox mode, what an environment's processes reach: what the host reaches, or nothing but their own
            loopback.
        memory_mb: sum of the memory sizes of all environments at one time, in MB; None takes a share of the machine's.
        keep_alive_s: seconds that an idle environment is kept.
        wait_limit_s: seconds that an invocation waits for room on a full host before it is throttled.
        init_timeout_s: seconds that Init may take.
        freeze_after_ms: milliseconds after which an idle environment's processes are stopped, until its next
            invocation; 0 for never.
        account_concurrency: invocations at one time, over all functions.
        log_limit_mb: MiB of logs that are kept for each log group.
        account_id: the 12-digit account in ARNs.
        region: the region in ARNs and in AWS_REGION.
        drain_s: seconds that a stopping server waits for invocations that run.
        endpoint_url: the server that deploy, invoke, ps, logs and story talk to.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 9000
    data_dir: Annotated[str, Meta(min_length=1)] = ".lambent"
    isolation: Isolation = "auto"
    network: Network = "host"
    memory_mb: Annotated[int, Meta(ge=128)] | None = None
    keep_alive_s: Annotated[float, Meta(ge=0)] = 600.0
    wait_limit_s: Annotated[float, Meta(ge=0)] = 2.0
    init_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    freeze_after_ms: Annotated[float, Meta(ge=0)] = 50.0
    account_concurrency: Annotated[int, Meta(ge=1)] = 1000
    log_limit_mb: Annotated[int, Meta(ge=1)] = 64
    account_id: Annotated[str, Meta(pattern="^[0-9]{12}$")] = "000000000000"
    region: Annotated[str, Meta(pattern="^[a-z]{2}(-[a-z]+)+-[0-9]+$")] = "us-east-1"
    drain_s: Annotated[float, Meta(ge=0)] = 30.0
    endpoint_url: Annotated[str, Meta(pattern="^https?://[^/]+/?$")] = "http://127.0.0.1:9000"


NAMES: dict[str, str] = {
    "host": "host",
    "port": "port",
    "data_dir": "data_dir",
    "isolation": "isolation",
    "network": "network",
    "memory_budget": "memory_mb",
    "keep_alive": "keep_alive_s",
    "wait_limit": "wait_limit_s",
    "init_timeout": "init_timeout_s",
    "freeze_after": "freeze_after_ms",
    "account_concurrency": "account_concurrency",
    "log_limit": "log_limit_mb",
    "account_id": "account_id",
    "region": "region",
    "drain": "drain_s",
    "endpoint_url": "endpoint_url",
}
"""The name a person writes -> the field. ``--keep-alive``, ``LAMBENT_KEEP_ALIVE``, ``keep_alive`` in the file."""

_EXAMPLES = {
    "isolation": "one of auto, sandbox, process",
    "network": "one of host, own",
    "port": "a number from 0 to 65535",
    "account_id": "twelve digits",
    "region": "a region such as eu-central-1",
    "memory_budget": "a whole number of MB, at least 128",
    "account_concurrency": "a whole number, at least 1",
    "endpoint_url": "an address such as http://127.0.0.1:9000, without a path",
    "log_limit": "a whole number of MiB, at least 1",
    "init_timeout": "a number of seconds above 0",
    "freeze_after": "a number of milliseconds, or 0 for never",
}


def default(name: str) -> Any:
    """The default of a setting, by the name a person writes."""
    return getattr(Settings(), NAMES[name])


def variable(name: str) -> str:
    """The environment variable of a setting: ``LAMBENT_KEEP_ALIVE``."""
    return PREFIX + name.upper()


def flag(name: str) -> str:
    """The command-line flag of a setting: ``--keep-alive``."""
    return "--" + name.replace("_", "-")


def load(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings in force.

    Args:
        flags: values from the command line by name; None means "not given".
        environ: the environment; the process's own when None.
        config: path of the file. When None: ``LAMBENT_CONFIG``, else ``lambent.toml`` in the working directory if it
            is there.

    Raises:
        ConfigurationError: naming the setting, the value, where it came from and what is allowed.
    """
    environ = os.environ if environ is None else environ
    values = _read_file(config, environ)  # name -> value, source; the strongest source is written last
    for key, text in environ.items():
        if not key.startswith(PREFIX) or text == "":
            continue
        name = key[len(PREFIX) :].lower()
        if name in NAMES:
            values[name] = (text, f"the environment variable {key}")
        elif difflib.get_close_matches(name, NAMES, n=1, cutoff=0.7):  # others may use the prefix; a slip is told
            raise ConfigurationError(
                f"the environment variable {key} is not a setting of Lambent.{_meant(name, variable)}"
            )
    for name, value in (flags or {}).items():
        if value is not None:
            values[name] = (value, flag(name))

    types = {field.name: field.type for field in msgspec.structs.fields(Settings)}
    fields: dict[str, Any] = {}
    for name, (value, source) in values.items():
        field = NAMES[name]
        try:
            fields[field] = _convert(value, types[field])
        except msgspec.ValidationError as error:
            allowed = _EXAMPLES.get(name, f"{error}")
            raise ConfigurationError(
                f"{source} has the value {value!r}, which cannot be used: it must be {allowed}."
            ) from None
    return Settings(**fields)


def _convert(value: Any, kind: Any) -> Any:
    # Text from the environment may stand for a number; a boolean in a file must not pass as one.
    if isinstance(value, bool):
        raise msgspec.ValidationError("a boolean is not expected here")
    return msgspec.convert(value, kind, strict=not isinstance(value, str))


def _read_file(config: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    named = config if config is not None else environ.get("LAMBENT_CONFIG") or None
    path = Path(named) if named is not None else Path(FILE)
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except FileNotFoundError:
        if named is None:
            return {}
        raise ConfigurationError(
            f"the settings file {path} is not there. Check the path given by --config or LAMBENT_CONFIG."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"the settings file {path} could not be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the settings file {path} is not valid TOML: {error}.") from error
    out = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in NAMES:
            raise ConfigurationError(
                f"{path} has the key {key!r}, which is not a setting of Lambent.{_meant(name, str)}"
            )
        out[name] = (value, f"{path}, key {key!r},")
    return out


def _meant(name: str, spell: Any) -> str:
    close = difflib.get_close_matches(name, NAMES, n=1)
    return f" Did you mean {spell(close[0])}?" if close else f" Known: {', '.join(spell(one) for one in NAMES)}."

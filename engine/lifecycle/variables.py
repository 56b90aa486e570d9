"""The environment variables that a runtime's process starts with (facts §5.1).

Nothing is inherited from the engine. The user's variables come first; the reserved ones overwrite them, so that no
configuration, however it got in, can redirect a runtime to another Runtime API. The defaults (LANG, PATH, …) may be
overridden by the user, as on Lambda.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from engine.model import managed
from engine.model.function import FunctionVersion
from engine.model.initialization import InitializationType
from engine.sandbox.api import SandboxPaths
from engine.sandbox.spawner.wire import LOG_FD
from runtime_api import CREDENTIALS_PATH

#: Keys that CreateFunction refuses in Environment.Variables (AWS: "Using Lambda environment variables").
RESERVED: Final = frozenset({
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION",
    "AWS_LAMBDA_INITIALIZATION_TYPE", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_LAMBDA_MAX_CONCURRENCY", "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
})  # fmt: skip

INIT_TRACE_ID: Final = "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0"


class Identity(Struct, frozen=True, kw_only=True):
    """What is the same for every function of an engine: region, account and the credentials functions are given.

    The credentials are placeholders unless the embedder sets real ones: AWS SDKs refuse to start without any, and the
    engine's own must never leak into a function.
    """

    region: str = "us-east-1"
    account_id: str = "000000000000"
    access_key_id: str = "lambent"
    secret_access_key: str = "lambent"  # noqa: S105 - a placeholder, see above
    session_token: str = "lambent"  # noqa: S105


def variables(
    function: FunctionVersion,
    identity: Identity,
    paths: SandboxPaths,
    runtime_api: str,
    log_stream: str,
    initialization: InitializationType = "on-demand",
    token: str | None = None,
) -> dict[str, str]:
    """The whole environment of the runtime's process.

    Args:
        function: whose runtime it is.
        identity: region and credentials.
        paths: where the process sees its code, its layers, its runtime and /tmp.
        runtime_api: ``host:port`` of this environment's Runtime API.
        log_stream: this environment's log stream.
        initialization: how it comes to be initialised.
        token: for the credentials endpoint of its Runtime API (SnapStart). None: it has the credentials themselves.
    """
    task, runtime_dir, opt = paths.task_root, paths.runtime_dir, paths.opt
    runtime = function.runtime or ""
    out = {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PATH": f"/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:{opt}/bin",
        "LD_LIBRARY_PATH": (
            f"/var/lang/lib:/lib64:/usr/lib64:{runtime_dir}:{runtime_dir}/lib:{task}:{task}/lib:{opt}/lib"
        ),
        "PWD": task,
        "SHLVL": "0",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
    }
    if paths.tmp != "/tmp":  # noqa: S108 - the sandbox's own /tmp, compared, not used
        out["TMPDIR"] = paths.tmp
    if runtime.startswith("python"):
        out["PYTHONPATH"] = runtime_dir
    elif runtime.startswith("nodejs"):
        out["NODE_PATH"] = (
            f"{opt}/nodejs/node{runtime[6:].partition('.')[0]}/node_modules:{opt}/nodejs/node_modules:"
            f"{runtime_dir}/node_modules:{runtime_dir}:{task}"
        )
    elif runtime.startswith("ruby"):
        api = f"{runtime[4:]}.0"
        out["GEM_PATH"] = f"{task}/vendor/bundle/ruby/{api}:{opt}/ruby/gems/{api}"
        out["RUBYLIB"] = f"{task}:{runtime_dir}/lib:{opt}/ruby/lib"
    out.update(function.environment)
    out.pop("LAMBENT_OPT", None)  # tells our bootstraps where layers are that are not at /opt
    if opt != "/opt":
        out["LAMBENT_OPT"] = opt
    out.update(
        {
            "_HANDLER": function.handler,
            "_X_AMZN_TRACE_ID": INIT_TRACE_ID,
            **_credentials(identity, runtime_api, token),
            "AWS_REGION": identity.region,
            "AWS_DEFAULT_REGION": identity.region,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group or f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
            "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "LAMBDA_TASK_ROOT": task,
            "LAMBDA_RUNTIME_DIR": runtime_dir,
        }
    )
    # Absent for provided.*, and never the user's: an official client picks its polling mode by it.
    out.pop("AWS_EXECUTION_ENV", None)
    if runtime and not runtime.startswith("provided"):
        out["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime}"
    for key in ("AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_LAMBDA_MAX_CONCURRENCY", "_LAMBDA_TELEMETRY_LOG_FD"):
        out.pop(key, None)
    concurrency = managed.concurrency(function)
    if concurrency is not None:
        out["AWS_LAMBDA_MAX_CONCURRENCY"] = str(concurrency)
    else:  # clients that work in several processes would each close it
        out["_LAMBDA_TELEMETRY_LOG_FD"] = str(LOG_FD)
    if function.log_format == "JSON":
        out["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        out["AWS_LAMBDA_LOG_LEVEL"] = function.application_log_level or "INFO"
    return out


def _credentials(identity: Identity, runtime_api: str, token: str | None) -> dict[str, str]:
    if token is not None:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{runtime_api}{CREDENTIALS_PATH}",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
    return {
        "AWS_ACCESS_KEY_ID": identity.access_key_id,
        "AWS_SECRET_ACCESS_KEY": identity.secret_access_key,
        "AWS_SESSION_TOKEN": identity.session_token,
    }


_NOT_FOR_EXTENSIONS: Final = frozenset({
    "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS", "LAMBDA_RUNTIME_DIR", "LAMBDA_TASK_ROOT",
})  # fmt: skip


def extension_variables(runtime: dict[str, str]) -> dict[str, str]:
    """The environment of an external extension's process: its runtime's, without what is the runtime's own business.

    That is the function's credentials and settings, but nothing that begins with an underscore (facts §2.6).
    """
    return {key: value for key, value in runtime.items() if key[:1] != "_" and key not in _NOT_FOR_EXTENSIONS}

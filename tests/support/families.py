"""What a language's runtimes have in common on Lambda: the function under test, and how its failures read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"

PYTHON = """
import logging
import sys

calls = 0
logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    global calls
    calls += 1
    do = event["do"]
    if do == "echo":
        return event.get("value")
    if do == "context":
        return {
            "requestId": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "name": context.function_name,
            "version": context.function_version,
            "memory": context.memory_limit_in_mb,
            "logGroup": context.log_group_name,
            "logStream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "client": context.client_context and context.client_context.custom,
        }
    if do == "log":
        logging.info("a line of %s", "log")
        print("a printed line")
    if do == "count":
        return calls
    if do == "fail":
        raise ValueError("it failed \\u00e9")
    if do == "unserialisable":
        return {1, 2}
    if do == "large":
        return "x" * event["size"]
    if do == "exit":
        sys.exit(event["status"])
"""

NODE = """
let calls = 0;
exports.handler = async (event, context) => {
  calls += 1;
  switch (event.do) {
    case 'echo': return event.value;
    case 'context': return {
      requestId: context.awsRequestId,
      arn: context.invokedFunctionArn,
      name: context.functionName,
      version: context.functionVersion,
      memory: context.memoryLimitInMB,
      logGroup: context.logGroupName,
      logStream: context.logStreamName,
      remaining: context.getRemainingTimeInMillis(),
      client: context.clientContext && context.clientContext.custom,
    };
    case 'log': console.log('a line of %s', 'log'); process.stdout.write('a printed line\\n'); return null;
    case 'count': return calls;
    case 'fail': throw new TypeError('it failed \\u00e9');
    case 'unserialisable': return { big: 1n };
    case 'large': return 'x'.repeat(event.size);
    case 'exit': process.exit(event.status);
  }
};
"""

RUBY = """
LOG = Logger.new($stdout)
$calls = 0

def handler(event:, context:)
  $calls += 1
  case event['do']
  when 'echo' then event['value']
  when 'context'
    {
      requestId: context.aws_request_id, arn: context.invoked_function_arn, name: context.function_name,
      version: context.function_version, memory: context.memory_limit_in_mb, logGroup: context.log_group_name,
      logStream: context.log_stream_name, remaining: context.get_remaining_time_in_millis,
      client: context.client_context && context.client_context['custom']
    }
  when 'log'
    LOG.info('a line of log')
    puts 'a printed line'
  when 'count' then $calls
  when 'fail' then raise ArgumentError, "it failed \\u00e9"
  when 'unserialisable' then { number: Float::NAN }
  when 'trace' then ENV['_X_AMZN_TRACE_ID']
  when 'large' then 'x' * event['size']
  when 'exit' then exit!(event['status'])
  end
end
"""


@dataclass(frozen=True)
class Family:
    """One language.

    Attributes:
        log_line: the pattern of a line that the language's logger wrote at level INFO, with ``{id}`` in it.
        error: members of the body when the handler threw "it failed é", but for message and trace.
        trace: which member has the stack, and a pattern that one of its lines matches; None where errors have none.
        logged: pattern of what the log has of that error, with ``{id}`` in it; "" for nothing.
        unserialisable: errorType, and a pattern for errorMessage, of a result that cannot be written.
        init: errorType, and a pattern for errorMessage, of a function that fails in Init.
    """

    log_line: str
    error: Mapping[str, str]
    trace: tuple[str, str] | None
    logged: str
    unserialisable: tuple[str, str]
    init: tuple[str, str]
    check: Callable[[Any], None] = lambda _body: None
    drops_null: bool = False
    """Whether members that are null are left out of results."""


def _python(body: Any) -> None:
    assert list(body) == ["errorMessage", "errorType", "requestId", "stackTrace"]
    assert re.fullmatch(r'  File ".*/app\.py", line \d+, in handler\n    raise ValueError.*\n', body["stackTrace"][0])


def _node(body: Any) -> None:
    assert list(body) == ["errorType", "errorMessage", "trace"]
    assert body["trace"][0] == "TypeError: it failed é"


def _ruby(body: Any) -> None:
    assert list(body) == ["errorMessage", "errorType", "stackTrace"]
    assert len(body["stackTrace"]) == 1


def _java(body: Any) -> None:
    assert list(body) == ["errorMessage", "errorType", "stackTrace"]
    assert all(line.startswith("App.handleRequest") for line in body["stackTrace"])  # and the compiler's bridge to it


def _dotnet(body: Any) -> None:
    assert list(body) == ["errorType", "errorMessage", "stackTrace"]
    assert len(body["stackTrace"]) == 1  # without the frames of the runtime


_GO = Family(
    log_line=rf'timestamp={ISO} level=INFO message="a line of log" requestId={{id}}',
    error={"errorType": "Failure"},
    trace=None,
    logged='{"errorMessage":"it failed é","errorType":"Failure"',
    unserialisable=("UnsupportedTypeError", "json: unsupported type: chan int"),
    init=("errorString", "it cannot start é"),
)

FAMILIES = {
    "python": Family(
        log_line=rf"\[INFO\]\t{ISO}\t{{id}}\ta line of log",
        error={"errorType": "ValueError"},
        trace=("stackTrace", r"app\.py"),
        logged=r"\[ERROR\] ValueError: it failed é",
        unserialisable=(
            "Runtime.MarshalError",
            "Unable to marshal response: Object of type set is not JSON serializable",
        ),
        init=("Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nowhere'"),
        check=_python,
    ),
    "nodejs": Family(
        log_line=rf"{ISO}\t{{id}}\tINFO\ta line of log",
        error={"errorType": "TypeError"},
        trace=("trace", r"app\.js:"),
        logged=rf"{ISO}\t{{id}}\tERROR\tInvoke Error ",
        unserialisable=("Error", "Unable to stringify response body"),
        init=("Runtime.ImportModuleError", r"Error: Cannot find module 'nowhere'\nRequire stack:\n- "),
        check=_node,
    ),
    "ruby": Family(
        log_line=r"I, \[\S+ #\d+\]  INFO {id} -- : a line of log",
        error={"errorType": "Function<ArgumentError>"},
        trace=("stackTrace", r"/app\.rb:\d+:in [`'](Object#)?handler'"),
        logged=r"Error raised from handler method",
        unserialisable=("Function<JSON::GeneratorError>", "NaN not allowed in JSON"),
        init=("Init<LoadError>", "cannot load such file -- nowhere"),
        check=_ruby,
    ),
    "java": Family(
        log_line="a line of log",
        error={"errorType": "java.lang.IllegalStateException"},
        trace=("stackTrace", r"^App\.handleRequest\(App\.java:\d+\)$"),
        logged="^it failed é: java.lang.IllegalStateException$",
        unserialisable=("java.lang.RuntimeException", "An error occurred during JSON serialization of response"),
        init=("java.lang.ExceptionInInitializerError", r"Error loading class App\$Broken"),
        check=_java,
        drops_null=True,
    ),
    "dotnet": Family(
        log_line=rf"{ISO}\t{{id}}\tinfo\ta line of log",
        error={"errorType": "InvalidOperationException"},
        trace=("stackTrace", r"^at App\.Handle ?\("),
        logged=rf"^{ISO}\t{{id}}\tfail\tSystem\.InvalidOperationException: it failed é$",
        unserialisable=(
            "JsonSerializerException",
            "Error converting the response object of type System.Object from the Lambda function to JSON: ",
        ),
        init=("InvalidOperationException", "it cannot start é"),
        check=_dotnet,
    ),
    "rust": Family(
        log_line=rf"{ISO}\t{{id}}\tINFO\ta line of log",
        error={"errorType": "Failure"},
        trace=("stackTrace", r"^src/ours\.rs:\d+:\d+$"),
        logged=rf'^{ISO}\t{{id}}\tERROR\tit failed é errorType="Failure"',
        unserialisable=("NotANumber", "JSON has no NaN"),
        init=("Failure", "it cannot start é"),
    ),
    "go": _GO,
    # AWS's client has nothing to tell of an initialisation that failed: the process ends.
    "aws-go": replace(_GO, init=("Runtime.ExitError", "RequestId: .* Error: Runtime exited with error: exit status 1")),
}

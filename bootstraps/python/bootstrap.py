"""Lambent's Python runtime: polls the Runtime API, calls the handler, posts what it returned.

One file, the standard library only, CPython 3.9 and later. It behaves as AWS's own runtime client (awslambdaric) does:
same handler names, same error bodies, same context object, same log lines. What differs is how little it loads. A
bare interpreter starts in about ten milliseconds and most of a cold start beyond that is imports, so this file uses
built-in modules only and imports the rest when it is needed:

* ``json`` (which brings ``re`` and ``enum``): its C scanner and encoder live in ``_json`` and are used directly;
* ``socket`` and ``http.client``: ``_socket``, and 60 lines of HTTP/1.1;
* ``logging``: a hook at the head of ``sys.meta_path`` sets it up at the moment the function imports it;
* ``traceback``: when there is a traceback;
* ``os``: the environment is read through ``posix``.

The engine starts it with ``python -S -u -c LAUNCH folder`` (see ``bootstraps/__init__.py``): importing the file lets
Python reuse its compiled form, whereas a script is compiled at each start; ``-S`` saves the ``site`` module, of which
`_site` does what functions use. ``python bootstrap.py [handler]`` works too.
"""

import _socket
import posix
import sys
import time

TYPE = "Lambda-Runtime-Function-Error-Type"
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
BATCH = 65536  # bytes; bodies up to this size are copied to travel in one write with their head


class FaultException(Exception):
    """An error of the function's package or data that the runtime found: `kind` is its errorType."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.trace = trace


# ---------------------------------------------------------------------------------------------------------------------
# Environment. os.environ is built from posix.environ when os is first imported, so both stay in step.


def _env(name, default=None):
    value = posix.environ.get(name.encode())
    return default if value is None else value.decode("utf-8", "surrogateescape")


def _set_env(name, value):
    os = sys.modules.get("os")
    if os is not None:
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
        return
    key = name.encode()
    if value is None:
        if posix.environ.pop(key, None) is not None:
            posix.unsetenv(key)
    else:
        data = value.encode("utf-8", "surrogateescape")
        posix.environ[key] = data
        posix.putenv(key, data)


# ---------------------------------------------------------------------------------------------------------------------
# JSON, as AWS's runtime does it with simplejson: Decimals keep their digits, bytes become text, namedtuples objects.


class _Raw(str):
    """Text that goes into the JSON as it is."""

    __slots__ = ()


class _HasDecimal(Exception):
    pass


def _is_decimal(value):
    decimal = sys.modules.get("decimal")  # not imported: then nothing can be one
    return decimal is not None and isinstance(value, decimal.Decimal)


def _default(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if _is_decimal(value):
        raise _HasDecimal
    as_dict = getattr(value, "_asdict", None)
    if as_dict is not None and callable(as_dict):
        return as_dict()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _default_decimals(value):
    if _is_decimal(value):
        return float("nan") if value.is_nan() else _Raw(value)
    return _default(value)


def _own_namedtuples():
    """Whether the function may have namedtuples: the C encoder would write them as arrays, AWS writes objects.

    Those of the standard library itself are not looked for: they exist in every process, and looking through every
    response for them would cost more than encoding it.
    """
    count, found = _own_namedtuples.seen
    classes = tuple.__subclasses__()
    if len(classes) != count:
        known = getattr(
            sys, "stdlib_module_names", ("functools", "urllib", "inspect", "collections", "tokenize", "dis")
        )
        found = any(hasattr(c, "_asdict") and c.__module__.partition(".")[0] not in known for c in classes)
        _own_namedtuples.seen = (len(classes), found)
    return found


_own_namedtuples.seen = (-1, False)


def _plain(value):
    """`value` with namedtuples as dicts and keys of bytes as text."""
    if isinstance(value, dict):
        return {k.decode("utf-8") if isinstance(k, bytes) else k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if hasattr(value, "_asdict"):
            return _plain(value._asdict())
        return [_plain(v) for v in value]
    return value


def _encode(value, ascii_only):
    try:
        import _json

        make, escape = _json.make_encoder, _json.encode_basestring_ascii if ascii_only else _json.encode_basestring
        make({}, _default, escape, None, ": ", ", ", False, False, True)
    except Exception:  # noqa: BLE001 - another Python, or a later one with another signature
        import json

        return json.dumps(value, ensure_ascii=ascii_only, default=_default)
    try:
        return "".join(make({}, _default, escape, None, ": ", ", ", False, False, True)(value, 0))
    except _HasDecimal:

        def text(string):
            return str(string) if type(string) is _Raw else escape(string)

        return "".join(make({}, _default_decimals, text, None, ": ", ", ", False, False, True)(value, 0))


def to_json(value, ascii_only=True):
    """`value` as JSON text. Raises TypeError, ValueError, RecursionError as `json` does."""
    if _own_namedtuples():
        value = _plain(value)
    try:
        return _encode(value, ascii_only)
    except TypeError as error:
        if str(error).startswith("keys must be"):
            plain = _plain(value)
            if plain != value:
                return _encode(plain, ascii_only)
        raise


class _ScannerSettings:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    memo: dict = {}  # noqa: RUF012 - _json asks for the attribute

    @staticmethod
    def parse_constant(name):
        return {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}[name]


try:
    import _json as _c_json

    _scan = _c_json.make_scanner(_ScannerSettings)
except Exception:  # noqa: BLE001 - another Python, or a later one with another signature
    _scan = None


def from_json(data):
    """JSON in bytes as Python objects. Raises what `json.loads` raises."""
    if _scan is not None:
        try:
            text = data.decode().strip(" \t\n\r")
            value, end = _scan(text, 0)
        except (StopIteration, ValueError):
            pass  # json.loads finds the words, and the encodings that are not UTF-8
        else:
            if end == len(text):
                return value
    import json

    return json.loads(data)


# ---------------------------------------------------------------------------------------------------------------------
# The Runtime API: HTTP/1.1 over one connection that stays open.


class RuntimeClient:
    """One keep-alive connection, TCP_NODELAY, one write per message."""

    def __init__(self, address):
        self._socket = None
        self._rest = b""
        self.use(address)

    def use(self, address):
        """Speak to the Runtime API at `address` ("host:port") from the next connection on."""
        host, _, port = address.rpartition(":")
        self._peer = (host.strip("[]") or "127.0.0.1", int(port))
        agent = "aws-lambda-python/" + ".".join(map(str, sys.version_info[:3])) + "-lambent"
        self._common = f"Host: {address}\r\nUser-Agent: {agent}\r\n"
        self._poll = (f"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n{self._common}\r\n").encode()

    def next(self):
        """Wait for the next invocation. Returns its headers (names in lower case) and its body."""
        for attempt in (1, 2):
            try:
                if self._socket is None:
                    self._connect()
                self._socket.sendall(self._poll)
                status, headers, body = self._receive()
                break
            except ConnectionError:
                self._close()
                if attempt == 2:
                    raise
        if status != 200:
            raise RuntimeError(
                f"Runtime API refused to give the next invocation: {status} {body.decode('utf-8', 'replace')}"
            )
        return headers, body

    def park(self):
        """Wait at the point at which a snapshot may be taken.

        Returns nothing (``b""``) when it is released, and in a copy of this process the variables of that.
        """
        if self._socket is None:
            self._connect()
        self._socket.sendall(f"GET /2018-06-01/runtime/restore/next HTTP/1.1\r\n{self._common}\r\n".encode())
        status, _, body = self._receive()
        if status != 200:
            raise RuntimeError(f"Runtime API refused restore/next: {status} {body.decode('utf-8', 'replace')}")
        return body

    def post(self, path, body, content_type="application/json", headers=()):
        """POST `body`. Returns the status and the answer's body."""
        head = [f"POST /2018-06-01/runtime/{path} HTTP/1.1\r\n{self._common}Content-Type: {content_type}\r\n"]
        head += ["{}: {}\r\n".format(*pair) for pair in headers]
        head.append(f"Content-Length: {len(body)}\r\n\r\n")
        head = "".join(head).encode("utf-8", "replace")
        try:
            return self._post(head, body)
        except ConnectionError:
            # The server closed an idle connection, or went away while it read. A response that did arrive the first
            # time is refused the second time, which the caller takes for what it is.
            self._close()
            return self._post(head, body)

    def _post(self, head, body):
        if self._socket is None:
            self._connect()
        if len(body) <= BATCH:
            self._socket.sendall(head + body)
        else:
            self._send_large(head, body)
        status, _, answer = self._receive()
        return status, answer

    def _connect(self):
        family = _socket.AF_INET6 if ":" in self._peer[0] else _socket.AF_INET
        sock = _socket.socket(family, _socket.SOCK_STREAM)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        sock.connect(self._peer)
        self._socket = sock

    def _close(self):
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _send_large(self, head, body):
        sent = self._socket.sendmsg([head, body])
        view = memoryview(body)
        if sent < len(head):
            self._socket.sendall(head[sent:])
            sent = len(head)
        self._socket.sendall(view[sent - len(head) :])

    def _fill(self):
        data = self._socket.recv(BATCH)
        if not data:
            raise ConnectionResetError("the Runtime API closed the connection")
        self._rest += data

    def _receive(self):
        """Read one response: its status, headers and body."""
        while True:
            end = self._rest.find(b"\r\n\r\n")
            while end < 0:
                self._fill()
                end = self._rest.find(b"\r\n\r\n")
            lines = self._rest[:end].decode("utf-8", "replace").split("\r\n")
            self._rest = self._rest[end + 4 :]
            status = int(lines[0][9:12])
            if status >= 200:  # 100 Continue: the real one follows
                break
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = headers.get("content-length")
        if length is not None:
            body = self._take(int(length))
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            body = self._take_chunks()
        elif status in (204, 304):
            body = b""
        else:  # no length: the body ends with the connection
            parts = [self._rest]
            while parts[-1]:
                parts.append(self._socket.recv(BATCH))
            body, headers["connection"] = b"".join(parts), "close"
        if headers.get("connection", "").lower() == "close":
            self._close()
        return status, headers, body

    def _take(self, size):
        have = len(self._rest)
        if have >= size:
            body, self._rest = self._rest[:size], self._rest[size:]
            return body
        whole = bytearray(size)
        whole[:have] = self._rest
        self._rest = b""
        view = memoryview(whole)
        while have < size:
            got = self._socket.recv_into(view[have:])
            if not got:
                raise ConnectionResetError("the Runtime API closed the connection in the middle of a body")
            have += got
        view.release()
        return bytes(whole)

    def _line(self):
        while b"\r\n" not in self._rest:
            self._fill()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _take_chunks(self):
        parts = []
        while True:
            size = int(self._line().partition(b";")[0], 16)
            if size == 0:
                while self._line():
                    pass
                return b"".join(parts)
            parts.append(self._take(size))
            self._line()


# ---------------------------------------------------------------------------------------------------------------------
# Logs. Without a telemetry descriptor a record is a line on stdout; its inner lines are then joined with \r.

FRAME = {"JSON": 0xA55A0002, "TEXT": 0xA55A0003}  # the level goes into the frame type: level << 2


class Log:
    """Where log records go: the descriptor in _LAMBDA_TELEMETRY_LOG_FD, framed, or stdout."""

    def __init__(self):
        fd = _env("_LAMBDA_TELEMETRY_LOG_FD")
        self._fd = None
        if fd is not None:
            _set_env("_LAMBDA_TELEMETRY_LOG_FD", None)
            self._fd = int(fd)
        self.json = (_env("AWS_LAMBDA_LOG_FORMAT") or "").upper() == "JSON"
        level = (_env("AWS_LAMBDA_LOG_LEVEL") or "").upper()
        self.level = "DEBUG" if level == "TRACE" else level
        self.frame = FRAME["JSON" if self.json else "TEXT"]
        self.request_id = ""
        self.tenant_id = None

    def log(self, message, frame_type=None):
        """Write one record (its newline included, without a descriptor)."""
        if self._fd is None:
            sys.stdout.write(message)
            return
        data = message.encode("utf-8", "replace")
        frame = (frame_type or FRAME["TEXT"]).to_bytes(4, "big") + len(data).to_bytes(4, "big")
        data = frame + int(time.time_ns() / 1000).to_bytes(8, "big") + data
        while data:
            data = data[posix.write(self._fd, data) :]

    def error(self, result):
        """Write the error that is about to be reported."""
        if self.json:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            lines = [to_json(dict({"timestamp": stamp, "level": "ERROR"}, **result), False)]
        else:
            head = "[ERROR]"
            if result["errorType"]:
                head += " " + result["errorType"] + (":" if result["errorMessage"] else "")
            if result["errorMessage"]:
                head += " " + result["errorMessage"]
            lines = [head, "Traceback (most recent call last):"]
            for entry in result["stackTrace"]:
                for line in entry.splitlines() or [""]:
                    text = line.lstrip(" ")
                    lines.append("\u00a0" * (len(line) - len(text)) + text)
        if self._fd is None:
            sys.stdout.write("\r".join(lines) + "\n")
        else:
            self.log("\n".join(lines), self.frame | 5 << 2)


class _LoggingHook:
    """Sets the root logger up right after the function's code imports `logging`, and not before."""

    def __init__(self, log):
        self._log = log

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        # On Lambda `logging` is loaded before the function is, so a file logging.py in the package never shadows it.
        spec = sys.modules["_frozen_importlib_external"].PathFinder.find_spec(name, sys.path[1:])
        if spec is not None:
            self._inner, self._spec = spec.loader, spec
            spec.loader = self
        return spec

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        module.__loader__ = self._spec.loader = self._inner
        self._inner.exec_module(module)
        _set_up_logging(module, self._log)


def _set_up_logging(logging, log):
    levels = {0: 0, 10: 2, 20: 3, 30: 4, 40: 5, 50: 6}

    def rounded(record):
        return min(50, max(0, record.levelno)) // 10 * 10

    class LambdaLoggerHandler(logging.Handler):
        def __init__(self, log_sink):
            super().__init__()
            self.log_sink = log_sink

        def emit(self, record):
            message = self.format(record)
            framed = log.json or log.level
            self.log_sink.log(message, log.frame | levels[rounded(record)] << 2 if framed else None)

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = log.request_id
            record.tenant_id = log.tenant_id
            return True

    class JsonFormatter(logging.Formatter):
        hidden = frozenset({
            "name", "msg", "args", "levelname", "levelno", "pathname", "filename", "module", "exc_info", "exc_text",
            "stack_info", "lineno", "funcName", "created", "msecs", "relativeCreated", "thread", "threadName",
            "processName", "process", "taskName", "aws_request_id", "tenant_id",
        })  # fmt: skip

        def format(self, record):
            import json

            record.levelno = rounded(record)
            record.levelname = logging.getLevelName(record.levelno)
            whole = isinstance(record.msg, dict) and not record.args
            out = {
                "timestamp": self.formatTime(record, "%Y-%m-%dT%H:%M:%SZ"),
                "level": record.levelname,
                "message": record.msg if whole else record.getMessage(),
                "logger": record.name,
            }
            if record.exc_info:
                import traceback

                out["stackTrace"] = traceback.format_tb(record.exc_info[2])
                out["errorType"] = record.exc_info[0].__name__
                out["errorMessage"] = str(record.exc_info[1])
            out["requestId"] = record.aws_request_id
            if record.exc_info:
                out["location"] = f"{record.pathname}:{record.funcName}:{record.lineno}"
            if record.tenant_id is not None:
                out["tenantId"] = record.tenant_id
            for key, value in record.__dict__.items():
                if key not in self.hidden and key not in out:
                    out[key] = value
            out = {k: v for k, v in out.items() if v is not None}
            return json.dumps(out, ensure_ascii=False, default=str) + "\n"

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler(log)
    if log.json:
        handler.setFormatter(JsonFormatter())
    else:
        line = "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n"
        handler.setFormatter(logging.Formatter(line, "%Y-%m-%dT%H:%M:%S"))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    if log.level in logging._nameToLevel:
        root.setLevel(log.level)
    root.addHandler(handler)


# ---------------------------------------------------------------------------------------------------------------------
# The context object.

W3C = ("traceparent", "tracestate", "baggage")


class _Record:
    __slots__ = ()

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        pairs = ",".join(f"{name}={getattr(self, name)}" for name in self.__slots__)
        return f"{type(self).__name__}([{pairs}])"


class CognitoIdentity(_Record):
    """Who called, when it was a Cognito user."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Record):
    """The calling application, as the mobile SDKs say it."""

    __slots__ = (  # noqa: RUF023 - the order of repr()
        "installation_id",
        "app_title",
        "app_version_name",
        "app_version_code",
        "app_package_name",
    )


class ClientContext(_Record):
    """What the caller passed beside the payload."""

    __slots__ = ("custom", "env", "client")  # noqa: RUF023 - the order of repr()


class LambdaContext:
    """What a handler gets as its second argument; times are in milliseconds."""

    def __init__(
        self,
        invoke_id,
        client_context,
        cognito_identity,
        epoch_deadline_time_in_ms,
        invoked_function_arn=None,
        tenant_id=None,
    ):
        fixed = LambdaContext._fixed
        self.aws_request_id = invoke_id
        self.log_group_name = fixed[0]
        self.log_stream_name = fixed[1]
        self.function_name = fixed[2]
        self.memory_limit_in_mb = fixed[3]
        self.function_version = fixed[4]
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self._w3c_fields = {}
        self.client_context = None
        if client_context is not None:
            if isinstance(client_context, dict):
                w3c = client_context.pop("w3c", None)
                if isinstance(w3c, dict):
                    self._w3c_fields = {k: w3c[k] for k in W3C if isinstance(w3c.get(k), str)}
            self.client_context = ClientContext(client_context)
            if self.client_context.client is not None:
                self.client_context.client = Client(self.client_context.client)
        identity = cognito_identity or {}
        self.identity = CognitoIdentity(
            {
                "cognito_identity_id": identity.get("cognitoIdentityId"),
                "cognito_identity_pool_id": identity.get("cognitoIdentityPoolId"),
            }
        )
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms

    _fixed = (None,) * 5
    _sink = None

    def get_remaining_time_in_millis(self):
        """Milliseconds until the invocation times out, never below 0."""
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return max(left, 0)

    def w3c(self):
        """The W3C trace context that came with the invocation: traceparent, tracestate, baggage."""
        return dict(self._w3c_fields)

    def log(self, msg):
        """Write `msg` to the function's log as it is."""
        LambdaContext._sink.log(str(msg))

    def __repr__(self):
        names = (
            "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
            "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id",
        )  # fmt: skip
        return "{}([{}])".format(type(self).__name__, ",".join(f"{name}={getattr(self, name)}" for name in names))


def _header_json(text, what):
    if not text:
        return None
    try:
        return from_json(text.encode())
    except Exception as error:  # noqa: BLE001 - whatever the function's code raises
        raise FaultException("Runtime.LambdaContextUnmarshalError", f"Unable to parse {what} JSON: {error}") from None


# ---------------------------------------------------------------------------------------------------------------------
# Errors and the handler.


def _describe(error, request_id="", message=None):
    """The error body for an exception, and the X-Ray cause that goes with it."""
    if isinstance(error, FaultException):
        kind, message, entries, trace = error.kind, error.message, [], error.trace or []
        cause = "LambdaValidationError"
    else:
        import traceback

        kind = cause = type(error).__name__
        message = str(error)
        entries = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(error.__traceback__)]
        own = (__file__, "<string>")
        entries = next((entries[i:] for i in range(len(entries)) if entries[i][0] not in own), entries)
        trace = traceback.format_list(entries)
    result = {"errorMessage": message, "errorType": kind, "requestId": request_id, "stackTrace": trace}
    del entries[100:]  # enough for X-Ray; a recursion's thousand frames are too long for a header
    stack = [{"label": e[2], "path": e[0], "line": e[1]} for e in entries]
    xray = {
        "working_directory": posix.getcwd(),
        "exceptions": [{"message": message, "type": cause, "stack": stack}],
        "paths": sorted({e[0] for e in entries}),
    }
    return result, xray


def load_handler(name):
    """The function that `name` ("pkg/mod.function" or "pkg.mod.function") stands for. Raises Fault."""
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        raise FaultException(
            "Runtime.MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)"
        )
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise FaultException(
            "Runtime.BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module"
        )
    dotted = module_name.replace("/", ".")
    try:
        __import__(dotted)
        module = sys.modules[dotted]
    except ImportError as error:
        raise FaultException(
            "Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}"
        ) from error
    except SyntaxError as error:
        raise FaultException(
            "Runtime.UserCodeSyntaxError",
            f"Syntax error in module '{module_name}': {error}",
            [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}'],
        ) from error
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise FaultException(
            "Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'"
        ) from None


def _site():
    """What functions use of the `site` module, which -S leaves out: site-packages on the path, exit() and quit()."""
    sys.path.append(f"{sys.prefix}/lib/{VERSION}/site-packages")
    if sys.prefix == "/usr":  # Debian's layout
        sys.path += [f"/usr/local/lib/{VERSION}/dist-packages", "/usr/lib/python3/dist-packages"]

    def leave(code=None):
        raise SystemExit(code)

    import builtins

    builtins.exit = builtins.quit = leave


def _search_path(task_root):
    """The task root first, then layers, then what Python has itself."""
    extra = [task_root]
    layers = _env("LAMBENT_OPT", "/opt") + "/python"  # elsewhere where nothing is mounted
    try:
        posix.stat(layers)
        extra += [f"{layers}/lib/{VERSION}/site-packages", layers]
    except OSError:
        pass
    sys.path[:] = extra + [entry for entry in sys.path if entry and entry not in extra]
    if sys.flags.no_site:
        _site()


def _workers(many):
    """Become `many` processes, each of which initialises and serves by itself; the first one waits for all of them.

    As AWS's client does with AWS_LAMBDA_MAX_CONCURRENCY: nothing is shared, and a worker that ends is not replaced.
    """
    sys.stdout.flush()
    alive = set()
    for _ in range(many):
        try:
            pid = posix.fork()
        except OSError as error:  # the sandbox has no room for more: those that there are will do
            if not alive:
                raise
            sys.stderr.write(f"bootstrap: {len(alive)} of {many} workers were started: {error}\n")
            break
        if pid == 0:
            return
        alive.add(pid)
    worst = 0
    while alive:
        try:
            pid, status = posix.wait()
        except InterruptedError:
            continue
        except ChildProcessError:
            break
        if pid in alive:
            alive.discard(pid)
            code = posix.waitstatus_to_exitcode(status)
            worst = max(worst, code if code >= 0 else 128 - code)
    posix._exit(worst)


# ---------------------------------------------------------------------------------------------------------------------
# SnapStart.


class _SnapshotHooks:
    """Stands in for AWS's `snapshot_restore_py` where the function's package has none. The last of the finders."""

    def find_spec(self, name, path=None, target=None):
        if name != "snapshot_restore_py":
            return None
        return sys.modules["_frozen_importlib"].ModuleSpec(name, self)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        before, after = [], []

        def register_before_snapshot(func, *args, **kwargs):
            """Call `func` before the snapshot is taken; the last that was registered is called first."""
            before.append((func, args, kwargs))
            return func

        def register_after_restore(func, *args, **kwargs):
            """Call `func` after the snapshot was restored; the first that was registered is called first."""
            after.append((func, args, kwargs))
            return func

        module.register_before_snapshot, module.register_after_restore = (
            register_before_snapshot,
            register_after_restore,
        )
        module.get_before_snapshot, module.get_after_restore = lambda: before, lambda: after


def _restored(client, variables):
    """This process is the copy of one that was initialised elsewhere: what is the environment's own becomes its own.

    `variables` is its whole environment. What Init changed of it stays changed; what differs from what Init was given
    is new. And what would be the same in every copy, and must not be: random numbers.
    """
    for entry in variables.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if posix.environ.get(name) != value:
            posix.environ[name] = value
            posix.putenv(name, value)
            if "os" in sys.modules:
                sys.modules["os"].environb[name] = value
    client.use(_env("AWS_LAMBDA_RUNTIME_API"))
    for name, renew in (
        ("random", lambda random: random.seed()),
        ("numpy.random", lambda random: random.seed()),
        ("_ssl", lambda ssl: ssl.RAND_add(posix.urandom(32), 32.0)),
        ("threading", lambda threading: threading.main_thread()._set_native_id()),
    ):
        module = sys.modules.get(name)
        if module is not None:
            try:
                renew(module)
            except Exception as error:  # noqa: BLE001 - a module of the function's by that name, or a later Python
                sys.stderr.write(f"bootstrap: {name} is as it was before the snapshot: {error!r}\n")


def _snapshot(client, log):
    """Park where a snapshot may be taken; returns when it is restored, or the environment is released without one."""
    hooks = sys.modules.get("snapshot_restore_py")
    before, after = (hooks.get_before_snapshot(), hooks.get_after_restore()) if hooks is not None else ([], [])
    path, code = "init/error", 64
    try:
        while before:
            func, args, kwargs = before.pop()
            func(*args, **kwargs)
        sys.stdout.flush()
        import gc

        gc.collect()  # what is not in the snapshot need not be copied
        variables = client.park()
        path, code = "restore/error", 65
        if variables:
            _restored(client, variables)
        for func, args, kwargs in after:
            func(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever the function's code raises
        result, _ = _describe(error)
        log.error(result)  # noqa: TRY400 - not the logging module
        sys.stdout.flush()
        client.post(path, to_json(result).encode(), headers=[(TYPE, result["errorType"])])
        sys.exit(code)


def main(handler_name=None):
    """Load the handler and serve invocations until the process is ended."""
    many = _env("AWS_LAMBDA_MAX_CONCURRENCY")
    if many is not None:
        _workers(int(many))
    handler_name = handler_name or _env("_HANDLER", "")
    sys.modules.pop("bootstrap", None)  # the function may have a module of that name
    sys.argv = [__file__, handler_name]
    _search_path(_env("LAMBDA_TASK_ROOT") or posix.getcwd())
    if sys.stdout is not None and not getattr(sys.stdout, "write_through", True):
        sys.stdout.reconfigure(line_buffering=True)
    client = RuntimeClient(_env("AWS_LAMBDA_RUNTIME_API"))
    log = LambdaContext._sink = Log()
    if log.json or log.level or "logging" in sys.modules:
        import logging

        _set_up_logging(logging, log)
    else:
        sys.meta_path.insert(0, _LoggingHook(log))
    sys.meta_path.append(_SnapshotHooks())
    try:
        handler = load_handler(handler_name)
    except Exception as error:  # noqa: BLE001 - whatever the function's code raises
        result, _ = _describe(error)
        log.error(result)  # noqa: TRY400 - not the logging module
        sys.stdout.flush()
        client.post("init/error", to_json(result).encode(), headers=[(TYPE, result["errorType"])])
        sys.exit(1)
    if _env("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        _snapshot(client, log)
    names = ("LOG_GROUP_NAME", "LOG_STREAM_NAME", "FUNCTION_NAME", "FUNCTION_MEMORY_SIZE", "FUNCTION_VERSION")
    LambdaContext._fixed = tuple(_env("AWS_LAMBDA_" + name) for name in names)
    # Up to python3.11 Lambda escapes everything beyond ASCII; from 3.12 on it does not.
    minor = (_env("AWS_EXECUTION_ENV") or "").partition("AWS_Lambda_python3.")[2]
    _serve(client, log, handler, ascii_only=not (minor.isdigit() and int(minor) >= 12))


def _serve(client, log, handler, ascii_only):
    trace = object()
    while True:
        headers, body = client.next()
        get = headers.get
        request_id = log.request_id = get("lambda-runtime-aws-request-id")
        tenant = log.tenant_id = get("lambda-runtime-aws-tenant-id")
        if trace != get("lambda-runtime-trace-id"):
            trace = get("lambda-runtime-trace-id")
            _set_env("_X_AMZN_TRACE_ID", trace)
        attempt = get("lambda-runtime-invocation-id")
        echo = [("Lambda-Runtime-Invocation-Id", attempt)] if attempt else []
        failure = None
        try:
            context = LambdaContext(
                request_id,
                _header_json(get("lambda-runtime-client-context"), "Client Context"),
                _header_json(get("lambda-runtime-cognito-identity"), "Cognito Identity"),
                int(get("lambda-runtime-deadline-ms", 0)),
                get("lambda-runtime-invoked-function-arn"),
                tenant,
            )
            event = body
            if get("content-type", "application/json") == "application/json":
                try:
                    event = from_json(body)
                except Exception as error:  # noqa: BLE001 - whatever the function's code raises
                    raise FaultException("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None
            del body
            result = handler(event, context)
            content_type = "application/json"
            if isinstance(result, bytes):
                content_type = "application/unknown"
            else:
                try:
                    result = to_json(result, ascii_only).encode("utf-8")
                except Exception as error:  # noqa: BLE001 - whatever the function's code raises
                    raise FaultException("Runtime.MarshalError", f"Unable to marshal response: {error}") from None
        except Exception as error:  # noqa: BLE001 - whatever the function's code raises
            failure = error
        if failure is None:
            sys.stdout.flush()
            status, answer = client.post(f"invocation/{request_id}/response", result, content_type, echo)
        else:
            result, xray = _describe(failure, request_id)
            if isinstance(failure, FaultException):
                echo.append((TYPE, failure.kind))
            failure = None  # its traceback holds the handler's frames
            log.error(result)
            sys.stdout.flush()
            cause = to_json(xray)
            if len(cause) < 65536:
                echo.append(("Lambda-Runtime-Function-XRay-Error-Cause", cause))
            status, answer = client.post(
                f"invocation/{request_id}/error", to_json(result, ascii_only).encode("utf-8", "replace"), headers=echo
            )
        event = context = result = None  # a big payload does not stay in memory until the next one
        if status >= 300 and status not in {410, 413}:  # too late, too large: its caller has been told; go on
            raise RuntimeError(
                f"Runtime API refused the result of {request_id}: {status} {answer.decode('utf-8', 'replace')}"
            )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)

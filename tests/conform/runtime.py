"""A runtime on bare sockets that keeps every clause, but for the flaw named by FLAW. Standard library only; run as a program.

It is written for the judge to be judged: each flaw is something that a real bootstrap has got wrong, or could.
"""

import base64
import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse

FLAW = os.environ.get("FLAW", "")
HOST, PORT = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
ROOT = "/2018-06-01/runtime/"
VERBS = ["echo", "fail", "unserialisable", "size", "count", "context", "exit", "stream"]
counted = 0
answering = threading.Lock()
many = int(os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "1"))


class Gone(Exception):
    """The connection broke."""


class Connection:
    """One keep-alive connection, made anew when the other side closes it."""

    def __init__(self):
        self.sock = None

    def request(self, method, path, headers=None, body=None, chunks=None, trailers=None):
        """Send a request, and return (status, headers in lower case, body)."""
        if self.sock is None or FLAW == "one-connection-per-request":
            self.sock = socket.create_connection((HOST, int(PORT)))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.buffer = b""
        lines = [f"{method} {path} HTTP/{'1.0' if FLAW == 'http-1.0' else '1.1'}", "User-Agent: flawed/1"]
        if FLAW != "no-host":
            lines.append(f"Host: {HOST}:{PORT}")
        if body is not None and FLAW != "no-length":
            lines.append(f"Content-Length: {len(body)}")
        if chunks is not None:
            lines.append("Transfer-Encoding: chunked")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        try:
            self.sock.sendall(head + (body or b""))
            if chunks is not None:
                for chunk in chunks:
                    self.sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                last = "".join(f"{name}: {value}\r\n" for name, value in (trailers or dict)().items())
                self.sock.sendall(f"0\r\n{last}\r\n".encode())
            return self.answer()
        except (ConnectionError, EOFError):
            self.sock = None
            raise Gone from None

    def more(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def answer(self):
        if FLAW == "one-read-per-answer":
            self.more()
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name if FLAW == "case-sensitive" else name.lower()] = value.strip()
        if FLAW == "case-sensitive":
            headers = {
                {
                    "Lambda-Runtime-Aws-Request-Id": "lambda-runtime-aws-request-id",
                    "Content-Length": "content-length",
                    "Lambda-Runtime-Deadline-Ms": "lambda-runtime-deadline-ms",
                    "Lambda-Runtime-Invoked-Function-Arn": "lambda-runtime-invoked-function-arn",
                }.get(name, name): value
                for name, value in headers.items()
            }
        body = b""
        if "chunked" in headers.get("transfer-encoding", "") and FLAW != "no-chunks":
            while True:
                while b"\r\n" not in self.buffer:
                    self.more()
                line, _, self.buffer = self.buffer.partition(b"\r\n")
                size = int(line, 16)
                while len(self.buffer) < size + 2:
                    self.more()
                body += self.buffer[:size]
                self.buffer = self.buffer[size + 2 :]
                if not size:
                    break
        else:
            size = int(headers.get("content-length", 0))
            if FLAW == "one-read-per-answer":
                size = min(size, len(self.buffer))
            while len(self.buffer) < size:
                self.more()
            body, self.buffer = self.buffer[:size], self.buffer[size:]
        if headers.get("connection", "").lower() == "close" and FLAW != "never-reconnects":
            self.sock.close()
            self.sock = None
        return int(first.split(" ")[1]), headers, body


def handler(event, context):
    global counted
    if not isinstance(event, dict):
        return event
    do = event.get("do")
    if do == "verbs":
        return VERBS
    if do == "echo":
        return event["value"]
    if do == "fail":
        raise ValueError(event["message"])
    if do == "unserialisable":
        return {1, 2}
    if do == "size":
        return "x" * event["bytes"]
    if do == "count":
        counted += 1
        return counted if FLAW != "forgets" else 1
    if do == "exit":
        os._exit(0 if FLAW == "exit-code" else event["code"])
    if do == "context":
        return context
    raise KeyError(do)


def context_of(headers, past={}):
    client = json.loads(headers.get("lambda-runtime-client-context", "null"))
    told = {
        "requestId": headers["lambda-runtime-aws-request-id"],
        "arn": headers["lambda-runtime-invoked-function-arn"],
        "remainingMs": int(headers["lambda-runtime-deadline-ms"]) - time.time() * 1000,
        "traceId": headers.get("lambda-runtime-trace-id"),
        "clientContext": client and client.get("custom"),
    }
    if FLAW == "stale-context":
        told["traceId"] = told["traceId"] or past.get("traceId")
        told["clientContext"] = told["clientContext"] or past.get("clientContext")
    if FLAW == "first-context":
        told = {**told, **{name: past[name] for name in ("requestId", "arn", "remainingMs") if name in past}}
    past.update(told)
    if FLAW == "deadline-in-seconds":
        told["remainingMs"] /= 1000
    if FLAW == "shared-context":
        global shared
        shared = told
        time.sleep(0.3)
        told = shared
    if FLAW == "mangled-context" and client:
        told["clientContext"] = {"k": "?"}
    return told


def next_invocation(connection):
    if FLAW == "impatient" and connection.sock is not None:
        connection.sock.settimeout(1.0)
    for attempt in range(100):
        try:
            path = "/2018-06-01/runtime/invocation/next" if FLAW != "wrong-path" else "/runtime/invocation/next"
            if FLAW == "impatient":
                connection.sock = connection.sock or socket.create_connection((HOST, int(PORT)))
                connection.buffer = getattr(connection, "buffer", b"")
                connection.sock.settimeout(1.0)
            status, headers, body = connection.request(
                "POST" if FLAW == "wrong-method" else "GET", path, body=b"{}" if FLAW == "poll-with-body" else None
            )
        except TimeoutError:
            sys.exit("timed out")
        except Gone:
            if FLAW == "never-reconnects":
                sys.exit("the connection is gone")
            if FLAW == "hangs-when-dropped":
                time.sleep(60)
            if attempt > 2 and FLAW != "spins":
                sys.exit("the Runtime API is gone")
            continue
        if status == 200:
            return headers, body
        if status == 500 and FLAW == "spins":
            continue
        sys.exit(f"next: {status}")
    sys.exit("gave up")


def post(connection, path, body, headers=None):
    if FLAW == "one-answer-at-a-time":
        with answering:
            return post_now(connection, path, body, headers)
    return post_now(connection, path, body, headers)


def post_now(connection, path, body, headers):
    answers = {413, 410, 403, 400}
    for _ in range(3):
        try:
            status, _, _ = connection.request(
                "POST", ROOT + path, {"Content-Type": "application/json", **(headers or {})}, body
            )
        except Gone:
            continue
        if status == 202:
            return
        if (status == 413 and FLAW == "dies-of-413") or (status == 410 and FLAW == "dies-of-410"):
            sys.exit(str(status))
        if FLAW == "hangs-when-refused":
            time.sleep(60)
        if status in answers:
            return
        sys.exit(f"{path}: {status}")


def error_of(error):
    body = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": ["line"]}
    if FLAW == "error-shape":
        body = {"message": str(error)}
    if FLAW == "error-ascii":
        body["errorMessage"] = body["errorMessage"].encode("ascii", "replace").decode()
    if FLAW == "no-trace":
        del body["stackTrace"]
    return json.dumps(body).encode()


def serve_one(connection):
    headers, payload = next_invocation(connection)
    request_id = headers["lambda-runtime-aws-request-id"]
    if FLAW == "uuid-only" and len(request_id) != 36:
        request_id = "00000000-0000-4000-8000-000000000000"
    if FLAW == "needs-trace":
        headers["lambda-runtime-trace-id"]
    if FLAW == "small-headers" and any(len(value) > 1000 for value in headers.values()):
        sys.exit("a header is too long")
    echoed = (
        {"Lambda-Runtime-Invocation-Id": headers["lambda-runtime-invocation-id"]}
        if "lambda-runtime-invocation-id" in headers and FLAW != "no-attempt"
        else {}
    )
    if FLAW == "eager":
        threading.Thread(target=Connection().request, args=("GET", ROOT + "invocation/next"), daemon=True).start()
        time.sleep(0.1)
    try:
        if FLAW == "text-only":
            payload.decode("ascii")
        event = json.loads(payload)
        if FLAW == "no-astral" and any(ord(c) > 0xFFFF for c in json.dumps(event, ensure_ascii=False)):
            event = "?"
        if FLAW == "shallow" and payload.count(b"[") > 50:
            raise RecursionError("too deep")
        if FLAW == "truncates":
            event = json.loads(json.dumps(event)[:1_000_000]) if len(payload) < 1_000_000 else "x"
        if isinstance(event, dict) and event.get("do") == "stream":
            return stream(connection, request_id, event, echoed)
        result = handler(event, context_of(headers))
        if FLAW == "null-is-empty" and result is None:
            result = ""
        body = json.dumps(result).encode()
    except Exception as error:
        if isinstance(error, (UnicodeDecodeError, json.JSONDecodeError)) and FLAW == "dies-of-bad-json":
            sys.exit("bad JSON")
        if isinstance(error, json.JSONDecodeError) and FLAW == "swallows-bad-json":
            return None
        if FLAW == "error-as-response":
            return post(connection, f"invocation/{request_id}/response", error_of(error), echoed)
        more = {"Lambda-Runtime-Function-Error-Type": "oops" if FLAW == "bad-error-type" else "Function.Failed"}
        more["Lambda-Runtime-Function-XRay-Error-Cause"] = (
            "{" if FLAW == "bad-xray" else '{"working_directory":"/","exceptions":[],"paths":[]}'
        )
        post(connection, f"invocation/{request_id}/error", error_of(error), {**echoed, **more})
        if FLAW == "worker-ends-with-error" and many > 1:
            time.sleep(60)
        if FLAW == "dies-of-errors" or (FLAW == "dies-of-odd-headers" and "JSON" in type(error).__name__):
            sys.exit("after an error")
        return None
    if FLAW == "swapped" and isinstance(result, dict) and "number" in result and result["number"] > 3:
        body = json.dumps({**result, "key": "another"}).encode()
    quoted = urllib.parse.quote(request_id, safe="~")
    post(connection, f"invocation/{quoted}/response", body, echoed)
    if FLAW == "answers-twice":
        post(connection, f"invocation/{quoted}/response", body, echoed)
    return None


def stream(connection, request_id, event, echoed):
    pieces = [piece.encode() for piece in event["pieces"]]
    if FLAW == "stream-buffers":
        pause = event.get("pause_ms", 0) / 1000 * (len(pieces) - 1)
        time.sleep(pause)
        chunks = [b"".join(pieces)]
    else:

        def produce():
            for index, piece in enumerate(pieces):
                if index:
                    time.sleep(event.get("pause_ms", 0) / 1000)
                    if FLAW == "stream-eager" and index == 1:
                        threading.Thread(
                            target=Connection().request, args=("GET", ROOT + "invocation/next"), daemon=True
                        ).start()
                        time.sleep(0.2)
                yield piece

        chunks = produce()
    trailers = {}
    if event.get("fail") and FLAW != "no-trailers":
        body = base64.b64encode(
            json.dumps({"errorMessage": event["fail"], "errorType": "ValueError"}).encode()
        ).decode()
        trailers = {"Lambda-Runtime-Function-Error-Type": "Function.Failed", "Lambda-Runtime-Function-Error-Body": body}
    if FLAW == "stream-drops":
        chunks = pieces[:-1]
    headers = {
        "Trailer": "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
        "Content-Type": "application/octet-stream",
        **echoed,
    }
    if FLAW != "no-mode":
        headers["Lambda-Runtime-Function-Response-Mode"] = "streaming"
    connection.request(
        "POST", f"{ROOT}invocation/{request_id}/response", headers, chunks=chunks, trailers=lambda: trailers
    )


def initialise(connection):
    if os.environ.get("_HANDLER", "").startswith("no_such_module"):
        if FLAW == "init-error-as-poll":
            return
        path = "init/error" if FLAW != "init-error-elsewhere" else "init/failed"
        try:
            connection.request(
                "POST", ROOT + path, {"Content-Type": "application/json"}, error_of(ImportError("no such module"))
            )
        except Gone:
            pass
        if FLAW == "init-error-stays":
            time.sleep(60)
        if FLAW != "init-error-polls":
            os._exit(0 if FLAW == "init-error-code" else 1)
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start" and FLAW != "no-restore":
        if FLAW == "restore-impatient":
            connection.sock = socket.create_connection((HOST, int(PORT)))
            connection.buffer = b""
            connection.sock.settimeout(1.0)
        connection.request("GET", ROOT + "restore/next")
        connection.sock.settimeout(None)
        if FLAW == "restore-stays":
            time.sleep(60)


def work(connection):
    while True:
        serve_one(connection)


def main():
    if FLAW == "ignores-sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if FLAW == "never-polls":
        time.sleep(60)
    if FLAW == "garbage":
        sock = socket.create_connection((HOST, int(PORT)))
        sock.sendall(b"NEXT\r\n\r\n")
        time.sleep(60)
    connection = Connection()
    initialise(connection)
    if FLAW == "polls-twice":
        threading.Thread(target=work, args=(Connection(),), daemon=True).start()
    workers = many
    if many > 1 and FLAW in {"too-few-workers", "too-many-workers"}:
        workers += 1 if FLAW == "too-many-workers" else -1
    for _ in range(workers - 1):
        threading.Thread(target=work, args=(Connection(),), daemon=True).start()
    work(connection)


if __name__ == "__main__":
    main()

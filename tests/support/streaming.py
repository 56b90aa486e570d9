"""A function that streams as it is told, and a gate that its writing waits for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.functions import bootstrap

STREAMER = '''
import base64, threading


class Stream:
    """A response in pieces, over a plain socket."""

    def __init__(self, request_id, **headers):
        host, port = api.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        head = f"POST {BASE}/invocation/{request_id}/response HTTP/1.1\\r\\nHost: {api}\\r\\nTransfer-Encoding: chunked\\r\\n"
        headers = {"Lambda_Runtime_Function_Response_Mode": "streaming", **headers}
        head += "".join(f"{name.replace('_', '-')}: {value}\\r\\n" for name, value in headers.items())
        self.socket.sendall(f"{head}\\r\\n".encode())

    def write(self, data):
        self.socket.sendall(b"%x\\r\\n%b\\r\\n" % (len(data), data))

    def end(self, **trailers):
        lines = "".join(f"{name.replace('_', '-')}: {value}\\r\\n" for name, value in trailers.items())
        self.socket.sendall(f"0\\r\\n{lines}\\r\\n".encode())
        answer = http.client.HTTPResponse(self.socket)
        answer.begin()
        answer.read()
        self.socket.close()
        return answer.status

    def fail(self, error):
        body = base64.b64encode(json.dumps(error).encode()).decode()
        kind = error["errorType"]
        return self.end(Lambda_Runtime_Function_Error_Type=kind, Lambda_Runtime_Function_Error_Body=body)


def gate(port):
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.recv(1)


while True:
    request_id, event, _ = take()
    do = event["do"]
    if do == "whole":
        give(request_id, event["value"])
    elif do == "fail":
        fail(request_id, {"errorType": "E", "errorMessage": "m"})
    else:
        stream = Stream(request_id, Content_Type=event.get("type", "text/plain"))
        for piece in event.get("pieces", []):
            if isinstance(piece, int):
                gate(piece)
            else:
                stream.write(piece.encode())
        if do == "stream":
            print("status", stream.end(), flush=True)
        elif do == "break":
            stream.fail({"errorType": "Function.Broke", "errorMessage": "in the middle"})
        elif do == "truncate":
            stream.socket.shutdown(socket.SHUT_WR)
            stream.socket.recv(65536)  # the answer: it has been noticed, before the next poll, on another connection
            stream.socket.close()
        elif do == "die":
            os._exit(3)
        elif do == "hang":
            time.sleep(60)
        elif do == "flood and die":
            threading.Timer(0.3, os._exit, [3]).start()
            for _ in range(event["bytes"] // 65536):
                stream.write(bytes(65536))
        elif do == "flood":
            block = bytes(65536)
            for _ in range(event["bytes"] // 65536):
                stream.write(block)
            print("status", stream.end(), flush=True)
'''


def streamer(folder: Path) -> Path:
    """A folder whose function does what its event's ``do`` says, beginning with ``pieces``; a number is a gate."""
    return bootstrap(folder, STREAMER)


class Gate:
    """Where a function waits until it is let through.

    Attributes:
        port: of the loopback address.
        reached: set when the function is there.
    """

    def __init__(self) -> None:
        self.port = 0
        self.reached = asyncio.Event()
        self._release = asyncio.Event()

    def release(self) -> None:
        """Let it through."""
        self._release.set()

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reached.set()
        await self._release.wait()
        writer.write(b".")
        writer.close()


@asynccontextmanager
async def gate() -> AsyncIterator[Gate]:
    """A gate; open at the latest when the block ends."""
    one = Gate()
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        one.release()
        server.close()
        await server.wait_closed()

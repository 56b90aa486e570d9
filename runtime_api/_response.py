"""HTTP responses, as bytes."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTINUE", "render"]

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

REASONS: Final = {
    200: "OK", 202: "Accepted", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 410: "Gone", 412: "Precondition Failed", 413: "Content Too Large",
    415: "Unsupported Media Type", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
}  # fmt: skip


def render(status: int, body: bytes, content_type: str = "application/json", extra: str = "") -> bytes:
    """A complete response: status line, headers, body. `extra` is whole header lines, each ended by CRLF.

    The Connection header is not this function's business: `HttpConnection.respond` adds it where one is due.
    """
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: {content_type}\r\n"
        f"{extra}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

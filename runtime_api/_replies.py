"""The Runtime API's answers that are always the same, rendered once."""

from __future__ import annotations

from typing import Final

from ._errors import error_body
from ._limits import MAX_PAYLOAD
from .http import render

__all__ = ["ACCEPTED", "INTERNAL", "INVALID_ID", "INVALID_MODE", "PONG", "RESTORED", "TOO_LARGE"]

ACCEPTED: Final = render(202, b'{"status":"OK"}\n')
PONG: Final = render(200, b"pong", "text/plain; charset=utf-8")
RESTORED: Final = render(200, b"")
INVALID_ID: Final = render(400, error_body("InvalidRequestID", "Invalid request ID"))
INVALID_MODE: Final = render(400, error_body("InvalidFunctionResponseMode", "Invalid function response mode"))
TOO_LARGE: Final = render(
    413, error_body("RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).")
)
INTERNAL: Final = render(500, error_body("InternalServerError", "Internal Server Error"))

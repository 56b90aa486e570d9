"""Limits and dates of the Runtime API. Sizes in bytes."""

from __future__ import annotations

from typing import Final

__all__ = [
    "API_VERSION",
    "EXTENSIONS_API_VERSION",
    "LOGS_API_VERSION",
    "MAX_CONNECTIONS",
    "MAX_ERROR_BODY",
    "MAX_ERROR_CAUSE",
    "MAX_EXTENSIONS",
    "MAX_EXTENSION_BODY",
    "MAX_EXTENSION_NAME",
    "MAX_HEAD",
    "MAX_PAYLOAD",
    "MAX_POLLS",
    "MAX_STRAY_BODY",
    "MAX_STREAM",
    "TELEMETRY_API_VERSION",
]

API_VERSION: Final = "2018-06-01"
"""The version date in every Runtime API path."""

EXTENSIONS_API_VERSION: Final = "2020-01-01"
TELEMETRY_API_VERSION: Final = "2022-07-01"
LOGS_API_VERSION: Final = "2020-08-15"
"""Those of the APIs beside it, on the same socket."""

MAX_PAYLOAD: Final = 6 * 1024 * 1024 + 100
"""A buffered response, 6 291 556: AWS's supervisor allows 100 bytes over 6 MiB, and its texts quote this number."""

MAX_STREAM: Final = 200 << 20
"""A streamed response (AWS: "Lambda quotas", 200 MB; a recording shows that they are MiB)."""

MAX_HEAD: Final = (1 << 20) + 4096
"""Request line and headers together. Go's net/http, which AWS's supervisor is built on, has this default; the Java
client sends an X-Ray cause of almost 1 MiB in a header."""

MAX_STRAY_BODY: Final = 64 << 20
"""How much of an oversized body is read and thrown away so that its sender can be told 413 on a usable connection."""

MAX_ERROR_CAUSE: Final = 64 << 10
"""An X-Ray document's limit: a larger cause is cropped."""

MAX_ERROR_BODY: Final = 1 << 20
"""The body of an error, of a runtime with several invocations in flight (facts §12)."""

MAX_POLLS: Final = 64
"""Parked `next` requests of one environment. One runtime needs one; the bound is for runtimes gone wild."""

MAX_CONNECTIONS: Final = 128
"""Connections that one environment may have open. Each costs the engine a descriptor; no client needs more than one per
invocation in flight and one for its extensions each."""

MAX_EXTENSIONS: Final = 10
"""Extensions of one environment, external and internal together."""

MAX_EXTENSION_NAME: Final = 255
"""Characters of an extension's name: an external one's is a file name."""

MAX_EXTENSION_BODY: Final = 256 << 10
"""What an extension may post. AWS sets no limit; no request that means something comes near this."""

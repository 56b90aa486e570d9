"""Limits and dates of the Runtime API. Sizes in bytes."""

from __future__ import annotations

from typing import Final

__all__ = [
    "API_VERSION",
    "MAX_CONNECTIONS",
    "MAX_ERROR_CAUSE",
    "MAX_HEAD",
    "MAX_PAYLOAD",
    "MAX_POLLS",
    "MAX_STRAY_BODY",
]

API_VERSION: Final = "2018-06-01"
"""The version date in every Runtime API path."""

MAX_PAYLOAD: Final = 6 * 1024 * 1024 + 100
"""A buffered response, 6 291 556: AWS's supervisor allows 100 bytes over 6 MiB, and its texts quote this number."""

MAX_HEAD: Final = (1 << 20) + 4096
"""Request line and headers together. Go's net/http, which AWS's supervisor is built on, has this default; the Java
client sends an X-Ray cause of almost 1 MiB in a header."""

MAX_STRAY_BODY: Final = 64 << 20
"""How much of an oversized body is read and thrown away so that its sender can be told 413 on a usable connection."""

MAX_ERROR_CAUSE: Final = 64 << 10
"""An X-Ray document's limit: a larger cause is cropped."""

MAX_POLLS: Final = 64

#: Connections that one environment may have open. Each costs the engine a descriptor; no client needs more than one per
#: invocation in flight and one for its extensions each.
MAX_CONNECTIONS: Final = 128
"""Parked `next` requests of one environment. One runtime needs one; the bound is for runtimes gone wild."""

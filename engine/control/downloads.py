"""Links to code packages that work for ten minutes without credentials, as S3's presigned ones do.

The secret lives as long as the engine: a link does not survive a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from engine.clock import Clock
from engine.errors import AccessDeniedException

LIFETIME_MS: Final = 600_000
PREFIX: Final = "/_lambent/code/"


class Downloads:
    """Signs and checks links.

    Args:
        clock: wall-clock time.
    """

    __slots__ = ("_clock", "_secret")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)

    def link(self, base: str, what: str) -> str:
        """A link to `what`, a path below :data:`PREFIX`, at the server `base` (scheme and authority)."""
        expires = str(self._clock.epoch_ms() + LIFETIME_MS)
        return f"{base}{PREFIX}{what}?expires={expires}&signature={self._sign(what, expires)}"

    def check(self, what: str, expires: str, signature: str) -> None:
        """Whether a link is one of ours and still good.

        Raises:
            AccessDeniedException: it is not.
        """
        if not hmac.compare_digest(self._sign(what, expires).encode(), signature.encode()):
            raise AccessDeniedException("The signature of this link does not match; take a new one from GetFunction")
        if self._clock.epoch_ms() > int(expires):
            raise AccessDeniedException("This link has expired; take a new one from GetFunction")

    def _sign(self, what: str, expires: str) -> str:
        return hmac.new(self._secret, f"{what}\n{expires}".encode(), hashlib.sha256).hexdigest()

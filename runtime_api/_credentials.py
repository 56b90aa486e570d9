"""SnapStart's credentials endpoint: one environment's credentials, for whoever has its token.

A snapshot must not hold credentials that will have expired when it is restored. So a function with SnapStart has no
AWS_ACCESS_KEY_ID and so on; AWS's SDKs fetch them from AWS_CONTAINER_CREDENTIALS_FULL_URI, with the token that is in
AWS_CONTAINER_AUTHORIZATION_TOKEN (aws-lambda-runtime-interface-emulator, `rapi/handler/credentials.go`; facts §4.5).
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from typing import Final

from .http import render

__all__ = ["CREDENTIALS_PATH", "Credentials"]

CREDENTIALS_PATH: Final = "/2021-04-23/credentials"
_REFUSED: Final = render(
    404, b"cannot get credentials for the provided token\n", "text/plain; charset=utf-8"
)  # AWS's words


class Credentials:
    """What the endpoint gives, and to whom.

    Args:
        access_key_id, secret_access_key, session_token: the credentials.
        lifetime_s: how long they are said to be valid, seconds from when they are asked for.

    Attributes:
        token: what a request must have in its Authorization header, made anew for each environment.
    """

    __slots__ = ("_keys", "_lifetime_s", "token")

    def __init__(self, access_key_id: str, secret_access_key: str, session_token: str, *, lifetime_s: float) -> None:
        self.token = secrets.token_urlsafe(32)
        self._keys = {"AccessKeyId": access_key_id, "SecretAccessKey": secret_access_key, "Token": session_token}
        self._lifetime_s = lifetime_s

    def answer(self, authorization: bytes) -> bytes:
        """The whole response to a request with this Authorization header (empty: without)."""
        if not hmac.compare_digest(authorization, self.token.encode()):
            return _REFUSED
        until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self._lifetime_s))
        return render(200, json.dumps({**self._keys, "Expiration": until}).encode())

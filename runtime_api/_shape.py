"""Knowing the head of a runtime's answer by sight, without parsing it.

A runtime answers thousands of times with heads that differ in three places: the request id in the request line, the
digits of Content-Length, and, from clients that know it, the echoed attempt id. The first and the last are known before
the answer comes, and the length follows from the size of what arrived. So, once one answer was parsed and found
ordinary, the head of the next can be *predicted*, and a comparison of bytes says whether the prediction was right. It
is exact: equal bytes mean equal meaning, as the parser's result depends on nothing else; and a prediction that fails
costs a fraction of a microsecond, after which the message is parsed as usual.
"""

from __future__ import annotations

import re
from typing import Final

from ._limits import API_VERSION

__all__ = ["AnswerShape"]

_VARIABLE: Final = re.compile(
    r"(?:\A|\r\n)(?:content-length:[ \t]*(?P<length>\d+)|lambda-runtime-invocation-id:[ \t]*(?P<attempt>[!-~]+))"
    r"(?=[ \t]*\r\n)",
    re.IGNORECASE,
)
_TRIES: Final = 32
"""A client whose heads differ in other places each time is not studied for ever."""


class AnswerShape:
    """The head of a ``POST .../response``, as one runtime writes it.

    Attributes:
        content_type: the Content-Type of such an answer.
    """

    __slots__ = (
        "_after", "_attempt", "_attempt_last", "_before", "_digits", "_fields", "_known", "_prefix", "_request_id",
        "_rest", "_suffix", "_tries", "content_type",
    )  # fmt: skip

    def __init__(self) -> None:
        self.content_type = b""
        self._tries = _TRIES
        self._known = False
        # What stands between the variable parts: fields[0] (attempt fields[1])? digits (fields[1] attempt)? fields[-1]
        self._fields = ("", "", "")
        self._attempt_last: bool | None = None  # None: it is not echoed
        self._request_id = self._attempt = ""
        self._prefix = b""
        self._suffix = b""
        self._rest = -1
        self._digits = b""

    def expect(self, request_id: str, attempt: str) -> None:
        """The next answer is to be about this invocation."""
        self._request_id = request_id
        self._attempt = attempt
        if self._known:
            self._predict()

    def forget(self) -> None:
        """No answer is expected."""
        self._request_id = ""
        self._prefix = b""

    def match(self, data: bytes) -> int:
        """What `data`, read at the beginning of a message, is.

        Returns:
            n > 0: the predicted head, `n` bytes long, and exactly its body; n < 0: the predicted head alone, its body
            of `-n` bytes still to come; 0: something else.
        """
        prefix, suffix = self._prefix, self._suffix
        if not prefix:
            return 0
        rest = len(data) - len(prefix) - len(suffix)
        if rest != self._rest:
            # The digits and the body make up the rest: a body of 10 bytes and "10", 12. There is at most one solution.
            for size in range(1, 7):
                digits = b"%d" % (rest - size)
                if len(digits) == size:
                    self._rest, self._digits = rest, digits
                    break
        if rest == self._rest:
            head = prefix + self._digits + suffix
            length = len(head)
            if data[:length] == head:
                return length
        if 0 < rest < 7 and data.startswith(prefix) and data.endswith(suffix):
            digits = data[len(prefix) : len(prefix) + rest]
            if digits.isdigit():
                return -int(digits)
        return 0

    def learn(self, head: bytes, content_type: bytes) -> None:
        """Study `head`: a complete, parsed, ordinary one: HTTP/1.1, kept alive, with Content-Length, id checked."""
        line = f"POST /{API_VERSION}/runtime/invocation/{self._request_id}/response HTTP/1.1\r\n".encode()
        if not self._tries or not head.startswith(line):
            return
        self._tries -= 1
        fields = head[len(line) :].decode("latin-1")
        length = attempt = (-1, -1)
        for match in _VARIABLE.finditer(fields):
            if match["length"] is not None:
                length = match.span("length")
            elif match["attempt"] == self._attempt:
                attempt = match.span("attempt")
        self._known = length[0] >= 0
        if not self._known:
            return
        if attempt[0] < 0:
            self._attempt_last = None
            self._fields = (fields[: length[0]], "", fields[length[1] :])
        else:
            self._attempt_last = attempt > length
            first, last = (length, attempt) if attempt > length else (attempt, length)
            self._fields = (fields[: first[0]], fields[first[1] : last[0]], fields[last[1] :])
        self.content_type = content_type
        self._rest = -1
        self._predict()

    def _predict(self) -> None:
        first, middle, last = self._fields
        attempt_last = self._attempt_last
        if attempt_last is None:
            suffix = last
        elif attempt_last:
            suffix = f"{middle}{self._attempt}{last}"
        else:
            suffix = last
            first = f"{first}{self._attempt}{middle}"
        self._prefix = f"POST /{API_VERSION}/runtime/invocation/{self._request_id}/response HTTP/1.1\r\n{first}".encode(
            "latin-1"
        )
        self._suffix = suffix.encode("latin-1")

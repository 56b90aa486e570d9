"""Where a page of a list ends, as an opaque word for the client."""

from __future__ import annotations

import base64

from engine.errors import InvalidParameterValueException


def write(place: str) -> str:
    """A marker for this place."""
    return base64.urlsafe_b64encode(place.encode()).decode()


def read(marker: str, operation: str) -> str:
    """The place that a marker stands for.

    Raises:
        InvalidParameterValueException: it is not one of ours.
    """
    try:
        return base64.b64decode(marker.encode(), b"-_", validate=True).decode()
    except ValueError as error:
        raise bad(marker, operation) from error


def bad(marker: str, operation: str) -> InvalidParameterValueException:
    """The refusal of a marker that `operation` never returned."""
    return InvalidParameterValueException(f"The marker {marker!r} is not one that {operation} returned")

"""What a client may call a function: its name, a partial ARN or an ARN, each with or without a qualifier.

``name``, ``name:qualifier``, ``account:function:name[:qualifier]``, ``function:name[:qualifier]``,
``region:account:function:name[:qualifier]``, ``arn:aws:lambda:region:account:function:name[:qualifier]``.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from engine.errors import (
    AccessDeniedException,
    InvalidParameterValueException,
    ResourceNotFoundException,
)

_REGION: Final = r"(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d"
_FORM: Final = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?"
    rf"(?:(?P<region>{_REGION}):)?"
    r"(?:(?P<account>\d{12}):)?"
    r"(?:function:)?"
    r"(?P<name>[a-zA-Z0-9-_.]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9-_]+))?",
    re.ASCII,
)


_LAYER: Final = re.compile(
    r"arn:(?:aws[a-zA-Z-]*)?:lambda:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):layer:(?P<name>[a-zA-Z0-9-_]+)"
    r"(?::(?P<version>[0-9]+))?",
    re.ASCII,
)


class LayerReference(NamedTuple):
    """A layer's ARN taken apart. `version` is None when the ARN has none."""

    region: str
    account: str
    name: str
    version: int | None


class Reference(NamedTuple):
    """A function's bare name and the qualifier asked for, if any."""

    name: str
    qualifier: str | None


class Names:
    """Reads and writes the names of one account in one region."""

    __slots__ = ("_prefix", "account_id", "region")

    def __init__(self, account_id: str, region: str) -> None:
        self.account_id = account_id
        self.region = region
        self._prefix = f"arn:aws:lambda:{region}:{account_id}:function:"

    def arn(self, name: str, qualifier: str | None = None) -> str:
        """The function's ARN, qualified when a qualifier is given."""
        return f"{self._prefix}{name}" if qualifier is None else f"{self._prefix}{name}:{qualifier}"

    def layer_arn(self, name: str) -> str:
        """The ARN of a layer, without a version."""
        return f"arn:aws:lambda:{self.region}:{self.account_id}:layer:{name}"

    def layer(self, arn: str) -> LayerReference | None:
        """Take a layer's ARN apart; None for what is none (a bare name), or is one of AWS's own layers."""
        match = _LAYER.fullmatch(arn)
        if match is None:
            return None
        version = match["version"]
        return LayerReference(
            match["region"], match["account"], match["name"], None if version is None else int(version)
        )

    def not_found(self, name: str, qualifier: str | None = None) -> ResourceNotFoundException:
        """AWS's answer for a function, version or alias that is not there."""
        return ResourceNotFoundException(f"Function not found: {self.arn(name, qualifier)}")

    def resolve(self, function: str, qualifier: str | None = None) -> Reference:
        """Take a name apart. The form was checked before (constraints); here is what the form cannot say.

        Args:
            function: any of the forms above.
            qualifier: the Qualifier parameter, None when absent.

        Raises:
            InvalidParameterValueException: the name and the parameter disagree on the qualifier.
            ResourceNotFoundException: the ARN is of another region, or the name has no valid form.
            AccessDeniedException: the ARN is of another account.
        """
        match = _FORM.fullmatch(function)
        if match is None:
            raise self.not_found(function, qualifier)
        name, derived = match["name"], match["qualifier"]
        if derived is not None and qualifier is not None and derived != qualifier:
            raise InvalidParameterValueException(
                "The derived qualifier from the function name does not match the specified qualifier."
            )
        if match["region"] is not None and match["region"] != self.region:
            raise ResourceNotFoundException(
                f"Functions from '{match['region']}' are not reachable in this region ('{self.region}')"
            )
        if match["account"] is not None and match["account"] != self.account_id:
            raise AccessDeniedException(
                f"The function {function} belongs to account {match['account']}; "
                f"this engine serves account {self.account_id}"
            )
        return Reference(name, derived if derived is not None else qualifier)

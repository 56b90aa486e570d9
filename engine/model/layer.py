"""Layers: versioned packages that are laid over each other at /opt of the functions that name them."""

from __future__ import annotations

from msgspec import Struct


class LayerVersion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of one layer. It never changes; deleting it does not take it from the functions that use it.

    Attributes:
        name: the layer's name, without account or region.
        version: its number, from 1 on.
        layer_arn: the ARN without the version.
        code_sha256: base64 SHA-256 of the zip package, as AWS prints it.
        code_size: bytes of the zip package.
        compatible_runtimes: as given, and without effect; None when none were given, which is not the same as ().
        compatible_architectures: likewise.
        created_date: AWS's string form, ``2024-01-02T03:04:05.678+0000``.
    """

    name: str
    version: int
    layer_arn: str
    code_sha256: str
    code_size: int
    description: str = ""
    license_info: str | None = None
    compatible_runtimes: tuple[str, ...] | None = None
    compatible_architectures: tuple[str, ...] | None = None
    created_date: str = ""

    @property
    def arn(self) -> str:
        """The ARN that a function names."""
        return f"{self.layer_arn}:{self.version}"

    def use(self) -> LayerUse:
        """What a function keeps of it."""
        return LayerUse(arn=self.arn, code_sha256=self.code_sha256, code_size=self.code_size)


class LayerUse(Struct, frozen=True, kw_only=True):
    """A layer version as a function keeps it: enough to go on without the layer's own row."""

    arn: str
    code_sha256: str
    code_size: int

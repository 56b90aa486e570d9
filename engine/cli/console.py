"""What a person sees: errors, notes, tables; colours only on a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any, TextIO

from engine.errors import LambentError


class CommandError(LambentError):
    """A command could not do what it was asked: one paragraph that says what, on what, why, and what to do."""


class Report:
    """What the options say about how to report; the root context's `obj`."""

    __slots__ = ("debug",)

    def __init__(self) -> None:
        self.debug = False


def coloured(stream: TextIO) -> bool:
    """Whether colours may be written there: a terminal, and nobody said NO_COLOR (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def paint(code: str, text: str, stream: TextIO) -> str:
    """Text in an ANSI style, where colours may be written."""
    return f"\033[{code}m{text}\033[0m" if coloured(stream) else text


def note(text: str) -> None:
    """One line to the person, on stderr."""
    sys.stderr.write(paint("2", text, sys.stderr) + "\n")
    sys.stderr.flush()


def warn(text: str) -> None:
    """One line of warning, on stderr."""
    sys.stderr.write(f"{paint('33', 'warning:', sys.stderr)} {text}\n")
    sys.stderr.flush()


def complain(text: str, report: Report, error: BaseException) -> None:
    """One paragraph about an error, on stderr; with --debug, the traceback as well."""
    if report.debug:
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"{paint('1;31', 'lambent:', sys.stderr)} {text.strip()}\n")
    sys.stderr.flush()


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in {0x09, 0x0A}}
_COLOUR = re.compile("(\033\\[[0-9;]*m)")


def clean(text: str, stream: TextIO) -> str:
    """Text of a function for a terminal, which it must not be able to drive: control characters are spelled out.

    Colours may stay, and end with the text. A carriage return, by which Lambda's runtimes keep a stack trace in one
    record, becomes a line break. Elsewhere than on a terminal the text is left as it is.
    """
    if not stream.isatty():
        return text
    pieces = _COLOUR.split(text.replace("\r\n", "\n").replace("\r", "\n"))
    if len(pieces) == 1:
        return pieces[0].translate(_CONTROL)
    kept = coloured(stream)
    out = [piece.translate(_CONTROL) if index % 2 == 0 else piece * kept for index, piece in enumerate(pieces)]
    return "".join(out) + "\033[0m" * kept


def emit(payload: bytes) -> None:
    """A payload on stdout, byte for byte, and a newline."""
    sys.stdout.flush()
    sys.stdout.buffer.write(payload + b"\n")
    sys.stdout.buffer.flush()


def emit_json(value: Any) -> None:
    """A value for a program, on stdout: one line of JSON."""
    import json

    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[str] = ()) -> None:
    """A table on stdout: drawn by rich on a terminal, aligned plain lines elsewhere.

    Args:
        columns: the headings.
        rows: one text per column.
        right: headings of the columns that are aligned to the right.
    """
    if sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for column in columns:
            drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(clean(cell, sys.stdout)) for cell in row))
        Console(highlight=False).print(drawn)
        return
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")

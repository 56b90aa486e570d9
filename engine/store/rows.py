"""Functions as rows: what the registry runs in the database's thread. A version's body is its Struct as JSON."""

from __future__ import annotations

import sqlite3

import msgspec

from engine.errors import DataDirectoryError
from engine.model.function import LATEST, FunctionVersion

Row = tuple[str, str, str, int | None]
"""Name, body, tags, reserved concurrency."""


def load(db: sqlite3.Connection) -> list[Row]:
    """Every function, in the order of names."""
    return db.execute(
        "SELECT name, body, tags, reserved FROM functions JOIN versions USING (name) WHERE version = ? ORDER BY name",
        (LATEST,),
    ).fetchall()


def read(row: Row) -> tuple[FunctionVersion, dict[str, str]]:
    """A row's function and tags. Members that a later version added are ignored.

    Raises:
        DataDirectoryError: the row is damaged; the message names the function.
    """
    name, body, tags, _ = row
    try:
        return msgspec.json.decode(body, type=FunctionVersion), msgspec.json.decode(tags, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise DataDirectoryError(
            f"the function {name!r} in the database cannot be read: {error}; "
            "restore the file from a backup, or delete that row from the tables functions and versions"
        ) from error


def insert(db: sqlite3.Connection, function: FunctionVersion, tags: dict[str, str]) -> None:
    """A new function."""
    db.execute("INSERT INTO functions (name, tags) VALUES (?, ?)", (function.name, _json(tags)))
    db.execute("INSERT INTO versions (name, version, body) VALUES (?, ?, ?)", (function.name, LATEST, _json(function)))


def update(db: sqlite3.Connection, function: FunctionVersion) -> None:
    """A changed function."""
    db.execute("UPDATE versions SET body = ? WHERE name = ? AND version = ?", (_json(function), function.name, LATEST))


def delete(db: sqlite3.Connection, name: str) -> None:
    """A function and all its versions."""
    db.execute("DELETE FROM functions WHERE name = ?", (name,))


def set_tags(db: sqlite3.Connection, name: str, tags: dict[str, str]) -> None:
    """All tags of a function."""
    db.execute("UPDATE functions SET tags = ? WHERE name = ?", (_json(tags), name))


def set_reserved(db: sqlite3.Connection, name: str, limit: int | None) -> None:
    """A function's reserved concurrency, None for none."""
    db.execute("UPDATE functions SET reserved = ? WHERE name = ?", (limit, name))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

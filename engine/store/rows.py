"""Functions and layers as rows: what runs in the database's thread. A version's body is its Struct as JSON."""

from __future__ import annotations

import sqlite3

import msgspec

from engine.errors import DataDirectoryError
from engine.model.function import LATEST, FunctionVersion
from engine.model.layer import LayerVersion

Row = tuple[str, str, str, str, int | None, int]
"""Name, version, body, tags, reserved concurrency, next version."""


def load(db: sqlite3.Connection) -> list[Row]:
    """Every version of every function, in the order of names; a function's ``$LATEST`` first, then by number."""
    found: list[Row] = db.execute(
        "SELECT name, version, body, tags, reserved, next_version FROM functions JOIN versions USING (name)"
    ).fetchall()
    return sorted(found, key=lambda row: (row[0], 0 if row[1] == LATEST else int(row[1])))


def read(row: Row) -> tuple[FunctionVersion, dict[str, str]]:
    """A row's version and its function's tags. Members that a later version of Lambent added are ignored.

    Raises:
        DataDirectoryError: the row is damaged; the message names the function.
    """
    name, version, body, tags, *_ = row
    try:
        return msgspec.json.decode(body, type=FunctionVersion), msgspec.json.decode(tags, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise DataDirectoryError(
            f"the version {version} of the function {name!r} in the database cannot be read: {error}; "
            "restore the file from a backup, or delete that row from the tables functions and versions"
        ) from error


def insert(db: sqlite3.Connection, function: FunctionVersion, tags: dict[str, str]) -> None:
    """A new function."""
    db.execute("INSERT INTO functions (name, tags) VALUES (?, ?)", (function.name, _json(tags)))
    _insert(db, function)


def publish(db: sqlite3.Connection, version: FunctionVersion) -> None:
    """A new version of a function; its number is used for good."""
    db.execute("UPDATE functions SET next_version = ? WHERE name = ?", (int(version.version) + 1, version.name))
    _insert(db, version)


def update(db: sqlite3.Connection, function: FunctionVersion) -> None:
    """A changed version."""
    db.execute(
        "UPDATE versions SET body = ? WHERE name = ? AND version = ?",
        (_json(function), function.name, function.version),
    )


def delete(db: sqlite3.Connection, name: str) -> None:
    """A function and all its versions."""
    db.execute("DELETE FROM functions WHERE name = ?", (name,))


def delete_version(db: sqlite3.Connection, version: FunctionVersion) -> None:
    """One published version."""
    db.execute("DELETE FROM versions WHERE name = ? AND version = ?", (version.name, version.version))


def set_tags(db: sqlite3.Connection, name: str, tags: dict[str, str]) -> None:
    """All tags of a function."""
    db.execute("UPDATE functions SET tags = ? WHERE name = ?", (_json(tags), name))


def set_reserved(db: sqlite3.Connection, name: str, limit: int | None) -> None:
    """A function's reserved concurrency, None for none."""
    db.execute("UPDATE functions SET reserved = ? WHERE name = ?", (limit, name))


def load_layers(db: sqlite3.Connection) -> tuple[list[tuple[str, int]], list[tuple[str, int, str]]]:
    """Every layer with its next version, also those without any left; every version's name, number and body."""
    return (
        db.execute("SELECT name, next_version FROM layers ORDER BY name").fetchall(),
        db.execute("SELECT name, version, body FROM layer_versions ORDER BY name, version").fetchall(),
    )


def read_layer(row: tuple[str, int, str]) -> LayerVersion:
    """A row's layer version.

    Raises:
        DataDirectoryError: the row is damaged; the message names the layer.
    """
    name, version, body = row
    try:
        return msgspec.json.decode(body, type=LayerVersion)
    except msgspec.MsgspecError as error:
        raise DataDirectoryError(
            f"the version {version} of the layer {name!r} in the database cannot be read: {error}; "
            "restore the file from a backup, or delete that row from the table layer_versions"
        ) from error


def publish_layer(db: sqlite3.Connection, layer: LayerVersion) -> None:
    """A new version of a layer, which is made with its first; its number is used for good."""
    db.execute(
        "INSERT INTO layers (name, next_version) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET next_version = excluded.next_version",
        (layer.name, layer.version + 1),
    )
    db.execute(
        "INSERT INTO layer_versions (name, version, body) VALUES (?, ?, ?)", (layer.name, layer.version, _json(layer))
    )


def delete_layer(db: sqlite3.Connection, layer: LayerVersion) -> None:
    """One version of a layer."""
    db.execute("DELETE FROM layer_versions WHERE name = ? AND version = ?", (layer.name, layer.version))


def _insert(db: sqlite3.Connection, version: FunctionVersion) -> None:
    db.execute(
        "INSERT INTO versions (name, version, body) VALUES (?, ?, ?)", (version.name, version.version, _json(version))
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

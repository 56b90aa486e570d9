"""The schema, as the steps that led to it. ``PRAGMA user_version`` counts the steps done; a step is never edited."""

from __future__ import annotations

from typing import Final

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE functions (
            name     TEXT PRIMARY KEY,
            tags     TEXT NOT NULL DEFAULT '{}',
            reserved INTEGER
        )
        """,
        """
        CREATE TABLE versions (
            name    TEXT NOT NULL REFERENCES functions (name) ON DELETE CASCADE,
            version TEXT NOT NULL,
            body    TEXT NOT NULL,
            PRIMARY KEY (name, version)
        )
        """,
    ),
    ("ALTER TABLE functions ADD COLUMN next_version INTEGER NOT NULL DEFAULT 1",),
    (
        """
        CREATE TABLE layers (
            name         TEXT PRIMARY KEY,
            next_version INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE layer_versions (
            name    TEXT NOT NULL REFERENCES layers (name),
            version INTEGER NOT NULL,
            body    TEXT NOT NULL,
            PRIMARY KEY (name, version)
        )
        """,
    ),
)

"""What is kept: functions, their settings and their code, on disk under one data directory.

::

    DATA/                 0711   traversable, so that a sandbox under another uid reaches the trees; not listable
    ├── lock              0600   flock'ed by the one engine that uses the directory; holds its pid
    ├── lambent.db        0600   SQLite, WAL: function and layer versions (JSON), tags, reserved concurrency
    └── code/             0711
        ├── <sha256 hex>/ 0711   one per distinct package, of functions or layers, whoever uses it
        │   ├── package.zip  0600   the bytes that were uploaded
        │   └── tree/     0755   the same, unpacked once: files 0644, or 0755 when executable
        └── <blake2s hex>/ 0711  one per distinct list of two and more layers of a function
            └── tree/     0755   the layers merged, in hard links: what the function sees at /opt

Order makes it safe. A package is complete and on the disk (temporary folder, sync, rename, sync) before a row names it;
a row is committed (WAL, synchronous=FULL) before memory changes; memory changes before subscribers hear of it and the
caller gets an answer. A crash between two steps leaves at most a package that no row names, removed at the next start.

A row of a function names its package, its layers' packages and their merged tree, so none of them goes before it does:
deleting a layer takes it from those who would use it next. A published version is a row of its own and names its own.
"""

from engine.store.code import CodeStore
from engine.store.folder import pack_folder
from engine.store.registry import FunctionChange, FunctionRegistry
from engine.store.requests import (
    CreateFunctionRequest,
    FunctionCode,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)

__all__ = [
    "CodeStore",
    "CreateFunctionRequest",
    "FunctionChange",
    "FunctionCode",
    "FunctionRegistry",
    "PublishVersionRequest",
    "UpdateFunctionCodeRequest",
    "UpdateFunctionConfigurationRequest",
    "pack_folder",
]

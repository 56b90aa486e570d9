"""What the handlers share, kept in the application under typed keys."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from engine.control.downloads import Downloads
from engine.store.registry import FunctionRegistry

REGISTRY: Final = web.AppKey("registry", FunctionRegistry)
DOWNLOADS: Final = web.AppKey("downloads", Downloads)
HOT_RELOAD: Final = web.AppKey("hot_reload", bool)

REQUEST_ID: Final = web.RequestKey("request_id", str)
OPERATION: Final = web.RequestKey("operation", str)

"""The AWS-compatible HTTP surface of the control plane, on aiohttp.

``operations.py`` is the API's table; ``app.py`` mounts it, with handlers for what is built and 501 for the rest;
``validation.py`` reads requests, ``render.py`` writes answers and errors. What is allowed and what happens is
decided by :mod:`engine.store`.
"""

from engine.control.app import make_app
from engine.control.render import Handler

__all__ = ["Handler", "make_app"]

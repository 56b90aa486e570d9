"""The account: limits and use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from engine.control import render
from engine.control.services import REGISTRY
from engine.model.limits import MAX_UNZIPPED, MAX_ZIPPED

TOTAL_CODE_SIZE: Final = 322_122_547_200
"""300 GB, AWS's quota (facts §5.3). Shown, not enforced: here the disk is the limit."""


async def get_account_settings(request: web.Request) -> web.StreamResponse:
    """GetAccountSettings."""
    registry = request.app[REGISTRY]
    count, size = registry.usage()
    return render.json_response(
        {
            "AccountLimit": {
                "TotalCodeSize": TOTAL_CODE_SIZE,
                "CodeSizeUnzipped": MAX_UNZIPPED,
                "CodeSizeZipped": MAX_ZIPPED,
                "ConcurrentExecutions": registry.account_concurrency,
                "UnreservedConcurrentExecutions": registry.account_concurrency - registry.reserved_total(),
            },
            "AccountUsage": {"TotalCodeSize": size, "FunctionCount": count},
        }
    )


HANDLERS: Final[Mapping[str, render.Handler]] = {"GetAccountSettings": get_account_settings}

"""Settings as the arguments of an `Engine`."""

from __future__ import annotations

from typing import Any

from engine.settings import Settings


def engine_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments for `Engine`, without `data_dir`: serve keeps data, run and demo do not."""
    return {
        "isolation": settings.isolation,
        "network": settings.network,
        "memory_mb": settings.memory_mb,
        "account_concurrency": settings.account_concurrency,
        "log_limit_mb": settings.log_limit_mb,
        "keep_alive_s": settings.keep_alive_s,
        "wait_limit_s": settings.wait_limit_s,
        "init_timeout_s": settings.init_timeout_s,
        "freeze_after_ms": settings.freeze_after_ms,
        "account_id": settings.account_id,
        "region": settings.region,
    }

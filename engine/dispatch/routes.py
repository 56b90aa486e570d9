"""A route: one way of addressing one function revision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.dispatch.deployment import Deployment
from engine.model.function import FunctionVersion

if TYPE_CHECKING:
    from engine.model.invocation import Invocation
    from engine.scheduler import Pool


class Route:
    """What a caller's name and qualifier lead to. Made once per spelling, then found by one dict lookup.

    Attributes:
        function: the revision that answers.
        arn: the ARN as the caller addressed it, with the qualifier if there was one (facts §1.3).
        pool: where its environments are.
        live: the function runs from a folder that is looked at before each invocation (hot reload).
        sampler: decides which requests are sampled, where the function's tracing is Active; else None.
        head: the part of a successful reply's head that is the same for every invocation.
    """

    __slots__ = ("arn", "deployment", "function", "head", "live", "pool", "sampler")

    def __init__(self, deployment: Deployment, arn: str, pool: Pool[Invocation]) -> None:
        self.deployment = deployment
        self.function: FunctionVersion = deployment.function
        self.arn = arn
        self.pool = pool
        self.live = deployment.function.source_dir is not None
        self.sampler = deployment.sampler
        self.head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-amzn-Remapped-Content-Length: 0\r\n"
            f"X-Amz-Executed-Version: {deployment.function.version}\r\n"
        ).encode()

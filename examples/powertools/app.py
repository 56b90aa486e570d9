"""Powertools for AWS Lambda: routes of an HTTP API, structured logs and metrics, as on Lambda."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

logger = Logger(service="shop")
metrics = Metrics(namespace="Lambent", service="shop")
app = APIGatewayHttpResolver()
PRICES = {"tea": 3, "coffee": 4}


@app.get("/prices/<name>")
def price(name: str) -> dict[str, Any]:
    """What something costs."""
    if name not in PRICES:
        raise NotFoundError(f"there is no {name}")
    logger.info("asked for a price", extra={"item": name})
    metrics.add_metric(name="Asked", unit=MetricUnit.Count, value=1)
    return {"name": name, "price": PRICES[name]}


@logger.inject_lambda_context
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The function's handler."""
    return app.resolve(event, context)

"""Events as an HTTP API of API Gateway (payload format 2.0) and a function URL send them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit


def request(method: str, url: str, body: object = None, **headers: str) -> dict[str, Any]:
    """The event of a request; `body` is sent as JSON, `headers` have their dashes as underscores.

    Shape: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    parts = urlsplit(url)
    given = {"host": "api.test", "x-forwarded-proto": "https", "x-forwarded-port": "443", "user-agent": "tests"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None:
        given["content-type"] = "application/json"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": given,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "api",
            "domainName": "api.test",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": parts.path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "tests",
            },
            "requestId": "request-of-the-gateway",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238000,
        },
        "isBase64Encoded": False,
    }
    if parts.query:
        event["queryStringParameters"] = dict(parse_qsl(parts.query))
    if body is not None:
        event["body"] = json.dumps(body)
    return event

"""CloudWatch Logs, as far as people use it on functions: the ``aws logs`` commands and SDK calls that read logs.

The protocol is AWS's JSON 1.1: every operation is ``POST /`` with its name in ``X-Amz-Target`` (`api`). What is kept is
`engine.telemetry.store`'s business. `groups` has the operations on log groups and streams, `reading` those on events,
`pattern` what FilterLogEvents filters by.
"""

from engine.control.cloudwatch.api import add_cloudwatch_route

__all__ = ["add_cloudwatch_route"]

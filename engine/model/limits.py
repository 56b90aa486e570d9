"""Lambda's limits (AWS: "Lambda quotas"; botocore's model). Sizes in bytes unless the name says otherwise."""

from __future__ import annotations

MAX_PAYLOAD = 6_291_556
"""Synchronous payload each way: 6 MiB + 100 bytes, as enforced; error texts quote this number."""

MEMORY_MB_MIN, MEMORY_MB_MAX = 128, 10_240
TIMEOUT_S_MIN, TIMEOUT_S_MAX = 1, 900
EPHEMERAL_MB_MIN, EPHEMERAL_MB_MAX = 512, 10_240
MAX_ENVIRONMENT_JSON = 4_096
MAX_CLIENT_CONTEXT_B64 = 3_583
MAX_ZIPPED = 52_428_800
MAX_UNZIPPED = 262_144_000
MAX_CREATE_BODY = 70_167_211
MAX_LAYERS = 5
MAX_TAGS = 50
INIT_TIMEOUT_S = 10.0
"""On-demand Init budget (AWS: "Lambda execution environment lifecycle")."""

ACCOUNT_CONCURRENCY = 1_000
UNRESERVED_FLOOR = 100
MB_PER_VCPU = 1_769
"""MemorySize at which a function has one full core."""

TAIL_BYTES = 4_096
"""LogType=Tail returns the last 4 KB."""

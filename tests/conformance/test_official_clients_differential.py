"""Our Python runtime against awslambdaric itself: the same function, the same event, and the bytes must be the same."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import pytest

import bootstraps
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

OURS = [sys.executable, *(bootstraps.command(f"python3.{sys.version_info[1]}") or [])[1:]]
THEIRS = [sys.executable, "-m", "awslambdaric", "app.handler"]
HEADERS = ("content-type", "lambda-runtime-invocation-id")

FUNCTIONS = {
    "values": "def handler(e, c): return {'a': [1, -2.5, 1e300, True, None, 'é\\u2028\\x7f\\x00\"\\\\/'], 'b': e}",
    "keys": "def handler(e, c): return {1: 1, 2.5: 2, None: 3, 'k': 4, b'b': 5}",
    "decimals": "from decimal import Decimal as D\ndef handler(e, c): return [D('1.10'), D('-0'), D('1E+5'), D('NaN'), 'D']",
    "floats": "def handler(e, c): return [float('nan'), float('inf'), -float('inf'), 1e16, 0.1, -0.0]",
    "bytes": "def handler(e, c): return b'\\x00raw'",
    "inner bytes": "def handler(e, c): return {'b': b'caf\\xc3\\xa9'}",
    "namedtuples": "import collections\nP = collections.namedtuple('P', 'x y')\ndef handler(e, c): return [P(1, P(2, 3))]",
    "subclasses": (
        "import enum, collections\n"
        "class S(str): pass\nclass I(int): pass\nclass E(enum.IntEnum): ONE = 1\n"
        "def handler(e, c): return [S('s'), I(7), E.ONE, collections.OrderedDict(z=1, a=2), (1,)]"
    ),
    "set": "def handler(e, c): return {1}",
    "object": "def handler(e, c): return object",
    "circular": "x = []\nx.append(x)\ndef handler(e, c): return x",
    "deep": "import sys\ndef handler(e, c):\n    x = []\n    for _ in range(100000): x = [x]\n    return x",
    "tuple key": "def handler(e, c): return {(1,): 2}",
    "generator": "def handler(e, c): return (i for i in [1])",
    "coroutine": "async def handler(e, c): return 1",
    "exception": "def handler(e, c): raise ValueError('bad', 'é\\n', 3)",
    "own exception": "class MyError(Exception):\n    def __str__(self): return 'mine'\ndef handler(e, c): raise MyError",
    "empty exception": "def handler(e, c): raise RuntimeError",
    "chained": "def handler(e, c):\n    try:\n        1 / 0\n    except Exception as x:\n        raise KeyError('k') from x",
    "recursion": "def handler(e, c): return handler(e, c)",
    "not callable": "handler = 1",
    "wrong arity": "def handler(e): return 1",
    "repr": "def handler(e, c): return repr(c)",
    "context log": "def handler(e, c): c.log('logged\\n'); c.log(7)",
    "print": "import sys\ndef handler(e, c): print('a', 'b'); print('e', file=sys.stderr); sys.stdout.write('no end')",
    "logging": "import logging\nlogging.warning('early')\ndef handler(e, c): logging.error('late %s\\nx', 1); logging.info('no')",
    "trace": "import os\ndef handler(e, c): return os.environ['_X_AMZN_TRACE_ID']",
    "missing module": "import nowhere",
    "missing name": "from os import nowhere",
    "missing handler": "",
    "syntax": "def handler(:",
    "indent": "def handler(e, c):\nreturn 1",
}  # fmt: skip


def observe(command: list[str], folder: Path, env: dict[str, str]) -> tuple[object, ...]:
    """What a runtime posts and prints for one invocation, without what differs from run to run."""
    with ScriptedRuntimeApi() as api, api.start(command, cwd=folder, env=env) as runtime:
        api.send(
            b'{"k": "\xc3\xa9", "n": 1.5, "big": 123456789012345678901234567890}', request_id="rid", deadline_ms="9",
            client_context='{"custom": {"x": 1}, "client": {"app_title": "t"}}', invocation_id="attempt",
            cognito_identity='{"cognitoIdentityId": "i"}',
        )  # fmt: skip
        posted = api.posted()
        if posted.path.endswith("init/error"):
            assert runtime.wait() == 1
        else:
            # Everything printed for this invocation is out when the next one has been asked for.
            api.send(b"{}", request_id="second")
            api.posted()
        printed = runtime.output().split("second")[0]
    headers: dict[str, object] = {name: posted.headers.get(name) for name in HEADERS}
    if posted.path.endswith("init/error"):
        headers["content-type"] = None  # theirs says nothing
    cause = json.loads(posted.headers.get("lambda-runtime-function-xray-error-cause", "null"))
    for exception in cause["exceptions"] if cause else ():
        exception["stack"] = [one for one in exception["stack"] if not one["path"].endswith("/bootstrap.py")][:50]
        cause["paths"] = [one for one in cause["paths"] if not one.endswith("/bootstrap.py")]
    headers["cause"] = cause
    printed = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", printed)
    # AWS advises to look at runtime updates, which there are none of here.
    printed = re.sub(r"\[WARNING\]\t<time>\t\tLAMBDA_WARNING: .*?\r\n", "", printed)
    return posted.path, frameless(posted.body.decode("utf-8", "replace")), headers, frameless(printed)


def frameless(text: str) -> str:
    """Without the runtime's own frames, and without the depth at which a recursion was stopped."""
    text = re.sub(r'"  File \\"[^"]*/bootstrap\.py\\", line .*?\\n"', "<own frame>", text)
    text = re.sub(r'\xa0\xa0File "[^"]*/bootstrap\.py", line \d+, in \w+\r[^\r\n]*', "<own frame>", text)
    text = re.sub(r"\S*/bootstrap\.py:\d+: (RuntimeWarning: .*)\n(  .*\n)?(.*\n)?", "", text)
    return re.sub(r"repeated \d+ more", "repeated N more", text)


@pytest.mark.parametrize("runtime", ["AWS_Lambda_python3.11", "AWS_Lambda_python3.12"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bytes_are_those_of_awslambdaric(name, runtime, tmp_path):
    (tmp_path / "app.py").write_text(textwrap.dedent(FUNCTIONS[name]))
    env = {"AWS_EXECUTION_ENV": runtime}
    path, body, headers, printed = observe(OURS, tmp_path, env)
    their_path, their_body, their_headers, their_printed = observe(THEIRS, tmp_path, env)
    assert path == their_path
    assert body == their_body
    assert headers == their_headers
    assert printed == their_printed

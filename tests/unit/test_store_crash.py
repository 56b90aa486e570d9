"""SIGKILL at any moment: what was acknowledged is there at the next start, whole; what was not is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.clock import SystemClock
from engine.store import FunctionRegistry

#: Creates, updates and deletes functions for ever; a line on stdout after each acknowledged change.
WRITER = """
import asyncio, json, random, sys
from pathlib import Path
from engine.clock import SystemClock
from engine.store import *
from tests.support.packages import package

async def main(path, seed):
    chance = random.Random(seed)
    registry = FunctionRegistry(Path(path), account_id="000000000000", region="us-east-1", clock=SystemClock())
    await registry.open()
    print("open", flush=True)
    content = {name: registry.get(name).description for name in registry._sorted}
    async def one(worker):
        step = 0
        while True:
            step += 1
            name, text = f"w{worker}-{chance.randrange(3)}", f"{seed}-{worker}-{step}"
            data = package({"app.py": text, "filler": text * 2000, **{f"m{n}.py": "x" for n in range(20)}})
            print(json.dumps(["begin", name, text]), flush=True)
            if name not in content:
                await registry.create(CreateFunctionRequest(
                    function_name=name, runtime="python3.12", handler="app.handler", description=text,
                    role="arn:aws:iam::000000000000:role/r", code=FunctionCode(zip_file=data)))
                content[name] = text
            elif chance.random() < 0.3:
                await registry.delete(name)
                del content[name]
                text = None
            else:
                await registry.update_code(UpdateFunctionCodeRequest(function_name=name, zip_file=data))
                print(json.dumps(["code", name, text]), flush=True)
                await registry.update_configuration(
                    UpdateFunctionConfigurationRequest(function_name=name, description=text))
                content[name] = text
            print(json.dumps(["done", name, text]), flush=True)
    await asyncio.gather(*(one(worker) for worker in range(3)))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def write_and_kill(folder, seed, lines):
    """Run the writer, kill it after so many lines, and return all it said."""
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(seed)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as child:
        assert child.stdout.readline() == "open\n"
        said = [json.loads(child.stdout.readline()) for _ in range(lines)]
        child.kill()
        rest = child.stdout.read()
    return said + [json.loads(line) for line in rest.rpartition("\n")[0].splitlines()]  # the last may be cut short


def whole(registry, name):
    """(description, code) of a function, after a look at every file of it."""
    function = registry.get(name)
    assert function.state == "Active"
    zipped = registry.package_path(function)
    assert zipped.parent.name == hashlib.sha256(zipped.read_bytes()).hexdigest()
    tree = Path(registry.code_root(function))
    text = (tree / "app.py").read_text()
    assert (tree / "filler").read_text() == text * 2000
    assert len(list(tree.iterdir())) == 22
    return function.description, text


@pytest.mark.slow
async def test_a_kill_in_the_middle_of_writes_loses_nothing_that_was_acknowledged(tmp_path):
    known: dict[str, tuple[str, str]] = {}
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    for cycle in range(4):
        lines = random.Random(seed + cycle).randrange(5, 60)
        under_way: dict[str, str] = {}
        for what, name, text in write_and_kill(tmp_path, seed + cycle, lines):
            if what == "begin":
                under_way[name] = text
            elif what == "code":
                known[name] = (known[name][0], text)
            else:
                del under_way[name]
                known[name] = (text, text)
                if text is None:
                    del known[name]
        registry = FunctionRegistry(tmp_path, account_id="000000000000", region="us-east-1", clock=SystemClock())
        await registry.open()
        found = {name: whole(registry, name) for name in registry._sorted}
        for name, text in under_way.items():  # done or not done, each step of it, and nothing else
            before = known.pop(name, None)
            after = found.get(name)
            assert after in {None, before, (text, text), before and (before[0], text)}
            if after is not None:
                known[name] = after
        assert found == known
        in_use = {registry.package_path(registry.get(name)).parent.name for name in found}
        assert {path.name for path in (tmp_path / "code").iterdir()} == in_use
        await registry.close()
        with sqlite3.connect(tmp_path / "lambent.db") as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        db.close()

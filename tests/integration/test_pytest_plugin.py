"""The fixture that people use in their own test suites, in a suite of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def test_a_suite_elsewhere_gets_an_engine_and_nothing_of_it_is_left(tmp_path):
    function = tmp_path / "adder"
    function.mkdir()
    (function / "app.py").write_text("def handler(event, context):\n    return event['a'] + event['b']\n")
    (tmp_path / "test_adder.py").write_text(
        textwrap.dedent(
            f"""
            import pytest

            seen = []

            @pytest.mark.anyio
            async def test_adder(lambent_engine):
                seen.append(lambent_engine.data_dir)
                adder = await lambent_engine.create_function(
                    "adder", code={str(function)!r}, runtime="python3.11", handler="app.handler"
                )
                result = await adder.invoke({{"a": 1, "b": 2}})
                assert result.json() == 3
                assert result.cold

            @pytest.fixture
            def anyio_backend():
                return "asyncio"

            def test_nothing_is_left():
                assert seen and not seen[0].exists()
            """
        )
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout

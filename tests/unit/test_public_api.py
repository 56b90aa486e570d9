"""What the packages promise by name, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import engine
import runtime_api


@pytest.mark.parametrize("package", [engine, runtime_api])
def test_every_promised_name_is_there(package):
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Motor'"):
        _ = engine.Motor


def test_importing_the_package_loads_neither_a_web_server_nor_the_engine():
    program = (
        "import sys, engine; print([m for m in ('aiohttp', 'uvloop', 'psutil', 'engine.engine') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_embedding_loads_no_web_server():
    program = "import sys; from engine import Engine; print('aiohttp' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"

"""Layers at run time, in both isolation modes: what is in them is found where Lambda's runtimes find it."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import anyio
import pytest

from engine import Engine
from engine.sandbox import users
from tests.support import preloading
from tests.support.functions import _PRELUDE, ECHO, PYTHON, bootstrap, python_function
from tests.support.preloading import need_sandboxes, started_by, until_ready, warm_up
from tests.support.require import requires
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)

#: Whether functions run as users of their own in process mode.
OWN_USERS = users.why_not() is None

PYTHON_USES = """
import ctypes, json, os, subprocess, sys
import of_layer, of_site, both

OPT = os.environ.get("LAMBENT_OPT", "/opt")

def writable(path):
    try:
        open(path, "a").close()
        return True
    except OSError:
        return False

def handler(event, context):
    return {
        "modules": [of_layer.NAME, of_site.NAME, both.NAME],
        "tool": subprocess.run(["layer-tool"], capture_output=True, text=True, check=True).stdout,
        "library": ctypes.CDLL("liblambentlayer.so").answer(),
        "file": open(os.path.join(OPT, "etc/data")).read(),
        "writable": [writable(os.path.join(OPT, "etc/data")), writable(os.path.join(OPT, "new"))],
        "opt": sorted(os.listdir(OPT)),
        "where": OPT,
    }
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param, freeze_after_ms=0) as running:
        yield running


def files(folder: Path, content: dict[str, str | bytes], *, executable: tuple[str, ...] = ()) -> Path:
    for name, text in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        if name in executable:
            path.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> bytes:
    """A shared library with a function `answer`."""
    requires("cc", because="it builds a shared library for a layer")
    folder = tmp_path_factory.mktemp("library")
    (folder / "answer.c").write_text("int answer(void) { return 42; }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "lib.so", "answer.c"], cwd=folder, check=True)
    return (folder / "lib.so").read_bytes()


def python_layers(folder: Path, library: bytes) -> list[Path]:
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    base = files(
        folder / "base",
        {
            "python/of_layer.py": "NAME = 'layer'",
            "python/both.py": "NAME = 'earlier'",
            f"python/lib/{version}/site-packages/of_site.py": "NAME = 'site'",
            "bin/layer-tool": "#!/bin/sh\necho tool of the layer\n",
        },
        executable=("bin/layer-tool",),
    )
    more = files(
        folder / "more",
        {"python/both.py": "NAME = 'later'", "lib/liblambentlayer.so": library, "etc/data": "data of the layer"},
    )
    return [base, more]


def expect(answer: dict[str, object]) -> None:
    where = str(answer.pop("where"))
    writable = answer.pop("writable")
    if where == "/opt" or OWN_USERS:
        assert writable == [False, False]
    assert answer == {
        "modules": ["layer", "site", "later"],
        "tool": "tool of the layer\n",
        "library": 42,
        "file": "data of the layer",
        "opt": ["bin", "etc", "lib", "python"],
    }


async def test_python_finds_modules_programs_libraries_and_files_of_its_layers(engine, tmp_path, library):
    function = await engine.create_function(
        "f",
        code=python_function(tmp_path / "code", PYTHON_USES),
        runtime=preloading.RUNTIME,
        handler="app.handler",
        layers=python_layers(tmp_path, library),
        timeout_s=20,
    )
    result = await function.invoke({})
    assert result.function_error is None, result.payload
    expect(result.json())


async def test_a_preloaded_python_finds_all_of_it_too(no_leaks, tmp_path, open_folder, library):
    await anyio.to_thread.run_sync(need_sandboxes)
    async with Engine(data_dir=open_folder / "data", isolation="sandbox", memory_mb=100_000) as engine:
        await warm_up(engine, tmp_path)
        function = await engine.create_function(
            "f",
            code=python_function(tmp_path / "code", PYTHON_USES),
            runtime=preloading.RUNTIME,
            handler="app.handler",
            layers=python_layers(tmp_path, library),
            timeout_s=20,
        )
        result = await function.invoke({})
        assert result.function_error is None, result.payload
        assert started_by(engine, result) == "preloaded"
        expect(result.json())

        # A layer with a module by the name of one that is imported ahead: that one must not be there instead.
        await until_ready(engine.provider)
        shadow = files(tmp_path / "shadow", {"python/decimal.py": "NAME = 'of the layer'"})
        code = python_function(
            tmp_path / "other", "import decimal\ndef handler(event, context): return getattr(decimal, 'NAME', None)"
        )
        function = await engine.create_function(
            "g", code=code, runtime=preloading.RUNTIME, handler="app.handler", layers=[shadow]
        )
        assert (await function.invoke({})).json() == "of the layer"


async def test_a_module_of_the_function_comes_before_one_of_a_layer(engine, tmp_path):
    layer = files(tmp_path / "layer", {"python/mine.py": "NAME = 'layer'", "python/json.py": "NAME = 'layer'"})
    code = python_function(
        tmp_path / "code", "import mine, json\ndef handler(event, context): return [mine.NAME, json.NAME]"
    )
    (code / "mine.py").write_text("NAME = 'function'")
    function = await engine.create_function(
        "f", code=code, runtime=preloading.RUNTIME, handler="app.handler", layers=[layer]
    )
    assert (await function.invoke({})).json() == ["function", "layer"]


async def test_node_finds_packages_and_programs_of_its_layers(engine, tmp_path):
    requires("node")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    major = int(version.lstrip("v").partition(".")[0])
    runtime = f"nodejs{major - major % 2}.x"
    layer = files(
        tmp_path / "layer",
        {
            "nodejs/node_modules/plain/index.js": "exports.name = 'plain'",
            "nodejs/node_modules/both/index.js": "exports.name = 'of any version'",
            f"nodejs/{runtime.removesuffix('.x').replace('nodejs', 'node')}/node_modules/both/index.js": (
                "exports.name = 'of this version'"
            ),
            "bin/layer-tool": "#!/bin/sh\necho tool\n",
        },
        executable=("bin/layer-tool",),
    )
    code = files(
        tmp_path / "code",
        {
            "index.js": """
            const { execFileSync } = require('child_process');
            exports.handler = async () => [require('plain').name, require('both').name, `${execFileSync('layer-tool')}`];
            """
        },
    )
    function = await engine.create_function(
        "f", code=code, runtime=runtime, handler="index.handler", layers=[layer], memory_mb=512, timeout_s=20
    )
    result = await function.invoke({})
    assert result.json() == ["plain", "of this version", "tool\n"], result.payload


RUBY_USES = """
require 'of_library'
require 'of_gem'
def handler(event:, context:) = [LIBRARY, GEM]
"""
GEMSPEC = """
Gem::Specification.new do |s|
  s.name = 'of_gem'
  s.version = '1.0.0'
  s.summary = 'of a layer'
  s.authors = ['none']
  s.files = ['lib/of_gem.rb']
end
"""


async def test_ruby_finds_files_and_gems_of_its_layers(engine, tmp_path):
    requires("ruby")
    layer = files(
        tmp_path / "layer",
        {
            "ruby/lib/of_library.rb": "LIBRARY = 'library'",
            "ruby/gems/3.3.0/specifications/of_gem-1.0.0.gemspec": GEMSPEC,
            "ruby/gems/3.3.0/gems/of_gem-1.0.0/lib/of_gem.rb": "GEM = 'gem'",
        },
    )
    code = files(tmp_path / "code", {"app.rb": RUBY_USES})
    function = await engine.create_function(
        "f", code=code, runtime="ruby3.3", handler="app.handler", layers=[layer], timeout_s=20
    )
    assert (await function.invoke()).json() == ["library", "gem"]


async def test_a_provided_runtimes_bootstrap_may_be_in_a_layer(engine, tmp_path):
    runtime = bootstrap(
        tmp_path / "runtime",
        """
        while True:
            request_id, event, _ = take()
            handler = open(os.path.join(os.environ["LAMBDA_TASK_ROOT"], "handler.txt")).read()
            give(request_id, [sys.argv[0].rpartition("/")[2], handler, event])
        """,
    )
    code = files(tmp_path / "code", {"handler.txt": "of the function"})
    function = await engine.create_function("f", code=code, layers=[runtime])
    assert (await function.invoke(7)).json() == ["bootstrap", "of the function", 7]
    await function.update_code(bootstrap(tmp_path / "own", 'give(take()[0], "its own")\n' + ECHO))
    assert (await function.invoke(7)).json() == "its own", "the package's comes first"


async def test_a_bootstrap_that_is_nowhere_is_told_with_both_places(engine, tmp_path):
    layer = files(tmp_path / "layer", {"bin/x": "x"})
    function = await engine.create_function("f", code=files(tmp_path / "code", {"x": "y"}), layers=[layer])
    result = await function.invoke()
    body = result.json()
    roots = ("/var/task", "/opt")
    if engine.provider.mode == "process":
        one = function.configuration
        roots = (engine.registry.code_root(one), engine.registry.opt_root(one))
    assert body["errorType"] == "Runtime.InvalidEntrypoint"
    assert body["errorMessage"].endswith(
        f"Couldn't find valid bootstrap(s): [{roots[0]}/bootstrap {roots[1]}/bootstrap]"
    )


async def test_a_bootstrap_in_a_layer_that_cannot_be_executed_is_told_by_its_path(engine, tmp_path):
    layer = files(tmp_path / "layer", {"bootstrap": "#!/bin/sh\n"})
    function = await engine.create_function("f", code=files(tmp_path / "code", {"x": "y"}), layers=[layer])
    body = (await function.invoke()).json()
    opt = "/opt" if engine.provider.mode == "sandbox" else engine.registry.opt_root(function.configuration)
    assert body["errorMessage"].endswith(f"fork/exec {opt}/bootstrap: permission denied")


LISTS = f"""
#!{PYTHON} -S
{_PRELUDE}
while True:
    request_id, event, _ = take()
    give(request_id, sorted(os.listdir(os.environ.get("LAMBENT_OPT", "/opt"))))
"""


async def test_versions_and_updates_see_their_own_layers(engine, tmp_path):
    code = files(tmp_path / "code", {"bootstrap": LISTS.strip()}, executable=("bootstrap",))
    one, two, three = (files(tmp_path / name, {name: name}) for name in ("one", "two", "three"))
    function = await engine.create_function("f", code=code, layers=[one, two])
    assert (await function.invoke()).json() == ["one", "two"]
    await function.publish()
    await function.configure(layers=[three])
    assert (await function.invoke()).json() == ["three"]
    await function.configure(layers=[])
    assert "one" not in (await function.invoke()).json()
    assert (await function.invoke(qualifier="1")).json() == ["one", "two"]


async def test_a_live_function_has_layers_and_they_go_with_it(engine, tmp_path):
    code = files(tmp_path / "code", {"bootstrap": LISTS.strip()}, executable=("bootstrap",))
    layers = [files(tmp_path / name, {name: name}) for name in ("one", "two")]
    function = await engine.create_function("f", code=code, layers=layers, watch=True)
    assert (await function.invoke()).json() == ["one", "two"]
    (code / "saved").write_text("now")
    assert (await function.invoke()).json() == ["one", "two"]
    await function.delete()
    for layer in ("one", "two"):
        await engine.registry.layers.delete(layer, 1)
    await _until(lambda: not list(engine.dispatcher.listing()))
    await _until(lambda: not list((engine.data_dir / "code").iterdir()))


async def test_layers_that_are_the_same_are_published_once(engine, tmp_path):
    layer = files(tmp_path / "layer", {"x": "y"})
    code = bootstrap(tmp_path / "code")
    arn = "arn:aws:lambda:us-east-1:000000000000:layer:layer:1"
    for name in ("f", "g"):
        function = await engine.create_function(name, code=code, layers=[layer])
        assert [use.arn for use in function.configuration.layers] == [arn]
    other = files(tmp_path / "elsewhere/layer", {"x": "z"})
    published = await engine.publish_layer("third", other, description="d")
    await function.configure(layers=[arn, other, published])
    assert [use.arn for use in function.configuration.layers] == [
        f"arn:aws:lambda:us-east-1:000000000000:layer:{name}:1" for name in ("layer", "layer-2", "third")
    ]


async def test_a_restarted_engine_has_its_layers(no_leaks, tmp_path, open_folder):
    code = files(tmp_path / "code", {"bootstrap": LISTS.strip()}, executable=("bootstrap",))
    layers = [files(tmp_path / name, {name: name}) for name in ("one", "two")]
    for start in (1, 2):
        async with Engine(data_dir=open_folder / "data", isolation=MODES[-1]) as engine:
            if start == 1:
                await (await engine.create_function("f", code=code, layers=layers)).publish()
            for qualifier in (None, "1"):
                assert (await engine.invoke("f", qualifier=qualifier)).json() == ["one", "two"]


async def _until(condition) -> None:
    with anyio.fail_after(10):
        while not condition():
            await anyio.sleep(0.01)

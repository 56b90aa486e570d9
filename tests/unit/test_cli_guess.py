"""What `lambent run` and `deploy` make of a path: its kind, its runtime and handler, its package."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

import bootstraps
from engine.cli import guess as guessing
from engine.cli import package, payload
from engine.cli.console import CommandError
from engine.cli.package import function_name

VERSIONS = {"python": "3.11", "nodejs": "20.3", "ruby": "3.1", "java": "17.0"}


@pytest.fixture(autouse=True)
def _known_interpreters(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guessing, "_version", lambda wanted: VERSIONS[wanted.rstrip("0123456789.x")])


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


RB = "require 'json'\n\ndef {}(event:, context:)\n  event\nend\n"
PY = "def {}(event, context):\n    return event\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"bootstrap": "#!/bin/sh", "app.py": PY.format("handler")}, ("provided.al2023", "bootstrap")),
        ({"lambda_function.py": PY.format("lambda_handler")}, ("python3.11", "lambda_function.lambda_handler")),
        ({"app.py": PY.format("handler")}, ("python3.11", "app.handler")),
        ({"main.py": "from x import y as handler"}, ("python3.11", "main.handler")),
        ({"main.py": "handler = make()"}, ("python3.11", "main.handler")),
        ({"util.py": "x = 1", "orders.py": PY.format("lambda_handler")}, ("python3.11", "orders.lambda_handler")),
        ({"app.py": PY.format("handler"), "other.py": PY.format("handler")}, ("python3.11", "app.handler")),
        ({"app.py": "def broken(:"}, ("python3.11", "app.lambda_handler")),
        ({"index.js": "exports.handler = async () => 1"}, ("nodejs20.x", "index.handler")),
        ({"index.mjs": "export const handler = async () => 1"}, ("nodejs20.x", "index.handler")),
        ({"index.mjs": "export async function handler() {}"}, ("nodejs20.x", "index.handler")),
        ({"app.js": "module.exports = { a, handler }"}, ("nodejs20.x", "app.handler")),
        ({"x.cjs": "const h=1; module.exports.handler = h"}, ("nodejs20.x", "x.handler")),
        ({"lambda_function.rb": RB.format("lambda_handler")}, ("ruby3.2", "lambda_function.lambda_handler")),
        ({"app.rb": RB.format("handler"), "x.rb": RB.format("handler")}, ("ruby3.2", "app.handler")),
    ],
)
def test_runtime_and_handler_are_found_in_the_files(tmp_path: Path, files, expected):
    found = guessing.guess(_tree(tmp_path, files))
    assert (found.runtime, found.handler) == expected


def test_a_zip_reads_like_a_folder(tmp_path: Path):
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("app.py", PY.format("handler"))
    found = package.find(str(path)).guess(None, None)
    assert (found.runtime, found.handler) == ("python3.11", "app.handler")


def test_a_given_handler_decides_the_runtime_and_a_given_runtime_the_handler(tmp_path: Path):
    _tree(tmp_path, {"app.py": PY.format("handler"), "index.js": "exports.handler = 1", "pkg/mod.py": ""})
    assert guessing.guess(tmp_path, handler="index.go").runtime == "nodejs20.x"
    assert guessing.guess(tmp_path, handler="pkg.mod.go").runtime == "python3.11"
    assert guessing.guess(tmp_path, handler="pkg/mod.go").runtime == "python3.11"
    assert guessing.guess(tmp_path, runtime="nodejs18.x").handler == "index.handler"
    assert guessing.guess(tmp_path, runtime="python3.9").handler == "app.handler"
    assert guessing.guess(tmp_path, runtime="provided.al2").handler == "bootstrap"
    _tree(tmp_path, {"orders.rb": "", "shop/Cart.class": "", "lib/shop.jar": ""})
    assert guessing.guess(tmp_path, handler="orders.Orders.call").runtime == "ruby3.2"
    assert guessing.guess(tmp_path, handler="shop.Cart").runtime == "java17"
    assert guessing.guess(tmp_path, handler="in.the.Jar::handle").runtime == "java17"
    assert guessing.guess(tmp_path, "ruby3.3", "a.b") == guessing.Guess("ruby3.3", "a.b", "as given")


def test_an_assembly_is_for_dotnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mono, eight = (
        bootstraps.Interpreter("/usr/bin/mono-sgen", (6, 8)),
        bootstraps.Interpreter("/usr/bin/dotnet", (8, 0)),
    )
    _tree(tmp_path, {"Shop.dll": "", "Tool.exe": ""})
    for found, runtime in ((mono, "dotnet10"), (eight, "dotnet8")):
        monkeypatch.setattr(bootstraps, "interpreter", lambda _wanted, found=found: found)
        assert guessing.guess(tmp_path, handler="Shop::Shop.Cart::Add").runtime == runtime
        assert guessing.guess(tmp_path, handler="Tool").runtime == runtime
    with pytest.raises(CommandError, match="nor its assembly"):
        guessing.guess(tmp_path, handler="Other::Shop.Cart::Add")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"notes.txt": ""}, ["cannot tell how to run", "notes.txt", "--runtime"]),
        ({}, ["its top folder has nothing"]),
        ({"a.py": PY.format("handler"), "b.py": PY.format("handler")}, ["a.handler, b.handler", "--handler"]),
    ],
)
def test_what_cannot_be_guessed_is_said_with_what_is_there(tmp_path: Path, files, words):
    with pytest.raises(CommandError) as caught:
        guessing.guess(_tree(tmp_path, files))
    for word in words:
        assert word in str(caught.value)


def test_compiled_code_needs_its_handler_named(tmp_path: Path):
    with pytest.raises(CommandError, match="the handler for java21 cannot be found in compiled code"):
        guessing.guess(_tree(tmp_path, {"Cart.class": ""}), runtime="java21")


def test_a_handler_without_its_file_is_said(tmp_path: Path):
    with pytest.raises(CommandError, match=r"neither gone\.py nor gone\.rb nor gone\.js"):
        guessing.guess(_tree(tmp_path, {"app.py": ""}), handler="gone.handler")


def test_a_source_file_is_its_folder_with_that_file_s_handler(tmp_path: Path):
    _tree(tmp_path, {"app.py": PY.format("handler"), "orders.py": PY.format("handler")})
    source = package.find(str(tmp_path / "orders.py"))
    assert (source.kind, source.folder, source.guess(None, None).handler) == ("file", tmp_path, "orders.handler")


def test_an_executable_becomes_the_bootstrap_of_its_package(tmp_path: Path):
    path = tmp_path / "my-runtime"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    source = package.find(str(path))
    with zipfile.ZipFile(io.BytesIO(source.package())) as archive:
        (member,) = archive.infolist()
        assert (member.filename, member.external_attr >> 16) == ("bootstrap", 0o100755)
    assert source.guess(None, None).runtime == "provided.al2023"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("absent", None, "there is no function at"),
        ("plain", "x", "not executable"),
        ("bad.zip", "PKxx", "not a valid zip"),
    ],
)
def test_a_path_that_cannot_be_a_function_is_refused(tmp_path: Path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(CommandError, match=words):
        package.find(str(tmp_path / name))


def test_the_same_folder_makes_the_same_package_without_tools_files(tmp_path: Path):
    _tree(tmp_path, {"app.py": "1", ".git/x": "", "__pycache__/a.pyc": "", "lib/b.py": "2", "run.sh": "#!/bin/sh"})
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "lib" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.py").symlink_to(tmp_path / "app.py")
    first = package.find(str(tmp_path)).package()
    os.utime(tmp_path / "app.py", (1, 1))
    assert package.find(str(tmp_path)).package() == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        modes = {member.filename: member.external_attr >> 16 & 0o777 for member in archive.infolist()}
    assert modes == {"app.py": 0o644, "link.py": 0o644, "run.sh": 0o755, "lib/b.py": 0o644}


def test_a_dangling_link_and_a_pipe_are_named(tmp_path: Path):
    (tmp_path / "gone").symlink_to("nowhere")
    with pytest.raises(CommandError, match="gone cannot be packaged"):
        package.find(str(tmp_path)).package()
    (tmp_path / "gone").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CommandError, match="not a regular file"):
        package.find(str(tmp_path)).package()


def test_the_event_is_a_file_json_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.json").write_text('{"a":  1}')
    assert payload.read(None) == b"{}"
    assert payload.read('{"b": 2}') == b'{"b": 2}'
    assert payload.read("e.json") == payload.read("@e.json") == b'{"a":  1}'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{a: 1}", "is not JSON.*Quote it"),
        ("gone.json", "no file of that name"),
        ("@gone", "could not be read: No such file"),
        ('"' + "x" * 6_291_556 + '"', "takes at most 6291556"),
    ],
)
def test_an_event_that_is_none_is_refused(text, words):
    with pytest.raises(CommandError, match=words):
        payload.read(text)


@pytest.mark.parametrize(
    ("stem", "name"), [("my app!", "my-app"), ("..", "function"), ("x" * 80, "x" * 64), ("a_b-1", "a_b-1")]
)
def test_a_function_name_is_made_from_any_file_name(stem, name):
    assert function_name(stem) == name

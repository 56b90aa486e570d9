"""`lambent conform` on our bootstraps and on AWS's clients: no clause is broken that is not recorded with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support import dotnet, java
from tests.support.cli import lambent
from tests.support.clients import AWS_LAMBDA_RIC, AWS_LAMBDA_RIC_4, AWSLAMBDARIC, OUR_NODE, ROOT, go, rust
from tests.support.require import requires

DEVIATIONS = Path(__file__).with_name("deviations")
BOOTSTRAPS = ROOT / "bootstraps"


def outcomes(*arguments: str, **options) -> dict[str, str]:
    """Clause -> outcome; fails with the whole report when the command does."""
    done = lambent("conform", "--json", *arguments, patience=170.0, **options)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    return {clause["id"]: clause["outcome"] for clause in json.loads(done.stdout)["clauses"]}


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("language", "program"), [("python", "python3"), ("nodejs", "node"), ("ruby", "ruby")])
def test_our_managed_runtimes_keep_every_clause_that_applies(language, program):
    requires(program)
    known = ["--known", str(DEVIATIONS / "ruby.toml")] if language == "ruby" else []
    found = outcomes(str(BOOTSTRAPS / language / "conform"), "--strict", *known)
    assert set(found.values()) <= {"pass", "n/a", "deviation"}
    assert sum(outcome == "pass" for outcome in found.values()) >= 63


@pytest.mark.timeout(180)
def test_our_java_runtime_keeps_every_clause_that_applies():
    source = (BOOTSTRAPS / "java/conform/Conform.java").read_text("utf-8")
    folder = str(java.compiled(source, "Conform"))
    found = outcomes(folder, "--strict", "--runtime", "java17", "--handler", "Conform::handle")
    assert set(found.values()) <= {"pass", "n/a"}
    assert sum(outcome == "pass" for outcome in found.values()) >= 55


@pytest.mark.timeout(180)
def test_our_dotnet_runtime_keeps_every_clause_that_applies():
    source = (BOOTSTRAPS / "dotnet/conform/Conform.cs").read_text("utf-8")
    folder = str(dotnet.compiled(source, "Conform.dll").parent)
    found = outcomes(folder, "--strict", "--runtime", "dotnet8", "--handler", "Conform::Conform::Handle")
    assert set(found.values()) <= {"pass", "n/a"}
    assert sum(outcome == "pass" for outcome in found.values()) >= 65


@pytest.mark.timeout(180)
def test_our_shell_bootstrap_keeps_the_clauses_for_a_function_that_echoes():
    requires("curl")
    folder = str(BOOTSTRAPS / "shell" / "conform")
    found = outcomes(folder, "--handler", "function.handler", "--runtime", "provided.al2023")
    assert {clause for clause, outcome in found.items() if outcome == "advice"} == {"poll.kept"}


@pytest.mark.timeout(180)
def test_our_tcl_bootstrap_keeps_every_clause_that_applies():
    requires("tclsh")
    folder = str(BOOTSTRAPS / "tcl" / "conform")
    found = outcomes(folder, "--strict", "--handler", "function.handler", "--runtime", "provided.al2023")
    assert set(found.values()) <= {"pass", "n/a"}
    assert sum(outcome == "pass" for outcome in found.values()) >= 60


@pytest.mark.timeout(180)
def test_our_rust_bootstrap_keeps_the_clauses_for_a_function_that_echoes():
    assert set(outcomes(str(rust("echo")), "--strict").values()) <= {"pass", "n/a"}


@pytest.mark.timeout(180)
def test_our_rust_library_keeps_every_clause():
    assert set(outcomes(str(rust("conform")), "--strict").values()) == {"pass"}


@pytest.mark.timeout(180)
def test_our_go_runtime_keeps_every_clause_that_applies():
    found = outcomes(str(go("bootstraps/go", "conform")), "--strict")
    assert set(found.values()) <= {"pass", "n/a"}
    assert sum(outcome == "pass" for outcome in found.values()) >= 70


@pytest.mark.timeout(180)
def test_aws_lambda_go_deviates_only_where_that_is_recorded():
    known = DEVIATIONS / "aws-lambda-go.toml"
    found = outcomes(str(go("tests/conformance/go", "aws-conform")), "--strict", "--known", str(known))
    assert sum(outcome == "pass" for outcome in found.values()) >= 60


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [AWSLAMBDARIC, AWS_LAMBDA_RIC, AWS_LAMBDA_RIC_4], ids=lambda client: client.name)
def test_aws_clients_deviate_only_where_that_is_recorded(client, tmp_path):
    language, file = ("python", "app.py") if client.family == "python" else ("nodejs", "app.js")
    folder = client.folder(tmp_path / "package", (BOOTSTRAPS / language / "conform" / file).read_text())
    known = DEVIATIONS / f"{client.name}.toml"
    arguments = ["--known", str(known)] if known.exists() else []
    found = outcomes(str(folder), "--strict", "--runtime", client.runtime, "--handler", client.handler, *arguments)
    assert sum(outcome == "pass" for outcome in found.values()) >= 60


@pytest.mark.timeout(180)
@pytest.mark.parametrize("client", [OUR_NODE, AWS_LAMBDA_RIC], ids=lambda client: client.name)
def test_streaming_handlers_keep_the_clauses_for_them(client, tmp_path):
    folder = client.folder(tmp_path / "package", (BOOTSTRAPS / "nodejs/conform/stream.js").read_text())
    found = outcomes(
        str(folder), "--strict", "--runtime", client.runtime, "--handler", client.handler, "--only", "stream.*"
    )
    assert set(found.values()) == {"pass"}


def test_a_broken_clause_is_told_with_the_bytes_and_fails(tmp_path):
    script = tmp_path / "bootstrap"
    script.write_text(
        "#!/bin/sh\n"
        "api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime\n"
        'curl -s -D /tmp/head -o /tmp/event "$api/invocation/next"\n'
        'curl -s --data-binary @/tmp/event "$api/invocation/not-the-id/response"\n'
    )
    script.chmod(0o755)
    requires("curl")
    done = lambent(
        "conform", str(script), "--only", "answer.path", "--patience", "2", "--junit", str(tmp_path / "x.xml")
    )
    assert done.returncode == 1
    assert "FAIL answer.path" in done.stdout
    assert "POST /2018-06-01/runtime/invocation/not-the-id/response HTTP/1.1" in done.stdout
    suite = ET.parse(tmp_path / "x.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the bootstrap"),
        (["nowhere"], "there is no function at nowhere"),
        (["/bin/true", "--only", "no.such"], "--only no.such fits no clause"),
        (["/bin/true", "--known", "{folder}/bad.toml"], 'deviations."no.such" must be a clause'),
    ],
)
def test_wrong_input_is_one_sentence(arguments, words, tmp_path):
    (tmp_path / "bad.toml").write_text('[deviations]\n"no.such" = "because"\n')
    done = lambent("conform", *(argument.format(folder=tmp_path) for argument in arguments))
    assert done.returncode in {1, 2}
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_list_has_every_clause_with_its_source():
    done = lambent("conform", "--list")
    assert done.returncode == 0
    assert "answer.too-large" in done.stdout
    assert "RFC 9112" in done.stdout

"""Our tables against the API model in the installed botocore, so that neither can change unseen."""

from __future__ import annotations

import functools
import re

import botocore.session
import pytest

from engine.control.operations import OPERATIONS
from engine.store import shapes
from engine.store.constraints import Entries, Items, Members, Text, _compiled
from engine.store.requests import (
    CreateFunctionRequest,
    PublishLayerVersionRequest,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from tests.support.control_plane import ARN, control_plane


@functools.cache
def model():
    return botocore.session.get_session().get_service_model("lambda")


def test_the_table_has_every_operation_of_the_model_with_its_method_path_and_status():
    ours = {
        operation.name: (
            operation.method,
            operation.path + (f"?{operation.query}" if operation.query else ""),
            operation.status,
        )
        for operation in OPERATIONS
    }
    theirs = {}
    for name in model().operation_names:
        http = model().operation_model(name).http
        theirs[name] = (http["method"], re.sub(r"/(?=$|\?)", "", http["requestUri"]), http["responseCode"])
    assert ours == theirs
    assert len(OPERATIONS) == len(ours) == 91


#: Members whose constraints we do not check: refused when given (rules.py), or with a text of their own (Runtime).
UNCHECKED = {
    "CreateFunction": {
        "Runtime", "ImageConfig", "TenancyConfig", "CapacityProviderConfig", "DurableConfig", "RuntimeConfig",
        "AcceleratorConfig",
    },
    "UpdateFunctionConfiguration": {
        "Runtime", "ImageConfig", "CapacityProviderConfig", "DurableConfig", "RuntimeConfig", "AcceleratorConfig",
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        ("CreateFunction", shapes.CREATE_FUNCTION),
        ("UpdateFunctionConfiguration", shapes.UPDATE_FUNCTION_CONFIGURATION),
        ("UpdateFunctionCode", shapes.UPDATE_FUNCTION_CODE),
        ("GetFunction", shapes.QUALIFIED_FUNCTION),
        ("GetFunctionConfiguration", shapes.QUALIFIED_FUNCTION),
        ("DeleteFunction", shapes.QUALIFIED_FUNCTION),
        ("ListFunctions", shapes.LIST_FUNCTIONS),
        ("PublishVersion", shapes.PUBLISH_VERSION),
        ("ListVersionsByFunction", shapes.LIST_VERSIONS),
        ("PublishLayerVersion", shapes.PUBLISH_LAYER_VERSION),
        ("GetLayerVersion", shapes.LAYER_VERSION),
        ("GetLayerVersionByArn", shapes.LAYER_VERSION_BY_ARN),
        ("ListLayers", shapes.LIST_LAYERS),
        ("ListLayerVersions", shapes.LIST_LAYER_VERSIONS),
        ("DeleteLayerVersion", shapes.LAYER_VERSION),
        ("PutFunctionConcurrency", shapes.PUT_FUNCTION_CONCURRENCY),
        ("GetFunctionConcurrency", shapes.FUNCTION),
        ("DeleteFunctionConcurrency", shapes.FUNCTION),
        ("ListTags", shapes.LIST_TAGS),
        ("TagResource", shapes.TAG_RESOURCE),
        ("UntagResource", shapes.UNTAG_RESOURCE),
    ],
)
def test_the_constraints_are_those_of_the_model(operation, shape):
    differences = []
    compare(shape, model().operation_model(operation).input_shape, operation, differences, UNCHECKED.get(operation, ()))
    assert differences == []


def compare(ours, theirs, path, out, unchecked=()):
    """Collect what differs between a shape of ours and the model's."""
    if theirs.type_name == "structure":
        if ours is None:
            ours = Members(of={})
        if sorted(ours.required) != sorted(theirs.required_members):
            out.append(f"{path}: required {ours.required} / {theirs.required_members}")
        out += [f"{path}.{name}: not in the model" for name in ours.of.keys() - theirs.members.keys()]
        for name, member in theirs.members.items():
            if name not in unchecked:
                compare(ours.of.get(name), member, f"{path}.{name}", out)
        return
    said = {key: theirs.metadata[key] for key in ("min", "max", "pattern") if key in theirs.metadata}
    if theirs.type_name == "list":
        ours = ours or Items(of=Text())
        compare(ours.of, theirs.member, f"{path}[]", out)
    elif theirs.type_name == "map":
        ours = ours or Entries(key=Text(), value=Text())
        compare(ours.key, theirs.key, f"{path} keys", out)
        compare(ours.value, theirs.value, f"{path} values", out)
    elif theirs.type_name == "string" and list(getattr(ours, "enum", ())) != list(theirs.enum):
        out.append(f"{path}: enum {getattr(ours, 'enum', ())} / {theirs.enum}")
    mine = {key: getattr(ours, key) for key in ("min", "max", "pattern") if getattr(ours, key, None) is not None}
    if mine != said:
        out.append(f"{path}: {mine} / {said}")


def test_the_runtimes_are_those_of_the_model():
    assert list(shapes.RUNTIMES) == model().shape_for("Runtime").enum


@pytest.mark.parametrize(
    ("operation", "request_type"),
    [
        ("CreateFunction", CreateFunctionRequest),
        ("UpdateFunctionConfiguration", UpdateFunctionConfigurationRequest),
        ("UpdateFunctionCode", UpdateFunctionCodeRequest),
        ("PublishVersion", PublishVersionRequest),
        ("PublishLayerVersion", PublishLayerVersionRequest),
    ],
)
def test_requests_have_every_member_of_the_model_and_no_other(operation, request_type):
    assert set(request_type.__struct_encode_fields__) == set(model().operation_model(operation).input_shape.members)


def test_the_patterns_compile_to_what_they_say():
    """A pattern that Python reads otherwise than Java would be found here by a sample of each kind."""
    for shape, good, bad in (
        (shapes.FUNCTION_NAME, ["f", "a-b_c", ARN + "f:1", "000000000000:function:f", "f:$LATEST"], ["", "a.b", "f:"]),
        (shapes.NAMESPACED_FUNCTION_NAME, ["a.b", "f:$LATEST.PUBLISHED"], ["a/b", "f::"]),
        (shapes.ROLE, ["arn:aws:iam::000000000000:role/x/y", "arn:aws-cn:iam::000000000000:role/x"], ["role", "arn:"]),
        (shapes.ARN_OR_NOTHING, ["", "arn:aws:sqs:us-east-1:0:q"], ["sqs", "arn"]),
        (shapes.QUALIFIER, ["$LATEST", "1", "live-1"], ["a:b", "é", ""]),
    ):
        assert all(_compiled(shape.pattern).fullmatch(text) for text in good)
        assert not any(_compiled(shape.pattern).fullmatch(text) for text in bad)


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path) as opened:
        yield opened


BUILT = {
    "CreateFunction", "GetFunction", "GetFunctionConfiguration", "ListFunctions", "UpdateFunctionCode",
    "UpdateFunctionConfiguration", "DeleteFunction", "GetAccountSettings", "TagResource", "UntagResource", "ListTags",
    "PutFunctionConcurrency", "GetFunctionConcurrency", "DeleteFunctionConcurrency", "PublishVersion",
    "ListVersionsByFunction", "PublishLayerVersion", "GetLayerVersion", "GetLayerVersionByArn", "ListLayers",
    "ListLayerVersions", "DeleteLayerVersion",
}  # fmt: skip


async def test_operations_that_are_not_built_say_so_by_name_through_the_real_client(plane):
    """Each of the others, called with the least that its model asks for."""
    client_names = {model_name: python for python, model_name in plane.client.meta.method_to_api_mapping.items()}
    for operation in sorted({operation.name for operation in OPERATIONS} - BUILT):
        members = sample(model().operation_model(operation).input_shape, required_only=True)
        code, status, text = await plane.refused(
            lambda operation=operation, members=members: plane.call(client_names[operation], loose=True, **members)
        )
        assert (code, status) == ("NotImplementedException", 501), operation
        assert text == f"Lambent does not implement {operation} yet"


def sample(shape, *, required_only=False):
    """Some value of a shape; enough for the client to build a request with."""
    if shape.type_name == "structure":
        names = shape.required_members if required_only else list(shape.members)[:1]
        return {name: sample(shape.members[name]) for name in names}
    if shape.type_name == "list":
        return [sample(shape.member)]
    if shape.type_name == "map":
        return {"k": sample(shape.value)}
    kinds = {"integer": 1, "long": 1, "double": 1.0, "boolean": True, "blob": b"x", "timestamp": 0}
    return kinds.get(shape.type_name, "arn:aws:lambda:us-east-1:000000000000:x:a/b c")


@pytest.mark.parametrize("path", ["/", "/2015-03-31", "/2015-03-31/functions/f/nothing", "/2099-01-01/functions", "/é"])
async def test_unknown_paths_are_unknown_operations(plane, path):
    status, headers, body = await plane.http("GET", path.replace("é", "%C3%A9"))
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")
    assert headers["x-amzn-requestid"]
    assert b"is not an operation" in body


async def test_unknown_methods_are_unknown_operations(plane):
    for method, path in (("PUT", "/2015-03-31/functions"), ("POST", "/2016-08-19/account-settings")):
        status, headers, _ = await plane.http(method, path)
        assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


async def test_a_trailing_slash_changes_nothing(plane):
    await plane.create()
    for path in ("/2015-03-31/functions", "/2015-03-31/functions/f", "/2016-08-19/account-settings"):
        plain = await plane.http("GET", path)
        slashed = await plane.http("GET", path + "/")
        assert plain[0] == slashed[0] == 200
    status, headers, body = await plane.http("POST", "/2014-11-13/functions/f/invoke-async/")
    assert (status, headers["x-amzn-errortype"]) == (501, "NotImplementedException")
    assert b"InvokeAsync" in body


async def test_every_answer_has_a_request_id_of_its_own(plane):
    ids = {(await plane.http("GET", "/2016-08-19/account-settings"))[1]["x-amzn-requestid"] for _ in range(5)}
    assert len(ids) == 5


async def test_names_may_come_percent_encoded_or_not(plane):
    await plane.create()
    for name in ("f", (ARN + "f").replace(":", "%3A"), ARN + "f", "f%3A%24LATEST"):
        assert (await plane.http("GET", f"/2015-03-31/functions/{name}"))[0] == 200

"""Layers in the registry: published, used by functions, kept as long as somebody names them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import anyio
import pytest

from engine.clock import VirtualClock
from engine.errors import InvalidParameterValueException, ResourceNotFoundException, ServiceException
from engine.store import (
    CreateFunctionRequest,
    FunctionCode,
    FunctionRegistry,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from engine.store.packages import GRACE_S
from engine.store.requests import LayerVersionContentInput, PublishLayerVersionRequest
from tests.support.packages import package

ARN = "arn:aws:lambda:us-east-1:000000000000:layer:"


def layer(name="l", files=None, **rest):
    content = LayerVersionContentInput(zip_file=package(files or {"python/of.py": name}))
    return PublishLayerVersionRequest(layer_name=name, content=content, **rest)


def function(name="f", layers=None, files=None, **rest):
    return CreateFunctionRequest(
        function_name=name,
        runtime="python3.12",
        handler="app.handler",
        role="arn:aws:iam::000000000000:role/r",
        code=FunctionCode(zip_file=package(files)),
        layers=layers,
        **rest,
    )


def configure(layers, name="f"):
    return UpdateFunctionConfigurationRequest(function_name=name, layers=layers)


def registry_at(path, clock=None, **rest):
    return FunctionRegistry(
        path, account_id="000000000000", region="us-east-1", clock=clock or VirtualClock(), durable=False, **rest
    )


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
async def registry(tmp_path, clock):
    opened = registry_at(tmp_path / "data", clock)
    await opened.open()
    yield opened
    await opened.close()


async def stacked(registry, *names):
    """A layer of each name, with a file of its own and one that all have; their ARNs."""
    return [(await registry.layers.publish(layer(n, {f"python/{n}.py": n, "python/all.py": n}))).arn for n in names]


def packages(registry):
    return {path.name for path in registry._code.root.iterdir()}


def opt(registry, one):
    root = Path(registry.opt_root(one))
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


async def test_a_function_without_layers_has_no_opt(registry):
    one = await registry.create(function())
    assert (one.layers, registry.opt_root(one)) == ((), None)


async def test_one_layer_is_its_own_tree(registry):
    (arn,) = await stacked(registry, "l")
    one = await registry.create(function(layers=[arn]))
    assert opt(registry, one) == {"python/l.py": "l", "python/all.py": "l"}
    assert len(packages(registry)) == 2


async def test_several_layers_are_merged_in_their_order_and_once_for_all(registry):
    a, b = await stacked(registry, "a", "b")
    one = await registry.create(function(layers=[a, b]))
    assert opt(registry, one) == {"python/a.py": "a", "python/b.py": "b", "python/all.py": "b"}
    before = packages(registry)
    two = await registry.create(function("g", layers=[a, b]))
    assert registry.opt_root(two) == registry.opt_root(one)
    assert packages(registry) == before
    reverse = await registry.create(function("h", layers=[b, a]))
    assert opt(registry, reverse)["python/all.py"] == "a"


async def test_layers_are_replaced_and_cleared_and_otherwise_stay(registry):
    a, b = await stacked(registry, "a", "b")
    await registry.create(function(layers=[a]))
    for change, expected in (
        (UpdateFunctionConfigurationRequest(function_name="f", timeout=9), [a]),
        (configure([b, a]), [b, a]),
        (configure([]), []),
    ):
        one = await registry.update_configuration(change)
        assert [use.arn for use in one.layers] == expected
    await registry.update_configuration(configure([a, b]))
    recoded = await registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package({"x": "y"})))
    assert [use.arn for use in recoded.layers] == [a, b]


async def test_versions_of_a_layer_are_numbered_for_good(registry):
    assert [(await registry.layers.publish(layer())).version for _ in range(3)] == [1, 2, 3]
    for version in (1, 2, 3):
        await registry.layers.delete("l", version)
    assert (await registry.layers.publish(layer())).arn == f"{ARN}l:4"


async def test_many_publications_at_once_get_a_number_each(registry):
    found = await asyncio.gather(*(registry.layers.publish(layer()) for _ in range(20)))
    assert sorted(one.version for one in found) == list(range(1, 21))


async def test_everything_of_layers_is_there_after_a_restart(tmp_path):
    first = registry_at(tmp_path)
    await first.open()
    a, b = await stacked(first, "a", "b")
    await first.layers.publish(layer("a", compatible_runtimes=[], license_info="MIT", description="é"))
    await first.layers.publish(layer("gone"))
    await first.layers.delete("gone", 1)
    one = await first.create(function(layers=[a, b], publish=True))
    before = first.layers.list(), first.layers.list_versions("a"), first.list_versions("f"), packages(first)
    await first.close()
    second = registry_at(tmp_path)
    await second.open()
    gone = packages(first) - packages(second)
    assert len(gone) <= 1, "the deleted layer's package"
    assert (second.layers.list(), second.layers.list_versions("a"), second.list_versions("f")) == before[:3]
    assert opt(second, one)["python/all.py"] == "b"
    assert (await second.layers.publish(layer("gone"))).version == 2
    await second.close()


async def test_what_is_lost_of_merged_layers_is_made_again_at_the_next_start(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    one = await registry.create(function(layers=await stacked(registry, "a", "b")))
    await registry.close()
    shutil.rmtree(Path(registry.opt_root(one)).parent)
    registry = registry_at(tmp_path)
    await registry.open()
    assert registry.get("f").state == "Active"
    assert opt(registry, one)["python/all.py"] == "b"
    await registry.close()


async def test_a_function_whose_layer_is_lost_is_failed_and_says_so(tmp_path, caplog):
    registry = registry_at(tmp_path)
    await registry.open()
    (arn,) = await stacked(registry, "a")
    one = await registry.create(function(layers=[arn]))
    await registry.close()
    shutil.rmtree(Path(registry.opt_root(one)).parent)
    registry = registry_at(tmp_path)
    await registry.open()
    failed = registry.get("f")
    assert (failed.state, failed.state_reason_code) == ("Failed", "InternalError")
    assert "The package of a layer," in failed.state_reason
    assert f"the package of the layer {arn} is missing" in caplog.text
    with pytest.raises(ResourceNotFoundException):
        registry.layers.get("a", 1)
    assert (await registry.update_configuration(configure([]))).state == "Active"
    await registry.close()


async def test_a_layer_lives_as_long_as_its_row_or_a_function_names_it(registry, clock):
    a, b = await stacked(registry, "a", "b")
    one = await registry.create(function(layers=[a, b]))
    await registry.publish(PublishVersionRequest(function_name="f"))
    for name in ("a", "b"):
        await registry.layers.delete(name, 1)
    await registry.update_configuration(configure([]))
    clock.advance(GRACE_S + 1)
    await registry.collect()
    assert opt(registry, one)["python/all.py"] == "b", "version 1 names them"
    with pytest.raises(InvalidParameterValueException, match=f"Layer version {a} does not exist"):
        await registry.update_configuration(configure([a]))
    await registry.delete("f", "1")
    clock.advance(GRACE_S + 1)
    await registry.collect()
    assert len(packages(registry)) == 1, "the function's code"


async def test_what_an_environment_runs_stays_until_it_ends(registry, clock):
    one = await registry.create(function(layers=await stacked(registry, "a", "b")))
    registry.pin(one)
    await registry.delete("f")
    for name in ("a", "b"):
        await registry.layers.delete(name, 1)
    clock.advance(GRACE_S + 1)
    await registry.collect()
    assert opt(registry, one)["python/all.py"] == "b"
    await registry.unpin(one)
    assert packages(registry) == set()


async def test_a_package_may_be_code_and_layer_at_once(registry):
    data = package({"app.py": "x"})
    await registry.layers.publish(
        PublishLayerVersionRequest(layer_name="l", content=LayerVersionContentInput(zip_file=data))
    )
    one = await registry.create(function(layers=[f"{ARN}l:1"], files={"app.py": "x"}))
    assert len(packages(registry)) == 1
    await registry.delete("f")
    await registry.collect()
    assert len(packages(registry)) == 1
    assert registry.opt_root(one) == registry.code_root(one)


async def test_code_and_layers_together_are_limited(tmp_path):
    registry = registry_at(tmp_path, max_unzipped=1000)
    await registry.open()
    big = {"data": "x" * 400}
    a, b, c = [(await registry.layers.publish(layer(name, big))).arn for name in "abc"]
    await registry.create(function(layers=[a, b], files={"app.py": "x" * 200}))  # exactly
    text = r"combined with layers exceeds the maximum allowed size of 1000 bytes\. The actual size is {} bytes\."
    for number, attempt in (
        (1001, lambda: registry.create(function("g", layers=[a, b], files={"app.py": "x" * 201}))),
        (1400, lambda: registry.update_configuration(configure([a, b, c]))),
        (1201, lambda: registry.update_code(recode("x" * 401))),
        (1201, lambda: registry.update_code(recode("x" * 401, dry_run=True))),
    ):
        with pytest.raises(InvalidParameterValueException, match=text.format(number)):
            await attempt()
    assert [use.arn for use in registry.get("f").layers] == [a, b]
    with pytest.raises(InvalidParameterValueException, match="Unzipped size must be smaller than 1000 bytes"):
        await registry.layers.publish(layer("d", {"data": "x" * 1001}))
    await registry.collect()
    assert len(packages(registry)) == 2, "the layers' one package, the function's code, nothing of what was refused"
    await registry.close()


def recode(text, **rest):
    return UpdateFunctionCodeRequest(function_name="f", zip_file=package({"app.py": text}), **rest)


async def test_a_refused_function_leaves_no_merged_layers(registry):
    layers = await stacked(registry, "a", "b")
    before = packages(registry)
    with pytest.raises(InvalidParameterValueException, match="Could not unzip"):
        await registry.create(
            CreateFunctionRequest(
                function_name="f",
                runtime="python3.12",
                handler="h",
                role="arn:aws:iam::000000000000:role/r",
                code=FunctionCode(zip_file=b"no zip"),
                layers=layers,
            )
        )
    assert packages(registry) == before


async def test_a_commit_that_fails_keeps_nothing_of_a_layer(registry, monkeypatch):
    async def full(_):
        raise ServiceException("disk full")

    await registry.layers.publish(layer())
    before = packages(registry)
    with monkeypatch.context() as patch:
        patch.setattr(registry._database, "write", full)
        with pytest.raises(ServiceException, match="disk full"):
            await registry.layers.publish(layer("l", {"other": "1"}))
        with pytest.raises(ServiceException, match="disk full"):
            await registry.layers.delete("l", 1)
    assert packages(registry) == before
    assert [one.version for one in registry.layers.list_versions("l")[0]] == [1]
    assert (await registry.layers.publish(layer())).version == 2


async def test_a_layer_deleted_while_a_function_is_made_with_it_is_there_or_was_not(registry, clock):
    """Whoever is first: the function has the layer, or is refused; never a function whose layer is gone."""
    arns = await stacked(registry, "a", "b")
    results, refused = [], []

    async def make(number):
        await anyio.sleep(0)
        try:
            results.append(await registry.create(function(f"f{number}", layers=arns)))
        except InvalidParameterValueException as error:
            refused.append(str(error))

    async def take_away():
        clock.advance(GRACE_S + 1)
        await registry.layers.delete("a", 1)
        clock.advance(GRACE_S + 1)
        await registry.collect()

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(make, number)
        group.start_soon(take_away)
        for number in range(3, 6):
            group.start_soon(make, number)
    assert len(results) + len(refused) == 6
    assert set(refused) <= {f"Layer version {arns[0]} does not exist."}
    for one in results:
        assert opt(registry, one) == {"python/a.py": "a", "python/b.py": "b", "python/all.py": "b"}


async def test_lists_are_filtered_and_in_pages(registry):
    for number in range(55):
        await registry.layers.publish(layer(f"l{number:02d}", compatible_runtimes=["python3.12"]))
    for runtimes in (["python3.13"], None, ["python3.12", "python3.13"], ["nodejs22.x"]):
        await registry.layers.publish(layer("l00", compatible_runtimes=runtimes, compatible_architectures=["arm64"]))
    first, marker = registry.layers.list()
    assert [(one.name, one.version) for one in first] == [("l00", 5), *((f"l{n:02d}", 1) for n in range(1, 50))]
    second, marker = registry.layers.list(marker, 3)
    assert [one.name for one in second] == ["l50", "l51", "l52"]
    third, marker = registry.layers.list(marker)
    assert ([one.name for one in third], marker) == (["l53", "l54"], None)
    assert [one.arn for one in registry.layers.list(runtime="python3.13")[0]] == [f"{ARN}l00:4"]
    assert registry.layers.list(runtime="python3.13", architecture="x86_64") == ([], None)
    newest, marker = registry.layers.list_versions("l00", None, 2)
    assert [one.version for one in newest] == [5, 4]
    assert [one.version for one in registry.layers.list_versions(f"{ARN}l00", marker)[0]] == [3, 2, 1]
    assert [one.version for one in registry.layers.list_versions("l00", runtime="python3.12")[0]] == [4, 1]
    assert registry.layers.list_versions("nothing") == ([], None)
    for listing in (registry.layers.list, lambda bad: registry.layers.list_versions("l00", bad)):
        with pytest.raises(InvalidParameterValueException, match="marker"):
            listing("!!!")
    with pytest.raises(InvalidParameterValueException, match="marker"):
        registry.layers.list_versions("l00", registry.layers.list(None, 1)[1])

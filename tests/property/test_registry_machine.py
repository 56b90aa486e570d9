"""Any changes of functions, versions and layers, with restarts between: what is told, kept and on the disk agrees."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.clock import VirtualClock
from engine.errors import AwsError
from engine.model.function import LATEST, FunctionVersion
from engine.store import (
    CreateFunctionRequest,
    FunctionChange,
    FunctionCode,
    FunctionRegistry,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from engine.store.requests import LayerVersionContentInput, PublishLayerVersionRequest, SnapStart
from engine.store.usage import digest_of
from tests.support.packages import package

FUNCTIONS = st.sampled_from(["f", "g"])
LAYERS = st.sampled_from(["a", "b", "c"])
CONTENT = st.sampled_from(["1", "2", "3"])
STACKS = st.lists(st.tuples(LAYERS, st.sampled_from([1, 1, 1, 2])), max_size=3)
ARN = "arn:aws:lambda:us-east-1:000000000000:layer:"


class RegistryMachine(RuleBasedStateMachine):
    """The registry against a model of it: plain dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="lambent-registry-"))
        self.functions: dict[str, dict[str, FunctionVersion]] = {}
        self.published: dict[str, list[object]] = {}
        """What each number that a function ever had was made of, from 1 on."""
        self.layers: dict[tuple[str, int], str] = {}
        self.numbers: dict[str, int] = {}
        self.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def start(self) -> None:
        self.told: dict[tuple[str, str], FunctionVersion] = {}
        self.registry = FunctionRegistry(
            self.folder, account_id="000000000000", region="us-east-1", clock=VirtualClock(), durable=False
        )
        self.registry.subscribe(self.heard)
        self.run(self.registry.open())
        self.registry.prepare_versions_with(lambda _version: None)

    def heard(self, change: FunctionChange) -> None:
        key = change.name, change.version
        assert self.told.get(key) is change.old, "a change begins where the last one ended"
        if change.new is None:
            del self.told[key]
        else:
            self.told[key] = change.new

    def teardown(self) -> None:
        self.run(self.registry.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def attempt(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self.run(work)
        except AwsError:
            return None

    def arns(self, stack: list[tuple[str, int]]) -> list[str | None]:
        return [f"{ARN}{name}:{version}" for name, version in stack]

    def usable(self, stack: list[tuple[str, int]]) -> bool:
        return all(one in self.layers for one in stack) and len({name for name, _ in stack}) == len(stack)

    def publish(self, name: str, version: FunctionVersion | None) -> None:
        """`version` is what publishing `name` as it is now led to."""
        assert version is not None
        latest, numbers = self.registry.get(name), self.published[name]
        made_of = latest.code_sha256, latest.layers, latest.snap_start
        if not numbers or str(len(numbers)) not in self.functions[name] or numbers[-1] != made_of:
            numbers.append(made_of)
        assert version.version == str(len(numbers)), "the last one if nothing has changed since, else the next number"
        self.functions[name][version.version] = version

    @initialize()
    def begin(self) -> None:
        for name in "abc":
            self.publish_layer(name, name)

    # Functions.

    @rule(name=FUNCTIONS, content=CONTENT, stack=STACKS, publish=st.booleans(), snap=st.booleans())
    def create(self, name: str, content: str, stack: list[tuple[str, int]], publish: bool, snap: bool) -> None:
        request = CreateFunctionRequest(
            function_name=name,
            runtime="python3.12",
            handler="app.handler",
            role="arn:aws:iam::000000000000:role/r",
            code=FunctionCode(zip_file=package({"code": content})),
            layers=self.arns(stack),
            publish=publish,
            snap_start=SnapStart(apply_on="PublishedVersions") if snap else None,
        )
        made = self.attempt(self.registry.create(request))
        assert (made is not None) == (name not in self.functions and self.usable(stack))
        if made is None:
            return
        self.functions[name] = {LATEST: self.registry.get(name)}
        self.published[name] = []
        if publish:
            assert made.state == ("Pending" if snap else "Active")
            self.publish(name, made)

    @precondition(lambda self: self.functions)
    @rule(name=FUNCTIONS, content=CONTENT, publish=st.booleans())
    def update_code(self, name: str, content: str, publish: bool) -> None:
        request = UpdateFunctionCodeRequest(function_name=name, zip_file=package({"code": content}), publish=publish)
        made = self.attempt(self.registry.update_code(request))
        assert (made is not None) == (name in self.functions)
        if made is not None:
            self.functions[name][LATEST] = self.registry.get(name)
            if publish:
                self.publish(name, made)

    @precondition(lambda self: self.functions)
    @rule(name=FUNCTIONS, stack=STACKS)
    def update_layers(self, name: str, stack: list[tuple[str, int]]) -> None:
        request = UpdateFunctionConfigurationRequest(function_name=name, layers=self.arns(stack))
        made = self.attempt(self.registry.update_configuration(request))
        assert (made is not None) == (name in self.functions and self.usable(stack))
        if made is not None:
            self.functions[name][LATEST] = made

    @precondition(lambda self: self.functions)
    @rule(name=FUNCTIONS, description=st.none() | CONTENT)
    def publish_version(self, name: str, description: str | None) -> None:
        request = PublishVersionRequest(function_name=name, description=description)
        made = self.attempt(self.registry.publish(request))
        assert (made is not None) == (name in self.functions)
        if made is not None:
            self.publish(name, made)
            assert self.run(self.registry.publish(request)) is made, "nothing has changed since"

    @precondition(lambda self: self.functions)
    @rule(name=FUNCTIONS, number=st.integers(1, 3), good=st.booleans())
    def settle_version(self, name: str, number: int, good: bool) -> None:
        version = str(number)
        before = self.functions.get(name, {}).get(version)
        settle = (
            self.registry.version_ready(name, version)
            if good
            else self.registry.version_failed(name, version, "x", "y")
        )
        assert self.run(settle) == (before is not None and before.state == "Pending")
        if before is not None and before.state == "Pending":
            self.functions[name][version] = self.registry.get(name, version)
            assert self.functions[name][version].state == ("Active" if good else "Failed")

    @precondition(lambda self: self.functions)
    @rule(name=FUNCTIONS, number=st.none() | st.integers(1, 3))
    def delete(self, name: str, number: int | None) -> None:
        self.attempt(self.registry.delete(name, None if number is None else str(number)))
        if number is None:
            self.functions.pop(name, None)
        elif name in self.functions:
            self.functions[name].pop(str(number), None)

    # Layers.

    @rule(name=LAYERS, content=CONTENT)
    def publish_layer(self, name: str, content: str) -> None:
        files = {f"of/{name}": content, "all": content}
        content_input = LayerVersionContentInput(zip_file=package(files))
        made = self.run(
            self.registry.layers.publish(PublishLayerVersionRequest(layer_name=name, content=content_input))
        )
        self.numbers[name] = self.numbers.get(name, 0) + 1
        assert made.version == self.numbers[name], "numbers go up by one and are not used again"
        self.layers[name, made.version] = content

    @rule(name=LAYERS, version=st.integers(1, 3))
    def delete_layer(self, name: str, version: int) -> None:
        self.run(self.registry.layers.delete(name, version))
        self.layers.pop((name, version), None)

    @rule()
    def restart(self) -> None:
        before = dict(self.told)
        self.run(self.registry.close())
        self.start()
        assert self.told == before
        self.functions = {name: {v: self.told[name, v] for v in versions} for name, versions in self.functions.items()}

    # What always holds.

    @invariant()
    def what_is_read_is_what_was_done(self) -> None:
        found = {(one.name, one.version): one for one in self.registry.list(None, 50, every_version=True)[0]}
        assert found == {(name, v): one for name, versions in self.functions.items() for v, one in versions.items()}
        assert self.told == found
        there = {(one.name, one.version) for name in "abc" for one in self.registry.layers.list_versions(name)[0]}
        assert there == set(self.layers)

    @invariant()
    def the_disk_has_what_is_named_and_when_collected_nothing_else(self) -> None:
        named = set()
        for one in self.told.values():
            root = self.registry.opt_root(one)
            named |= {digest_of(one), *map(digest_of, one.layers), *([Path(root).parent.name] if root else [])}
        layers = self.registry.layers
        named |= {digest_of(layers.get(name, version)) for name, version in self.layers}
        self.run(self.registry.collect())
        assert {path.name for path in (self.folder / "code").iterdir()} == named

    @invariant()
    def every_function_finds_its_code_and_layers(self) -> None:
        for versions in self.functions.values():
            for one in versions.values():
                assert Path(self.registry.code_root(one), "code").is_file()
                root = self.registry.opt_root(one)
                assert (root is None) == (not one.layers)
                if root is not None:
                    names = {use.arn.split(":")[6] for use in one.layers}
                    assert {path.name for path in Path(root, "of").iterdir()} == names
                    last = one.layers[-1].arn.split(":")[6]
                    assert Path(root, "all").read_text() == Path(root, "of", last).read_text()


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)

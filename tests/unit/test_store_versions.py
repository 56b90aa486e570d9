"""Published versions in the registry: what is kept, what is told, and how one is prepared before it is Active."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import pytest

from engine.clock import VirtualClock
from engine.errors import ResourceConflictException, ResourceNotFoundException, ServiceException
from engine.model.function import LATEST
from engine.store import (
    CreateFunctionRequest,
    FunctionCode,
    FunctionRegistry,
    PublishVersionRequest,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
    versions,
)
from engine.store.packages import GRACE_S
from engine.store.requests import Environment, SnapStart
from tests.support.packages import package


def create(name="f", **rest):
    members = {
        "function_name": name,
        "runtime": "python3.12",
        "handler": "app.handler",
        "role": "arn:aws:iam::000000000000:role/r",
        "code": FunctionCode(zip_file=package()),
    }
    return CreateFunctionRequest(**{**members, **rest})


def snap_start(**rest):
    return create(snap_start=SnapStart(apply_on="PublishedVersions"), **rest)


def publish(name="f", **rest):
    return PublishVersionRequest(function_name=name, **rest)


def configure(name="f", **rest):
    return UpdateFunctionConfigurationRequest(function_name=name, **rest)


def recode(files, **rest):
    return UpdateFunctionCodeRequest(function_name="f", zip_file=package(files), **rest)


def registry_at(path, clock=None):
    return FunctionRegistry(
        path, account_id="000000000000", region="us-east-1", clock=clock or VirtualClock(), durable=False
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


def packages(registry):
    return sorted(path.name for path in registry._code.root.iterdir())


async def test_everything_of_versions_is_there_after_a_restart(tmp_path):
    first = registry_at(tmp_path)
    await first.open()
    await first.create(create(environment=Environment(variables={"BB": "1", "AA": "2"}), publish=True))
    for number in range(2, 12):
        await first.update_configuration(configure(description=str(number)))
        await first.publish(publish())
    await first.delete("f", "3")
    await first.delete("f", "11")
    before = first.list_versions("f")
    await first.close()

    second = registry_at(tmp_path)
    changes = []
    second.subscribe(changes.append)
    await second.open()
    assert second.list_versions("f") == before
    numbers = [LATEST, *(str(number) for number in range(1, 11) if number != 3)]
    assert [version.version for version in before[0]] == numbers
    assert [(change.version, change.old, change.new) for change in changes] == [
        (version.version, None, version) for version in before[0]
    ]
    assert (await second.publish(publish())).version == "12", "the number of a deleted version is not used again"
    await second.close()


async def test_publishing_is_idempotent_over_a_restart(tmp_path):
    for _ in range(2):
        registry = registry_at(tmp_path)
        await registry.open()
        if not registry.list()[0]:
            await registry.create(create(environment=Environment(variables={"BB": "1", "AA": "2"})))
        assert (await registry.publish(publish())).version == "1"
        await registry.close()


async def test_a_data_directory_from_before_versions_can_publish(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    await registry.create(create())
    await registry.close()
    with sqlite3.connect(tmp_path / "lambent.db") as database:
        database.execute("ALTER TABLE functions DROP COLUMN next_version")
        for table in ("layer_versions", "layers"):
            database.execute(f"DROP TABLE {table}")
        database.execute("PRAGMA user_version=1")
    database.close()
    again = registry_at(tmp_path)
    await again.open()
    assert (await again.publish(publish())).version == "1"
    await again.close()


async def test_subscribers_hear_of_versions_and_the_function_goes_last(registry):
    changes = []
    registry.subscribe(changes.append)
    version = await registry.create(create(publish=True))
    latest = registry.get("f")
    await registry.reserve("f", 4)
    second = await registry.update_code(recode({"b": "2"}, publish=True))
    changed = registry.get("f")
    await registry.delete("f", "1")
    await registry.delete("f")
    assert [(change.version, change.old, change.new, change.reserved) for change in changes] == [
        (LATEST, None, latest, None),
        ("1", None, version, None),
        (LATEST, latest, latest, 4),
        (LATEST, latest, changed, 4),
        ("2", None, second, 4),
        ("1", version, None, 4),
        ("2", second, None, None),
        (LATEST, changed, None, None),
    ]


async def test_a_package_lives_as_long_as_a_version_names_it(registry, clock):
    version = await registry.create(create(publish=True))
    await registry.update_code(recode({"b": "2"}))
    clock.advance(GRACE_S + 1)
    await registry.collect()
    assert len(packages(registry)) == 2
    assert Path(registry.code_root(version), "app.py").is_file()
    assert registry.package_path(version).read_bytes() == package()
    await registry.delete("f", "1")
    await registry.collect()
    assert len(packages(registry)) == 1


async def test_a_publication_that_cannot_be_stored_changes_nothing(registry, monkeypatch):
    await registry.create(create(publish=True))
    await registry.update_configuration(configure(timeout=9))
    before = registry.list_versions("f")

    async def full(_):
        raise ServiceException("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(registry._database, "write", full)
        for attempt in (
            lambda: registry.publish(publish()),
            lambda: registry.update_code(recode({"c": "3"}, publish=True)),
            lambda: registry.create(create("g", publish=True)),
            lambda: registry.delete("f", "1"),
        ):
            with pytest.raises(ServiceException, match="disk full"):
                await attempt()
    assert registry.list_versions("f") == before
    assert len(packages(registry)) == 1
    assert (await registry.publish(publish())).version == "2"


async def test_a_function_whose_code_is_lost_cannot_be_published(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    await registry.create(create())
    (folder,) = registry._code.root.iterdir()
    await registry.close()
    folder.rename(tmp_path / "lost")
    registry = registry_at(tmp_path)
    await registry.open()
    with pytest.raises(ResourceConflictException, match="in the following state: Failed"):
        await registry.publish(publish())
    await registry.close()


# Preparing a version: the seam for SnapStart.


async def test_versions_are_active_at_once_when_nobody_prepares_them(registry):
    assert (await registry.create(snap_start(publish=True))).state == "Active"


async def test_versions_without_snap_start_are_not_prepared(registry):
    begun = []
    registry.prepare_versions_with(begun.append)
    assert (await registry.create(create(publish=True))).state == "Active"
    assert begun == []


async def test_a_version_that_is_prepared_is_pending_until_it_is_said_to_be_ready(registry):
    begun, changes = [], []
    registry.prepare_versions_with(begun.append)
    registry.subscribe(changes.append)
    version = await registry.create(snap_start(publish=True))
    assert begun == [version]
    assert (version.state, version.state_reason_code, version.last_update_status) == ("Pending", "Creating", None)
    assert registry.get("f").state == "Active"
    assert await registry.version_ready("f", "1")
    ready = registry.get("f", "1")
    assert (ready.state, ready.state_reason, ready.last_update_status) == ("Active", None, "Successful")
    assert ready.revision_id != version.revision_id
    assert msgspec.structs.replace(ready, revision_id="") == msgspec.structs.replace(
        versions.ready(version), revision_id=""
    )
    assert [(change.version, change.old, change.new) for change in changes[1:]] == [
        ("1", None, version),
        ("1", version, ready),
    ]
    assert not await registry.version_ready("f", "1"), "it is ready already"
    assert not await registry.version_failed("f", "1", "FunctionError", "no")
    assert registry.get("f", "1") is ready
    assert (await registry.publish(publish())) is ready


async def test_a_version_that_cannot_be_prepared_is_failed_for_good(registry):
    registry.prepare_versions_with(lambda _: None)
    await registry.create(snap_start(publish=True))
    assert await registry.version_failed("f", "1", "FunctionError.InitTimeout", "Init took too long.")
    failed = registry.get("f", "1")
    assert (failed.state, failed.state_reason, failed.state_reason_code) == (
        "Failed",
        "Init took too long.",
        "FunctionError.InitTimeout",
    )
    assert not await registry.version_ready("f", "1")
    assert registry.get("f", "1") is failed


async def test_a_version_that_was_deleted_meanwhile_is_no_error(registry):
    registry.prepare_versions_with(lambda _: None)
    await registry.create(snap_start(publish=True))
    await registry.delete("f", "1")
    assert not await registry.version_ready("f", "1")
    await registry.delete("f")
    assert not await registry.version_failed("f", "1", "FunctionError", "no")
    with pytest.raises(ResourceNotFoundException):
        registry.get("f", "1")


async def test_pending_versions_are_prepared_anew_after_a_restart(tmp_path):
    first = registry_at(tmp_path)
    await first.open()
    first.prepare_versions_with(lambda _: None)
    version = await first.create(snap_start(publish=True))
    await first.close()
    second = registry_at(tmp_path)
    await second.open()
    begun = []
    second.prepare_versions_with(begun.append)
    assert begun == [version]
    assert await second.version_ready("f", "1")
    await second.close()


async def test_a_bug_in_what_prepares_is_logged_and_the_version_stays_pending(registry, caplog):
    registry.prepare_versions_with(lambda _: 1 / 0)
    assert (await registry.create(snap_start(publish=True))).state == "Pending"
    assert "preparing version 1 of f failed" in caplog.text

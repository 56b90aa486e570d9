from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import anyio
import msgspec
import pytest

from engine.clock import VirtualClock
from engine.errors import (
    AccessDeniedException,
    DataDirectoryError,
    InvalidParameterValueException,
    NotImplementedException,
    PreconditionFailedException,
    ResourceConflictException,
    ResourceNotFoundException,
    ServiceException,
    ValidationException,
)
from engine.store import (
    CreateFunctionRequest,
    FunctionCode,
    FunctionRegistry,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)
from engine.store.index import MAX_PAGE
from engine.store.packages import GRACE_S
from engine.store.requests import (
    DeadLetterConfig,
    Environment,
    EphemeralStorage,
    LoggingConfig,
    SnapStart,
    TracingConfig,
    VpcConfig,
)
from tests.support.packages import package

ROLE = "arn:aws:iam::000000000000:role/r"
ARN = "arn:aws:lambda:us-east-1:000000000000:function:"
OTHER = ARN.replace("000000000000", "123456789012")
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"


def request(name="f", *, code=None, **rest):
    members = {
        "function_name": name,
        "runtime": "python3.12",
        "handler": "app.handler",
        "role": ROLE,
        "code": code if isinstance(code, FunctionCode) else FunctionCode(zip_file=package() if code is None else code),
    }
    return CreateFunctionRequest(**{**members, **rest})


def update(name="f", **members):
    return UpdateFunctionConfigurationRequest(function_name=name, **members)


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


def packages(registry):
    return sorted(path.name for path in registry._code.root.iterdir())


async def test_a_created_function_has_awss_defaults(registry):
    function = await registry.create(request())
    assert function is registry.get("f")
    assert function.arn == ARN + "f"
    assert (function.memory_mb, function.timeout_s, function.ephemeral_storage_mb) == (128, 3, 512)
    assert (function.state, function.last_update_status, function.version) == ("Active", "Successful", "$LATEST")
    assert (function.architectures, function.log_group) == (("x86_64",), "/aws/lambda/f")
    assert function.last_modified == "2023-11-14T22:13:20.000+0000"
    assert function.code_size == len(package())
    assert Path(registry.code_root(function), "app.py").is_file()
    assert registry.package_path(function).read_bytes() == package()


async def test_everything_is_there_after_a_restart(tmp_path):
    first = registry_at(tmp_path)
    await first.open()
    await first.create(
        request(
            environment=Environment(variables={"AB": "é"}),
            tags={"team": "x"},
            vpc_config=VpcConfig(subnet_ids=["subnet-1"], security_group_ids=["sg-1"]),
            logging_config=LoggingConfig(log_format="JSON", application_log_level="DEBUG"),
            dead_letter_config=DeadLetterConfig(target_arn=QUEUE),
            ephemeral_storage=EphemeralStorage(size=1024),
            snap_start=SnapStart(apply_on="PublishedVersions"),
            tracing_config=TracingConfig(mode="Active"),
            architectures=["arm64"],
        )
    )
    await first.reserve("f", 7)
    before = first.get("f")
    await first.close()
    second = registry_at(tmp_path)
    changes = []
    second.subscribe(changes.append)
    await second.open()
    assert second.get("f") == before
    assert second.tags("f") == {"team": "x"}
    assert second.reserved("f") == 7
    assert [(change.name, change.old, change.new, change.reserved) for change in changes] == [("f", None, before, 7)]
    assert Path(second.code_root(before), "app.py").is_file()
    await second.close()


async def test_subscribers_hear_each_change_once_it_is_stored(registry):
    changes = []

    def heard(change):
        stored = registry._records.get(change.name)
        assert (stored.latest if stored else None) is change.new
        changes.append(change)

    stop = registry.subscribe(heard)
    created = await registry.create(request())
    updated = await registry.update_configuration(update(memory_size=256))
    recoded = await registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package({"b": "2"})))
    await registry.reserve("f", 3)
    await registry.tag("f", {"a": "b"})
    await registry.delete("f")
    assert [(change.old, change.new) for change in changes] == [
        (None, created),
        (created, updated),
        (updated, recoded),
        (recoded, recoded),
        (recoded, None),
    ]
    assert changes[3].reserved == 3
    assert len({created.revision_id, updated.revision_id, recoded.revision_id}) == 3
    stop()
    await registry.create(request())
    assert len(changes) == 5


async def test_a_late_subscriber_is_told_what_is_there(registry):
    await registry.create(request("b"))
    await registry.create(request("a"))
    changes = []
    registry.subscribe(changes.append)
    assert [(change.name, change.old) for change in changes] == [("a", None), ("b", None)]


async def test_a_subscribers_bug_does_not_undo_a_change(registry, caplog):
    registry.subscribe(lambda _: 1 / 0)
    heard = []
    registry.subscribe(heard.append)
    await registry.create(request())
    assert registry.get("f")
    assert len(heard) == 1
    assert "a subscriber failed on the change of f" in caplog.text


async def test_a_failed_commit_changes_neither_memory_nor_disk(registry, monkeypatch):
    await registry.create(request())
    before, there = registry.get("f"), packages(registry)

    async def full(_):
        raise ServiceException("disk full")

    monkeypatch.setattr(registry._database, "write", full)
    changes = []
    stop = registry.subscribe(changes.append)
    changes.clear()
    other = package({"other": "1"})
    for attempt in (
        lambda: registry.create(request("g", code=other)),
        lambda: registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=other)),
        lambda: registry.update_configuration(update(timeout=5)),
        lambda: registry.delete("f"),
        lambda: registry.reserve("f", 1),
        lambda: registry.tag("f", {"a": "b"}),
    ):
        with pytest.raises(ServiceException, match="disk full"):
            await attempt()
    assert registry.get("f") is before
    assert (registry.reserved("f"), registry.tags("f"), changes) == (None, {}, [])
    assert packages(registry) == there
    stop()
    monkeypatch.undo()
    await registry.create(request("g", code=other))


async def test_one_of_many_concurrent_creates_wins(registry):
    outcomes = []

    async def attempt():
        try:
            await registry.create(request())
            outcomes.append("created")
        except ResourceConflictException as conflict:
            outcomes.append(conflict.text)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(attempt)
    assert sorted(outcomes) == ["Function already exist: f"] * 19 + ["created"]
    assert not registry._turns._locks


@pytest.mark.parametrize("how", ["task.cancel", "anyio scope"])
@pytest.mark.parametrize("change", ["create", "configuration", "code", "delete", "tag", "reserve"])
async def test_a_change_whose_caller_is_cancelled_happens_on_disk_and_in_memory(tmp_path, how, change):
    """Cancelled while the commit runs in its thread: the commit cannot be stopped, so memory has to follow it."""
    registry = registry_at(tmp_path)
    await registry.open()
    if change != "create":
        await registry.create(request())
    call = {
        "create": lambda: registry.create(request()),
        "configuration": lambda: registry.update_configuration(update(timeout=77)),
        "code": lambda: registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package({"n": ""}))),
        "delete": lambda: registry.delete("f"),
        "tag": lambda: registry.tag("f", {"a": "b"}),
        "reserve": lambda: registry.reserve("f", 5),
    }[change]
    before = state(registry)
    loop, started, proceed = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    real = registry._database._writing

    def slow(work):
        loop.call_soon_threadsafe(started.set)
        assert proceed.wait(10)
        return real(work)

    registry._database._writing = slow
    scope = anyio.CancelScope()

    async def caller():
        with scope:
            await call()

    task = asyncio.create_task(caller())
    await started.wait()
    for _ in range(3):
        if how == "task.cancel":
            task.cancel()
        else:
            scope.cancel()
        await anyio.lowlevel.checkpoint()
    assert not task.done()
    proceed.set()
    await asyncio.wait([task])
    assert task.cancelled() == (how == "task.cancel")
    assert state(registry) != before
    after = state(registry)
    await registry.close()
    again = registry_at(tmp_path)
    await again.open()
    assert state(again) == after
    await again.close()


def state(registry):
    return {name: (record.latest, record.tags, record.reserved) for name, record in registry._records.items()}


async def test_pages_are_in_the_order_of_names_and_hold_fifty(registry):
    for number in range(55):
        await registry.create(request(f"f{number:02d}"))
    first, marker = registry.list(max_items=10_000)
    assert [function.name for function in first] == [f"f{number:02d}" for number in range(MAX_PAGE)]
    await registry.delete("f49")  # the page's last: the marker still works
    second, end = registry.list(marker, 3)
    assert [function.name for function in second] == ["f50", "f51", "f52"]
    third, end = registry.list(end, 3)
    assert ([function.name for function in third], end) == (["f53", "f54"], None)
    with pytest.raises(InvalidParameterValueException, match="marker"):
        registry.list("!!!")


@pytest.mark.parametrize(
    ("form", "qualifier", "asked"),
    [
        ("f", None, None),
        ("f:$LATEST", None, "$LATEST"),
        ("f", "$LATEST", "$LATEST"),
        ("f:$LATEST", "$LATEST", "$LATEST"),
        ("function:f", None, None),
        ("000000000000:function:f", None, None),
        ("000000000000:function:f:$LATEST", None, "$LATEST"),
        ("us-east-1:000000000000:function:f", None, None),
        (ARN + "f", None, None),
        (ARN + "f:$LATEST", "$LATEST", "$LATEST"),
    ],
)
async def test_every_form_of_a_name_leads_to_the_function(registry, form, qualifier, asked):
    function = await registry.create(request())
    assert registry.find(form, qualifier) == (function, asked)


@pytest.mark.parametrize(
    ("form", "qualifier", "error", "text"),
    [
        ("g", None, ResourceNotFoundException, f"Function not found: {ARN}g"),
        ("f:1", None, ResourceNotFoundException, f"Function not found: {ARN}f:1"),
        ("f", "live", ResourceNotFoundException, f"Function not found: {ARN}f:live"),
        (
            "f:1",
            "2",
            InvalidParameterValueException,
            "The derived qualifier from the function name does not match the specified qualifier.",
        ),
        (
            ARN.replace("us-east-1", "eu-west-1") + "f",
            None,
            ResourceNotFoundException,
            "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')",
        ),
        (
            OTHER + "f",
            None,
            AccessDeniedException,
            f"The function {OTHER}f belongs to account 123456789012; this engine serves account 000000000000",
        ),
    ],
)
async def test_names_that_lead_nowhere(registry, form, qualifier, error, text):
    await registry.create(request())
    with pytest.raises(error) as caught:
        registry.find(form, qualifier)
    assert caught.value.text == text


@pytest.mark.parametrize("form", ["", "a b", "a:b:c:d", "invalid:function:name", "x" * 257, "a/b", "é"])
async def test_malformed_names_are_validation_errors(registry, form):
    with pytest.raises(ValidationException, match=r"at 'functionName' failed to satisfy constraint"):
        registry.find(form)


async def test_updates_change_what_is_given_and_empty_members_clear(registry):
    await registry.create(
        request(
            environment=Environment(variables={"AB": "1"}),
            description="d",
            vpc_config=VpcConfig(subnet_ids=["subnet-1"], security_group_ids=[]),
            dead_letter_config=DeadLetterConfig(target_arn=QUEUE),
            kms_key_arn="arn:aws:kms:us-east-1:000000000000:key/k",
        )
    )
    kept = await registry.update_configuration(update(timeout=7))
    assert (kept.timeout_s, kept.environment, kept.description) == (7, {"AB": "1"}, "d")
    cleared = await registry.update_configuration(
        update(
            environment=Environment(),
            description="",
            layers=[],
            vpc_config=VpcConfig(subnet_ids=[], security_group_ids=[]),
            dead_letter_config=DeadLetterConfig(target_arn=""),
            kms_key_arn="",
            file_system_configs=[],
        )
    )
    assert (cleared.environment, cleared.description, cleared.vpc_config) == ({}, "", None)
    assert (cleared.dead_letter_target, cleared.kms_key_arn, cleared.timeout_s) == (None, None, 7)


async def test_log_levels_come_and_go_with_json(registry):
    await registry.create(request())
    for config, expected in (
        (LoggingConfig(log_format="JSON"), ("JSON", "INFO", "INFO", "/aws/lambda/f")),
        (LoggingConfig(system_log_level="DEBUG"), ("JSON", "INFO", "DEBUG", "/aws/lambda/f")),
        (LoggingConfig(log_group="cool"), ("JSON", "INFO", "DEBUG", "cool")),
        (LoggingConfig(log_format="Text"), ("Text", None, None, "cool")),
    ):
        now = await registry.update_configuration(update(logging_config=config))
        assert (now.log_format, now.application_log_level, now.system_log_level, now.log_group) == expected
    for config in (LoggingConfig(log_format="Text", system_log_level="INFO"), LoggingConfig(system_log_level="INFO")):
        with pytest.raises(InvalidParameterValueException, match="LogLevel is not supported"):
            await registry.update_configuration(update(logging_config=config))


async def test_a_stale_revision_is_refused(registry):
    created = await registry.create(request())
    updated = await registry.update_configuration(update(timeout=4, revision_id=created.revision_id))
    for attempt in (
        lambda: registry.update_configuration(update(timeout=5, revision_id=created.revision_id)),
        lambda: registry.update_code(
            UpdateFunctionCodeRequest(function_name="f", zip_file=package(), revision_id=created.revision_id)
        ),
    ):
        with pytest.raises(PreconditionFailedException, match="does not match the latest Revision Id"):
            await attempt()
    assert registry.get("f") is updated


async def test_a_dry_run_answers_with_what_would_be_and_changes_nothing(registry):
    created = await registry.create(request())
    other = package({"other.py": "1"})
    trial = await registry.update_code(
        UpdateFunctionCodeRequest(function_name="f", zip_file=other, dry_run=True, architectures=["arm64"])
    )
    assert (trial.code_size, trial.architectures) == (len(other), ("arm64",))
    assert trial.code_sha256 != created.code_sha256
    assert registry.get("f") is created
    assert len(packages(registry)) == 1
    with pytest.raises(InvalidParameterValueException, match="Could not unzip"):
        await registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=b"x", dry_run=True))


async def test_a_package_lives_as_long_as_a_function_names_it_and_a_while_longer(registry, clock):
    await registry.create(request("f"))
    await registry.create(request("g"))
    first = packages(registry)
    await registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package({"b": "2"})))
    assert len(packages(registry)) == 2
    await registry.delete("g")
    assert len(packages(registry)) == 2  # an environment may still be running it
    clock.advance(GRACE_S + 1)
    await registry.update_configuration(update(timeout=9))
    assert len(packages(registry)) == 1
    assert packages(registry) != first


async def test_a_pinned_package_goes_with_its_last_pin(registry, clock):
    function = await registry.create(request())
    registry.pin(function)
    registry.pin(function)
    await registry.delete("f")
    clock.advance(GRACE_S + 1)
    await registry.collect()
    await registry.unpin(function)
    assert Path(registry.code_root(function), "app.py").is_file()
    await registry.unpin(function)
    assert packages(registry) == []


async def test_a_package_that_came_back_is_not_removed_by_its_old_pin(registry):
    function = await registry.create(request())
    registry.pin(function)
    await registry.delete("f")
    again = await registry.create(request("again"))
    await registry.unpin(function)
    assert Path(registry.code_root(again), "app.py").is_file()


async def test_packages_without_a_function_go_at_the_next_start(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    await registry.create(request())
    await registry.delete("f")
    assert len(packages(registry)) == 1
    await registry.close()
    again = registry_at(tmp_path)
    await again.open()
    assert packages(again) == []
    await again.close()


async def test_a_refused_create_keeps_no_package(registry):
    await registry.create(request())
    with pytest.raises(ResourceConflictException):
        await registry.create(request(code=package({"other": "1"})))
    assert len(packages(registry)) == 1


async def test_a_function_whose_package_is_gone_is_failed_and_mended_by_new_code(tmp_path, caplog):
    registry = registry_at(tmp_path)
    await registry.open()
    function = await registry.create(request())
    await registry.close()
    await anyio.to_thread.run_sync(lambda: __import__("shutil").rmtree(Path(registry.code_root(function)).parent))
    again = registry_at(tmp_path)
    await again.open()
    assert "is missing" in caplog.text
    assert again.get("f").state == "Failed"
    mended = await again.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package()))
    assert (mended.state, mended.state_reason) == ("Active", None)
    await again.close()


async def test_a_live_folder_needs_no_package(registry, tmp_path):
    function = await registry.create(request(code=b""), source_dir=str(tmp_path))
    assert registry.code_root(function) == str(tmp_path)
    assert (function.code_sha256, function.code_size) == ("", 0)
    with pytest.raises(ResourceConflictException, match="no package"):
        registry.package_path(function)
    packed = await registry.update_code(UpdateFunctionCodeRequest(function_name="f", zip_file=package()))
    assert packed.source_dir is None
    live = await registry.update_code(UpdateFunctionCodeRequest(function_name="f"), source_dir=str(tmp_path))
    assert live.source_dir == str(tmp_path)
    registry.pin(live)
    await registry.unpin(live)
    await registry.delete("f")


@pytest.mark.parametrize("folder", ["relative", "/does/not/exist", ""])
async def test_a_folder_that_is_not_there_is_refused(registry, folder):
    with pytest.raises(InvalidParameterValueException, match="absolute path of an existing folder"):
        await registry.create(request(), source_dir=folder)


async def test_what_is_not_built_is_refused_and_not_ignored(registry):
    for members, name in (
        ({"package_type": "Image"}, "Image"),
        ({"durable_config": {"ExecutionTimeout": 5}}, "DurableConfig"),
        ({"tenancy_config": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
        ({"code": FunctionCode(s3_bucket="bucket", s3_key="k")}, "S3"),
    ):
        with pytest.raises(NotImplementedException, match=name):
            await registry.create(request(**members))


@pytest.mark.parametrize(
    "members",
    [
        {"memory_size": "128"},
        {"environment": {"AB": "1"}},
        {"description": "\ud800"},
        {"tags": {"a": object()}},
        {"layers": "l"},
    ],
)
async def test_an_embedders_request_of_wrong_types_is_a_validation_error(registry, members):
    with pytest.raises(ValidationException, match="1 validation error detected: "):
        await registry.create(request(**members))


async def test_an_embedders_package_must_be_bytes(registry):
    with pytest.raises(InvalidParameterValueException, match="ZipFile must be bytes, not str"):
        await registry.create(request(code="zip"))


async def test_reservations_leave_a_hundred_to_the_others(registry):
    await registry.create(request("f"))
    await registry.create(request("g"))
    await registry.reserve("f", 600)
    with pytest.raises(InvalidParameterValueException, match=r"below its minimum value of \[100\]"):
        await registry.reserve("g", 301)
    await registry.reserve("g", 300)
    await registry.reserve("f", 600)
    await registry.reserve("f", 0)
    assert (registry.reserved("f"), registry.reserved_total()) == (0, 300)
    await registry.reserve("g", None)
    assert registry.reserved_total() == 0


async def test_a_row_that_cannot_be_read_stops_the_start_and_names_the_function(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    await registry.create(request())
    await registry._database.write(lambda db: db.execute("UPDATE versions SET body = '{'"))
    await registry.close()
    with pytest.raises(DataDirectoryError, match="function 'f'"):
        await registry_at(tmp_path).open()
    with pytest.raises(DataDirectoryError, match="function 'f'"):  # and the failed start let the lock go
        await registry_at(tmp_path).open()


async def test_members_of_later_versions_are_ignored(tmp_path):
    registry = registry_at(tmp_path)
    await registry.open()
    function = await registry.create(request())
    body = {**msgspec.to_builtins(function), "from_the_future": 1}
    await registry._database.write(
        lambda db: db.execute("UPDATE versions SET body = ?", (msgspec.json.encode(body).decode(),))
    )
    await registry.close()
    again = registry_at(tmp_path)
    await again.open()
    assert again.get("f") == function
    await again.close()


@pytest.mark.usefixtures("registry")
async def test_two_engines_do_not_share_a_directory(tmp_path):
    with pytest.raises(DataDirectoryError, match=f"pid {os.getpid()}"):
        await registry_at(tmp_path / "data").open()


async def test_a_closed_registry_takes_no_changes(tmp_path):
    registry = registry_at(tmp_path)
    with pytest.raises(RuntimeError, match="not open"):
        await registry.create(request())
    await registry.close()

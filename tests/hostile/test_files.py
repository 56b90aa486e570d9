"""Files of the host and of others; links that lead out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import Engine
from engine.errors import InvalidParameterValueException
from tests.hostile.kit import TOOLS, Attackers, Neighbour
from tests.support.functions import bootstrap
from tests.support.packages import entry, packed

pytest_plugins = ("tests.support.sandbox_fixtures",)


async def test_files_of_the_host_and_of_others_cannot_be_read(
    engine: Engine, mode: str, attackers: Attackers, neighbour: Neighbour
) -> None:
    data = Path(engine.data_dir)
    paths = [
        str(data / "lambent.db"),
        str(data / "code"),
        str(data / "run"),
        neighbour.sandbox.tmp_dir,
        f"{neighbour.sandbox.tmp_dir}/secret",
        *(str(path) for path in data.rglob("package.zip")),
        "/etc/shadow",
        "/etc/gshadow",
        "/root",
        "/proc/kcore",
        "/proc/kpagecount",
    ]
    paths += {
        "process": [],
        "sandbox": [str(data), "/home", "/boot", "/run", "/var/log", "/sys", "/sys/fs/cgroup", "/dev/shm", "/dev/kmsg",
                    "/dev/mem", "/dev/loop-control", "/dev/pts", "/dev/fuse", "/etc/hostname", "/etc/ssh", "/.host",
                    str(Path(__file__))],
    }[mode]  # fmt: skip
    seen = await attackers.run(
        """
        def attack(paths):
            return {path: [look(path), tried(write, path), tried(os.mkdir, path + "/x"), tried(os.unlink, path)]
                    for path in paths}
        """,
        paths,
    )
    refused = {"ENOENT", "EACCES", "EPERM", "EROFS", "EISDIR", "ENOTDIR", "EBUSY", "EEXIST"}
    assert {path: words for path, words in seen.items() if not refused.issuperset(words)} == {}
    await neighbour.check()


async def test_links_in_tmp_lead_nowhere(
    engine: Engine, mode: str, attackers: Attackers, neighbour: Neighbour, tmp_path: Path
) -> None:
    """Neither for the function, nor for the engine when it looks at /tmp or removes it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    targets = [str(outside), str(outside / "kept"), "/etc/shadow", str(engine.data_dir), "/", "/proc/1/root"]
    function = await attackers.make(
        """
        def attack(targets):
            for number, target in enumerate(targets):
                os.symlink(target, f"{tmp}/link-{number}")
                os.mkdir(f"{tmp}/folder-{number}")
                os.symlink("../../../../../../" + target, f"{tmp}/folder-{number}/climbs")
            return [look(f"{tmp}/link-{number}") for number in (0, 1, 2)] + [
                tried(os.link, "/etc/passwd", tmp + "/hard"),
                tried(os.link, "/proc/self/exe", tmp + "/exe"),
            ]
        """
    )
    *looked, passwd, exe = (await function.invoke(targets)).json()
    assert set(looked) <= {"ENOENT", "EACCES"}
    if mode == "sandbox":
        assert {passwd, exe} <= {"EXDEV", "EPERM", "EROFS", "ENOENT"}
    await function.delete()
    await neighbour.check()
    assert (outside / "kept").read_text() == "kept"


@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../../../etc/shadow", "/etc/hostname", "a/../../.."])
async def test_a_package_with_a_link_that_leads_out_is_refused(engine: Engine, mode: str, target: str) -> None:
    package = packed((entry("bootstrap", 0o120777), target.encode()), (entry("a/b"), b"x"))
    with pytest.raises(InvalidParameterValueException, match="link"):
        await engine.create_function("attacker", code=package)


@pytest.mark.parametrize("watch", [False, True])
async def test_a_folder_whose_bootstrap_is_a_link_to_a_file_of_the_host_is_refused(
    engine: Engine, neighbour: Neighbour, tmp_path: Path, watch: bool
) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "bootstrap").symlink_to("/etc/shadow")
    with pytest.raises(Exception, match="link"):
        function = await engine.create_function("attacker", code=folder, watch=watch)
        await function.invoke(None)


async def test_a_link_planted_in_a_live_folder_is_not_followed(
    engine: Engine, neighbour: Neighbour, open_folder: Path
) -> None:
    """Hot reload: the folder is copied when it has changed, by the engine, which could read anything."""
    folder = bootstrap(
        open_folder / "live",
        TOOLS
        + """
def attack(event):
    return [look("stolen"), open("own").read()]
while True:
    request_id, event, _ = take()
    give(request_id, attack(event))
""",
    )
    (folder / "own").write_text("first")
    function = await engine.create_function("attacker", code=folder, watch=True)
    assert (await function.invoke(None)).json() == ["ENOENT", "first"]
    (folder / "target").write_text("second")
    (folder / "own").unlink()
    (folder / "own").symlink_to("target")
    assert (await function.invoke(None)).json() == ["ENOENT", "second"], "links inside the folder are fine"
    (folder / "stolen").symlink_to("/etc/shadow")
    with pytest.raises(Exception, match="link"):
        await function.invoke(None)
    (folder / "stolen").unlink()
    os.mkfifo(folder / "stolen")
    with pytest.raises(Exception, match="pipe"):
        await function.invoke(None)
    (folder / "stolen").unlink()
    assert (await function.invoke(None)).json() == ["ENOENT", "second"]


async def test_code_and_runtime_cannot_be_changed(engine: Engine, attackers: Attackers, neighbour: Neighbour) -> None:
    """Not even by their own function: the next environment gets what was deployed."""
    seen = await attackers.run(
        """
        def attack(event):
            task, runtime = os.environ["LAMBDA_TASK_ROOT"], os.environ["LAMBDA_RUNTIME_DIR"]
            out = []
            for root in (task, runtime, "/usr/bin", "/opt"):
                out.append(tried(write, root + "/new"))
            out.append(tried(write, task + "/bootstrap", "#!/bin/sh"))
            out.append(tried(os.rename, task + "/bootstrap", task + "/b"))
            out.append(tried(os.chmod, task + "/bootstrap", 0o777))
            out.append(tried(os.utime, task + "/bootstrap"))
            return out
        """
    )
    assert set(seen) <= {"EROFS", "EACCES", "EPERM", "ENOENT"}, seen

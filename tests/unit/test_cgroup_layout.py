"""Recorded hosts: what /proc/self/mountinfo and /proc/self/cgroup say there, and what is made of it."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox.cgroups.layout import Hierarchy, find, lay_out


class Host(NamedTuple):
    """One recording, and where everything must be found: controller to (version, own directory)."""

    mountinfo: str
    cgroup: str
    v2_controllers: str
    homes: dict[str, tuple[int, str]]
    missing: dict[str, str] = {}  # controller to a part of the reason  # noqa: RUF012


V2_SYSTEMD = Host(
    """
    23 29 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
    24 29 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:6 - sysfs sysfs rw
    29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
    31 24 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:7 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
    """,
    "0::/system.slice/lambent.service",
    "cpuset cpu io memory hugetlb pids rdma misc",
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), (2, "/sys/fs/cgroup/system.slice/lambent.service")),
)

V1_ONLY = Host(
    """
    25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
    30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
    34 25 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
    35 34 0:29 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:10 - cgroup cgroup rw,xattr,name=systemd
    38 34 0:32 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
    39 34 0:33 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,memory
    40 34 0:34 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,pids
    41 34 0:35 / /sys/fs/cgroup/freezer rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,freezer
    """,
    """
    11:pids:/user.slice/user-0.slice/session-3.scope
    9:freezer:/
    6:memory:/user.slice/user-0.slice/session-3.scope
    4:cpu,cpuacct:/user.slice
    1:name=systemd:/user.slice/user-0.slice/session-3.scope
    """,
    "",
    {
        "memory": (1, "/sys/fs/cgroup/memory/user.slice/user-0.slice/session-3.scope"),
        "cpu": (1, "/sys/fs/cgroup/cpu,cpuacct/user.slice"),
        "pids": (1, "/sys/fs/cgroup/pids/user.slice/user-0.slice/session-3.scope"),
        "freezer": (1, "/sys/fs/cgroup/freezer"),
    },
)

HYBRID = Host(
    """
    31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
    32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
    33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
    37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
    39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
    40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
    41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
    """,
    """
    9:name=systemd:/
    8:pids:/
    6:freezer:/
    4:memory:/process_api/843f398bb8e27aec89c3c0e17143a2cd
    2:cpuacct:/
    1:cpu:/
    0::/
    """,
    "hugetlb",
    {
        "memory": (1, "/sys/fs/cgroup/memory/process_api/843f398bb8e27aec89c3c0e17143a2cd"),
        "cpu": (1, "/sys/fs/cgroup/cpu"),
        "pids": (1, "/sys/fs/cgroup/pids"),
        "freezer": (2, "/sys/fs/cgroup/unified"),
    },
)

#: A container with a cgroup namespace of its own: what is "/" for it is /system.slice/docker-….scope outside.
V2_CONTAINER = Host(
    """
    612 540 0:50 / / rw,relatime master:280 - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
    614 612 0:54 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
    620 614 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate,memory_recursiveprot
    """,
    "0::/",
    "cpuset cpu io memory pids",
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), (2, "/sys/fs/cgroup")),
)

V2_CONTAINER_READ_ONLY = Host(
    V2_CONTAINER.mountinfo.replace("/sys/fs/cgroup rw", "/sys/fs/cgroup ro"),
    "0::/",
    "",
    {},
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), "mounted read-only at /sys/fs/cgroup"),
)

#: A container without one, on v1: the manager bind-mounts its part of each hierarchy, and the paths are the host's.
V1_BIND_MOUNTED = Host(
    """
    700 699 0:60 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
    701 700 0:33 /docker/5f2e /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime master:16 - cgroup cgroup rw,memory
    702 700 0:32 /docker/5f2e /sys/fs/cgroup/cpu,cpuacct ro,nosuid,nodev,noexec,relatime master:15 - cgroup cgroup rw,cpu,cpuacct
    703 700 0:34 /docker/other /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,pids
    """,
    """
    11:pids:/docker/5f2e
    7:freezer:/docker/5f2e
    6:memory:/docker/5f2e/inner
    4:cpu,cpuacct:/docker/5f2e
    """,
    "",
    {"memory": (1, "/sys/fs/cgroup/memory/inner")},
    {
        "cpu": "cgroup v1 cpu,cpuacct is mounted read-only at /sys/fs/cgroup/cpu,cpuacct",
        "pids": "the mount at /sys/fs/cgroup/pids shows only /docker/other, and we are in /docker/5f2e",
        "freezer": "cgroup v1 freezer is not mounted",
    },
)

V2_WITHOUT_CPU = Host(
    V2_SYSTEMD.mountinfo,
    "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope",
    "memory pids",
    dict.fromkeys(
        ("memory", "pids", "freezer"),
        (2, "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-r1.scope"),
    ),
    {"cpu": "the cpu controller is neither mounted as cgroup v1 nor available in"},
)

ESCAPES = Host(
    r"""
    31 23 0:28 / /mnt/my\040groups/c\134d rw,relatime - cgroup2 none rw
    """,
    "0::/a b:c\\d",
    "memory cpu pids",
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), (2, "/mnt/my groups/c\\d/a b:c\\d")),
)

#: Two mounts of one hierarchy: through the first we cannot see ourselves, the second cannot be written, the third will do.
SEVERAL_MOUNTS = Host(
    """
    31 23 0:28 /elsewhere /one rw,relatime - cgroup2 none rw
    32 23 0:28 / /two rw,relatime - cgroup2 none ro
    33 23 0:28 /here /three rw,relatime shared:3 master:1 propagate_from:2 - cgroup2 none rw
    """,
    "0::/here/we/are",
    "memory cpu pids",
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), (2, "/three/we/are")),
)

#: Somebody mounted a tmpfs over everything, and one hierarchy again inside it.
COVERED = Host(
    """
    31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
    35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
    39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
    50 31 0:70 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw
    51 50 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
    """,
    """
    8:pids:/
    4:memory:/
    """,
    "",
    {"pids": (1, "/sys/fs/cgroup/pids")},
    {
        "memory": "cgroup v1 memory is not mounted",
        "cpu": "no cgroup hierarchy with cpu is mounted",
        "freezer": "neither cgroup v2 nor the v1 freezer is mounted",
    },
)

#: setns into a container's namespaces without being moved into its cgroup.
OUTSIDE_OF_NAMESPACE = Host(
    V2_CONTAINER.mountinfo,
    "0::/../../user.slice/user-0.slice",
    "",
    {},
    dict.fromkeys(("memory", "cpu", "pids", "freezer"), "we are in /../../user.slice/user-0.slice"),
)

NOTHING = Host(
    "29 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw",
    "",
    "",
    {},
    {"memory": "no cgroup hierarchy with memory is mounted", "freezer": "neither cgroup v2 nor the v1 freezer"},
)

HOSTS = {name: value for name, value in list(globals().items()) if isinstance(value, Host)}


def text(recorded: str) -> str:
    return textwrap.dedent(recorded).strip() + "\n"


@pytest.mark.parametrize("name", HOSTS)
def test_each_controller_is_found_where_the_host_has_it(name):
    host = HOSTS[name]
    layout = lay_out(find(text(host.mountinfo), host.cgroup and text(host.cgroup)), host.v2_controllers.split())
    assert {key: (home.version, home.own) for key, home in layout.homes.items()} == host.homes
    for controller, reason in host.missing.items():
        assert reason in layout.missing[controller]
    assert layout.homes.keys() | layout.missing.keys() == {"memory", "cpu", "pids", "freezer"}


def test_controllers_mounted_together_are_one_hierarchy():
    found = find(text(V1_ONLY.mountinfo), text(V1_ONLY.cgroup))
    assert found.v1["cpu"] is found.v1["cpuacct"]
    assert found.v1["cpu"] == Hierarchy(
        1, frozenset({"cpu", "cpuacct"}), "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/user.slice", False
    )


def test_the_root_of_a_cgroup_namespace_is_known_as_such():
    assert find(text(V2_CONTAINER.mountinfo), "0::/\n").v2.top
    assert not find(text(V2_SYSTEMD.mountinfo), text(V2_SYSTEMD.cgroup)).v2.top


def test_this_host_is_read_without_an_error():
    me = Path("/proc/self")
    layout = lay_out(find((me / "mountinfo").read_text(), (me / "cgroup").read_text()), ["memory", "cpu", "pids"])
    for home in layout.homes.values():
        assert Path(home.own).is_dir() or home.own.endswith(" (deleted)")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=200))
def test_no_line_of_mountinfo_is_too_strange(line):
    find(line, "0::/\n")


names = st.text(st.sampled_from("ab \t\\:é"), min_size=1, max_size=8)


@given(st.lists(names, max_size=3), st.lists(names, min_size=1, max_size=3), st.lists(names, max_size=3))
def test_any_path_survives_the_kernels_escapes(root, point, below):
    def escape(path):
        return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in path)

    mount_root, mount_point = "/" + "/".join(root), "/" + "/".join(point)
    line = f"31 23 0:28 {escape(mount_root)} {escape(mount_point)} rw,relatime - cgroup2 none rw"
    found = find(line + "\n", "0::/" + "/".join([*root, *below]) + "\n")
    assert found.v2 is not None
    assert found.v2.own == "/".join([mount_point, *below])

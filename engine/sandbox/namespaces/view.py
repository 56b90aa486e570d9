"""What a function sees of files and names: the plan, as instructions for the sandbox's first process. No I/O.

The policy of sandbox mode. `native/mounts.c` carries it out and says what each instruction means; nothing else of the
host appears inside. All of it is read-only but /tmp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

#: Programs and libraries of the host, as far as they are there; links as links (merged /usr).
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

#: Of /etc what programs need that resolve names, speak TLS or know the time; no passwords, no keys, no configuration.
SYSTEM_ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "fonts", "gai.conf", "host.conf", "java-11-openjdk",
    "java-17-openjdk", "java-21-openjdk", "java-25-openjdk", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "localtime", "magic", "mime.types", "mono", "nsswitch.conf", "os-release", "perl", "pki",
    "protocols", "python3", "services", "ssl", "terminfo", "timezone", "crypto-policies", "debian_version",
)  # fmt: skip

#: /etc of a function that shares the host's network: how that resolves names. And what the host's hosts file says.
NETWORK_ETC = ("resolv.conf",)

DEVICES = ("full", "null", "random", "urandom", "zero")

#: As recorded inside Lambda (facts §5.2).
USER_NAME = "sbx_user1051"
#: Its id in a user namespace (native/sandbox.c, USER); without one, each sandbox has an id of its own.
MAPPED_USER = 1051

TASK, OPT, RUNTIME, TMP = "/var/task", "/opt", "/var/runtime", "/tmp"  # noqa: S108 - inside the sandbox

_EMPTY_HOSTS = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"

#: What extensions call the sandbox that they are in: the Telemetry API delivers there, and they listen there.
_OWN_NAMES = "sandbox.localdomain sandbox"


class Host(Struct, frozen=True):
    """What the plan depends on, found out by `provider.look_at_host`.

    Attributes:
        links: which of SYSTEM are symbolic links, and where to.
        folders: which of SYSTEM are folders.
        etc: which of SYSTEM_ETC and NETWORK_ETC exist.
        devices: which of DEVICES exist.
    """

    links: Mapping[str, str]
    folders: Sequence[str]
    etc: frozenset[str]
    devices: Sequence[str]


def hosts(address: str, others: str) -> str:
    """The hosts file of a sandbox: its own names at its own loopback address, and what `others` says."""
    text = others if others.endswith("\n") or not others else f"{others}\n"
    return f"{text}{address} {_OWN_NAMES}\n"


def base(host: Host, root: str, user: int, runtimes: str, names: str | None) -> list[str]:
    """The view before it is known which function it is for.

    Args:
        host: what there is.
        root: an empty folder of the host, under the sandbox's root for as long as it takes to build it.
        user: the id of the sandbox's user.
        runtimes: the host's folder of the managed runtimes' bootstraps.
        names: the hosts file, of `hosts`. None: the network namespace is the sandbox's own: bring loopback up, and
            resolve nothing but that.
    """
    plan = [
        *_files(host, root, user, runtimes, names),
        "proc",
        "/proc",
        "pivot",
        "hostname",
        "lambent",
    ]
    if names is None:
        plan += ["loopback"]
    return [*plan, "seal", "/"]


def zygote(
    host: Host, root: str, runtimes: str, own: Mapping[str, str], folders: Iterable[str], names: str | None
) -> list[str]:
    """The view of a zygote: that of a sandbox, but in the host's other namespaces.

    Args:
        host: as for `base`, and `root`, `runtimes`, `names` too.
        root: see there.
        runtimes: see there.
        own: what it has beside, the host's path by the one inside.
        folders: which are to be there, empty: the dynamic loader remembers those that it did not find.
        names: see there.
    """
    plan = _files(host, root, 0, runtimes, names)
    for inside, source in own.items():
        plan += ["bind", source, inside]
    for folder in folders:
        if folder.startswith((f"{TASK}/", f"{OPT}/")):
            plan += ["dir", folder, "755"]
    return [*plan, "pivot", "seal", "/", "detach"]


def _files(host: Host, root: str, user: int, runtimes: str, names: str | None) -> list[str]:
    plan = ["root", root]
    for path, target in host.links.items():
        plan += ["link", path, target]
    for path in host.folders:
        plan += ["bind", path, path]
    etc = [name for name in SYSTEM_ETC if name in host.etc]
    if names is not None:
        etc += [name for name in NETWORK_ETC if name in host.etc]
    for name in etc:
        plan += ["bind", f"/etc/{name}", f"/etc/{name}"]
    files = {
        "passwd": f"root:x:0:0:root:/root:/sbin/nologin\n{USER_NAME}:x:{user}:{user}::{TMP}:/sbin/nologin\n",
        "group": f"root:x:0:\n{USER_NAME}:x:{user}:\n",
        "hosts": hosts("127.0.0.1", _EMPTY_HOSTS) if names is None else names,
    }
    for name, text in files.items():
        plan += ["file", f"/etc/{name}", text]
    for path, mode in ((TASK, "755"), (OPT, "755"), (TMP, "1777"), ("/dev", "755"), ("/root", "700")):
        plan += ["dir", path, mode]
    plan += ["bind", runtimes, RUNTIME]
    for name in host.devices:
        plan += ["device", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        plan += ["link", f"/dev/{name}", f"/proc/self/{target}"]
    return plan


def disk() -> list[str]:
    """The function's own /tmp is the detached mount that comes along."""
    return ["attach", TMP]


def memory_tmp(size_mb: int, user: int) -> list[str]:
    """A /tmp in memory, where no disk can be had; it counts as the function's memory."""
    return ["memory", TMP, f"size={size_mb}m,mode=1777,uid={user},nr_inodes={size_mb * 128}"]


def assign(folders: Mapping[str, str]) -> list[str]:
    """The view of one function: the host's folder by its path inside. The host's own files go with this.

    Raises:
        ValueError: a path inside that is none of the places made for it.
    """
    plan: list[str] = []
    for inside, source in folders.items():
        if inside not in {TASK, OPT}:
            raise ValueError(f"nothing can be shown at {inside}: only at {TASK} and {OPT}")
        plan += ["bind", source, inside]
    return [*plan, "detach"]


def visible(root_paths: Iterable[str], path: str) -> bool:
    """Whether `path` of the host is at the same path inside, under one of `root_paths`."""
    return any(path == root or path.startswith(f"{root}/") for root in root_paths)

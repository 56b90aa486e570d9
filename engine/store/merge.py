"""Layers merged into one tree, later ones over earlier ones: what a function sees at /opt.

As on Lambda, where layers are unpacked one after the other into /opt. A file takes the place of what was there by its
name, a folder joins the folder that was there. The merged tree has hard links to the layers' files, where the file
system can; nobody writes to either.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from engine.errors import InvalidParameterValueException

#: Not to be linked (again): another file system, one without hard links, a file with as many links as it may have.
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS})

Tree = dict[str, "Tree | str"]
"""Names to what is there: a folder's own names, or the path of the file or symbolic link that it comes from."""


def without_covered(digests: Sequence[str]) -> list[str]:
    """The layers whose content counts: of one that is named twice, only the last; nothing of the first is left."""
    return [digest for at, digest in enumerate(digests) if digest and digest not in digests[at + 1 :]]


def merged_digest(digests: Sequence[str]) -> str:
    """By what the tree of these layers is known: "" without any; a single layer is its own tree."""
    counting = without_covered(digests)
    if len(counting) < 2:
        return "".join(counting)
    # Not SHA-256: whoever uploads these bytes as a package must not come upon this tree as its content.
    return hashlib.blake2s("\n".join(counting).encode()).hexdigest()


def merge(sources: Sequence[Path], target: Path) -> None:
    """Merge the trees into the existing empty folder `target`. Blocking: run it in a thread.

    Raises:
        InvalidParameterValueException: a symbolic link of one leads out of the whole.
        OSError: the file system refused.
    """
    tree: Tree = {}
    for source in sources:
        _overlay(tree, source)
    links = _write(tree, target)
    root = os.path.realpath(target)
    for link in links:  # each stayed within its own layer, but another's folder may be a link by now
        if not f"{os.path.realpath(link)}/".startswith(f"{root}/"):
            relative = link.relative_to(target)
            raise InvalidParameterValueException(
                f"The layers cannot be merged: the symbolic link {str(relative)!r} of one of them leads out of /opt"
            )


def _overlay(tree: Tree, source: Path) -> None:
    pending: list[tuple[Tree, str]] = [(tree, os.fspath(source))]
    while pending:
        node, folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below = node.get(entry.name)
                    if not isinstance(below, dict):
                        below = node[entry.name] = {}
                    pending.append((below, entry.path))
                else:
                    node[entry.name] = entry.path


def _write(tree: Tree, target: Path) -> list[Path]:
    """Make it; returns the symbolic links."""
    links: list[Path] = []
    pending: list[tuple[Tree, Path]] = [(tree, target)]
    while pending:
        node, folder = pending.pop()
        for name, what in node.items():
            path = folder / name
            if isinstance(what, dict):
                path.mkdir()
                path.chmod(0o755)
                pending.append((what, path))
            else:
                _link(what, path)
                if path.is_symlink():
                    links.append(path)
    return links


def _link(source: str, path: Path) -> None:
    try:
        os.link(source, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        if os.path.islink(source):  # noqa: PTH114 - `source` is text, as scandir has it
            path.symlink_to(os.readlink(source))  # noqa: PTH115
        else:
            shutil.copyfile(source, path)
            path.chmod(os.stat(source).st_mode & 0o777)  # noqa: PTH116


def content_size(tree: Path) -> int:
    """Bytes of the files and links below a folder, as `unzip` counts them. Blocking."""
    return sum(_sizes(os.fspath(tree)))


def _sizes(root: str) -> Iterator[int]:
    pending = [root]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    yield entry.stat(follow_symlinks=False).st_size

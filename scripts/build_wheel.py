"""The build hook of the wheel: compiles the native part of the sandbox and makes the wheel one for this machine.

Without a C compiler the wheel is a pure one: the engine works, slower and without sandbox mode, and says so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROGRAMS = "engine/sandbox/native/lambent-native", "engine/sandbox/native/lambent-restore"


class NativeProgram(BuildHookInterface[Any]):
    """Called by hatchling before it collects the files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the result put into the wheel although git ignores it."""
        if version == "editable" or not sys.platform.startswith("linux") or shutil.which("cc") is None:
            return
        subprocess.run([Path(self.root) / "engine/sandbox/native/build.sh"], check=True)
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
        for program in _PROGRAMS:
            if (Path(self.root) / program).exists():  # the second is for x86-64 only
                build_data["force_include"][program] = program

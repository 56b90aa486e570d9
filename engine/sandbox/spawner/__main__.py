"""Start of the spawner: ``python -I -S .../spawner CONTROL_FD ENGINE_PID NATIVE_BLANK``.

Only this folder's parent is put on the path, and only while the package is imported: neither the engine nor
site-packages can be reached from here.
"""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120 - pathlib is large
    program = __import__("spawner.program", fromlist=["main"])
    del sys.path[0]
    program.main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

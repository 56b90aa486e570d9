"""The filter loaded into real processes: refused calls fail as they should, and ordinary programs notice nothing."""

from __future__ import annotations

import errno
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.sandbox.seccomp import filter_program
from engine.sandbox.seccomp.policy import NOT_THERE, REFUSED
from engine.sandbox.seccomp.tables import SYSCALLS
from tests.support.require import requires, unavailable

MACHINE = os.uname().machine
if MACHINE not in SYSCALLS or sys.platform != "linux":
    pytest.skip(f"there is no filter for {sys.platform} on {MACHINE}", allow_module_level=True)

# What the sandbox's first process does in C: no new privileges, load the filter, exec.
RUN_FILTERED = """
import ctypes, os, sys
code = open(sys.argv[1], "rb").read()
class Fprog(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(Fprog(len(code) // 8, code)), 0, 0):
    sys.exit(f"cannot load the filter: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[2], sys.argv[2:])
"""

# Makes the calls given as JSON [[number, args], …] and prints the errno of each. Should the filter not be there (asking
# for a weaker personality is harmless then), it stops before it does harm.
CALL = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, args):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(value) for value in (number, *args)])
    return ctypes.get_errno() if result == -1 else 0
personality, calls = json.load(sys.stdin)
assert call(personality, [0x40000]) == 1, "no filter"
print(json.dumps([call(number, args) for number, args in calls]))
"""


Filtered = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def filtered(tmp_path: Path) -> Filtered:
    """Runs a command under the filter to its end, in a folder of its own."""
    program = tmp_path / "filter"
    program.write_bytes(filter_program())
    work = tmp_path / "work"
    work.mkdir()

    def run(*command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", RUN_FILTERED, str(program), *command],
            input=given,
            capture_output=True,
            text=True,
            cwd=work,
            check=False,
            timeout=50,
        )

    return run


@pytest.fixture
def errno_of(filtered: Filtered):
    """Errno of calls under the filter, 0 for success: ``errno_of(("socket", 40, 1, 0), …)``."""
    numbers = SYSCALLS[MACHINE]

    def run(*calls: tuple[str | int, *tuple[int, ...]]) -> list[int]:
        wire = [[numbers[name] if isinstance(name, str) else name, list(args)] for name, *args in calls]
        done = filtered(sys.executable, "-I", "-S", "-c", CALL, given=json.dumps([numbers["personality"], wire]))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(
    ("names", "expected"), [(REFUSED, errno.EPERM), (NOT_THERE, errno.ENOSYS)], ids=["refused", "absent"]
)
def test_every_call_that_is_refused_or_absent_says_so(errno_of, names, expected):
    here = sorted(names & SYSCALLS[MACHINE].keys())
    assert dict(zip(here, errno_of(*[(name, *[-1] * 6) for name in here]), strict=True)) == dict.fromkeys(
        here, expected
    )


def test_a_number_newer_than_the_tables_is_absent(errno_of):
    assert errno_of((470,), (600,), (5000,)) == [errno.ENOSYS] * 3


@pytest.mark.parametrize(
    ("family", "kind", "protocol", "expected"),
    [
        ("unix", 1, 0, 0), ("inet", 1, 6, 0), ("inet", 2, 17, 0), ("netlink", 3, 0, 0),
        ("netlink", 3, 4, errno.EPERM), ("netlink", 3, 16, errno.EPERM), ("inet", 1, 132, errno.EPERM),
        ("alg", 5, 0, errno.EPERM), ("vsock", 1, 0, errno.EPERM), ("packet", 3, 0, errno.EPERM),
        ("bluetooth", 3, 1, errno.EPERM), ("tipc", 1, 0, errno.EPERM), ("xdp", 3, 0, errno.EPERM),
    ],
)  # fmt: skip
def test_sockets_by_family(errno_of, family, kind, protocol, expected):
    families = {"unix": 1, "inet": 2, "netlink": 16, "packet": 17, "tipc": 30, "bluetooth": 31, "alg": 38, "vsock": 40,
                "xdp": 44}  # fmt: skip
    assert errno_of(("socket", families[family], kind, protocol)) == [expected]


def test_namespaces_devices_and_terminal_injection_are_refused(errno_of):
    new_user_namespace, to_terminal = 0x10000000 | signal.SIGCHLD, 0x5412
    assert errno_of(("clone", new_user_namespace, 0, 0, 0, 0), ("ioctl", 0, to_terminal, 0)) == [errno.EPERM] * 2
    assert errno_of(("mknodat", -1, 0, 0o020666, 0x103), ("mknodat", -1, 0, 0o060666, 0)) == [errno.EPERM] * 2
    assert errno_of(("mknodat", -1, 0, 0o010666, 0)) == [errno.EFAULT]


def test_the_owner_of_a_file_cannot_change_whose_quota_it_counts_for(filtered):
    flags = (
        "import array, fcntl, os\n"
        "file = os.open('mine', os.O_CREAT | os.O_RDWR)\n"
        "for request, size in ((0x40086602, 8), (0x401C5820, 28)):\n"
        "    try: fcntl.ioctl(file, request, bytes(size))\n"
        "    except PermissionError: print('refused')\n"
    )
    assert filtered(sys.executable, "-c", flags).stdout == "refused\nrefused\n"


@pytest.mark.skipif(MACHINE != "x86_64", reason="x32 and i386 are modes of x86_64")
def test_x32_numbers_are_absent(errno_of):
    assert errno_of((0x40000000 + SYSCALLS["x86_64"]["getpid"],), (0x40000000 + 521, 0)) == [errno.ENOSYS] * 2


@pytest.mark.skipif(MACHINE != "x86_64", reason="int 0x80 is x86")
def test_32_bit_system_calls_end_the_process(filtered):
    # mov eax, 20 (getpid of i386); int 0x80; ret
    code = (
        "import ctypes, mmap\n"
        "page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)\n"
        "page.write(bytes.fromhex('b814000000cd80c3'))\n"
        "print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())\n"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=20)
    if plain.returncode:
        pytest.skip(f"this kernel has no 32-bit calls (it ended with {plain.returncode})")
    assert int(plain.stdout) > 0
    assert filtered(sys.executable, "-c", code).returncode == -signal.SIGSYS


def test_the_filter_cannot_be_taken_off_and_a_process_may_confine_itself_further(errno_of):
    disabled, strict = 0, 1
    assert errno_of(("seccomp", disabled, 0, 0)) == [errno.EINVAL]
    assert errno_of(("prctl", 22, disabled, 0, 0, 0)) == [errno.EINVAL]
    assert errno_of(("prctl", 22, strict, 0, 0, 0)) == [errno.EINVAL]


PYTHON = """
import asyncio, concurrent.futures, ctypes, fcntl, mmap, multiprocessing, os, selectors, socket, sqlite3, ssl
import subprocess, sys, tempfile, threading, time
from multiprocessing import shared_memory

def double(x): return 2 * x

def handshake(side, server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AECDH-AES128-SHA:@SECLEVEL=0")
    with context.wrap_socket(side, server_side=server) as wrapped:
        wrapped.sendall(b"hello")
        assert wrapped.recv(5) == b"hello"

async def loop():
    async def answer(reader, writer):
        writer.write(await reader.readline()); writer.close()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"line\\n")
    assert await reader.readline() == b"line\\n"
    writer.close(); server.close()
    child = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    assert (await child.communicate(b"through"))[0] == b"through"
    assert await asyncio.to_thread(double, 4) == 8
    await asyncio.wait_for(asyncio.sleep(0.001), 5)

def main():
    assert subprocess.run(["sh", "-c", "echo a | tr a b"], capture_output=True).stdout == b"b\\n"
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert pool.map(double, range(9)) == [2 * x for x in range(9)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(double, range(100))) == 9900
    asyncio.run(loop())
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(folder + "/db"); db.execute("pragma journal_mode=wal")
        db.execute("create table t (a)"); db.executemany("insert into t values (?)", [(x,) for x in range(500)])
        db.commit(); assert db.execute("select sum(a) from t").fetchone() == (124750,); db.close()
        os.mkfifo(folder + "/fifo"); os.symlink("x", folder + "/link")
        with open(folder + "/file", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX); os.posix_fallocate(file.fileno(), 0, 4096); os.fsync(file.fileno())
    memory = shared_memory.SharedMemory(create=True, size=100); memory.close(); memory.unlink()
    one, other = socket.socketpair()
    thread = threading.Thread(target=handshake, args=(one, True)); thread.start()
    handshake(other, False); thread.join()
    assert socket.getaddrinfo("localhost", 80); socket.if_nameindex()
    os.sched_setaffinity(0, os.sched_getaffinity(0)); os.getrandom(8); os.memfd_create("m")
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PIDFD, os.pidfd_open(child.pid), os.WEXITED | os.WNOWAIT); child.wait()
    time.sleep(0.001); print("done")

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_python_works(filtered, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PYTHON)
    done = filtered(sys.executable, "-W", "error::UserWarning", str(script))
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


NODE = """
const http = require('http'), fs = require('fs'), os = require('os'), zlib = require('zlib'), crypto = require('crypto')
const { Worker } = require('worker_threads'), { execFileSync, fork } = require('child_process')
if (process.argv[2] === 'child') { process.send('hello'); process.exit() }
process.on('unhandledRejection', error => { throw error })
;(async () => {
  fs.writeFileSync('file', 'x'.repeat(100000))
  if ((await fs.promises.readFile('file')).length !== 100000) throw new Error('file')
  fs.watch('.').close(); fs.cpSync('file', 'copy')
  if (execFileSync('sh', ['-c', 'echo $((6*7))']).toString() !== '42\\n') throw new Error('child')
  await new Promise(done => fork(__filename, ['child']).on('message', done))
  await new Promise(done => new Worker('postMessage(1)'.replace(/^/, "require('worker_threads').parentPort."),
    { eval: true }).on('message', done))
  const server = http.createServer((_, answer) => answer.end(zlib.gzipSync('hello')))
  await new Promise(done => server.listen(0, '127.0.0.1', done))
  const body = await (await fetch(`http://127.0.0.1:${server.address().port}`)).arrayBuffer()
  if (zlib.gunzipSync(Buffer.from(body)).toString() !== 'hello') throw new Error('http')
  server.closeAllConnections(); server.close()
  await require('dns').promises.lookup('localhost')
  crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }); await crypto.webcrypto.subtle.digest('SHA-256', Buffer.from('a'))
  if (!os.networkInterfaces().lo) throw new Error('interfaces'); os.setPriority(0); os.cpus()
  console.log('done')
})()
"""


@pytest.mark.slow
def test_node_works(filtered, tmp_path):
    requires("node")
    script = tmp_path / "script.js"
    script.write_text(NODE)
    done = filtered("node", str(script))
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


def test_bash_works(filtered):
    script = """
        set -euo pipefail
        mkfifo fifo; (echo through > fifo) & read -r line < fifo; wait; [ "$line" = through ]
        diff <(seq 3) <(printf '1\\n2\\n3\\n'); cat <<< here | tr a-z A-Z
        trap 'echo told' USR1; kill -USR1 $$; ls -la /proc/self > /dev/null; chmod 4755 fifo; umask 077
        ulimit -n 64; cp -a fifo copy; tar cf - fifo | tar tf -; date > /dev/null; nice -n 1 true; timeout 5 true
    """
    done = filtered("bash", "-c", script)
    assert (done.stdout, done.returncode) == ("HERE\ntold\nfifo\n", 0), done.stderr


def test_curl_works(filtered):
    requires("curl")

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("content-length", "5")
            self.end_headers()
            self.wfile.write(b"hello")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            done = filtered("curl", "-sS", "--max-time", "20", f"http://localhost:{server.server_port}/")
        finally:
            server.shutdown()
            thread.join(20)
    assert (done.stdout, done.returncode) == ("hello", 0), done.stderr


JAVA = """
import java.io.*; import java.net.*; import java.nio.file.*; import java.util.concurrent.*; import java.util.stream.*;
public class Main {
  public static void main(String[] args) throws Exception {
    var pool = Executors.newFixedThreadPool(4);
    if (pool.submit(() -> IntStream.range(0, 1000).parallel().sum()).get() != 499500) throw new Error();
    try (var server = new ServerSocket(0, 5, InetAddress.getLoopbackAddress())) {
      pool.submit(() -> { try (var peer = server.accept()) { peer.getOutputStream().write(7); } return 0; });
      try (var socket = new Socket("localhost", server.getLocalPort())) {
        if (socket.getInputStream().read() != 7) throw new Error();
      }
    }
    pool.shutdown();
    if (new ProcessBuilder("true").start().waitFor() != 0) throw new Error();
    Files.writeString(Path.of("file"), "x"); NetworkInterface.getNetworkInterfaces(); System.gc();
    System.out.println("done");
  }
}
"""


@pytest.mark.slow
def test_java_works(filtered, tmp_path):
    requires("java")
    source = tmp_path / "Main.java"
    source.write_text(JAVA)
    done = filtered("java", "-Xmx256m", str(source))
    if "jdk.compiler" in done.stderr:
        unavailable("needs a Java with its compiler (a JDK)")
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.slow
def test_go_programs_work(filtered):
    requires("go", because="go and gofmt are Go programs of many threads")
    done = filtered("sh", "-c", "printf 'package  main' | gofmt && go env GOOS")
    assert (done.stdout, done.returncode) == ("package main\nlinux\n", 0), done.stderr

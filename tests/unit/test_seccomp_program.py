"""The filter as the kernel runs it: an interpreter of classic BPF over every number, and over arguments where they count."""

from __future__ import annotations

import errno
import itertools
import re
import struct
import subprocess

import pytest

from engine.errors import SandboxError
from engine.sandbox.seccomp import UnsupportedMachine, bpf, filter_program
from engine.sandbox.seccomp.policy import ALLOWED, CHECKED, NOT_THERE, REFUSED
from engine.sandbox.seccomp.tables import LAST, SYSCALLS
from tests.support.require import requires

MACHINES = ("x86_64", "aarch64")
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS

Program = list[tuple[int, int, int, int]]


def decoded(program: bytes) -> Program:
    return list(struct.iter_unpack("=HBBI", program))


def run(program: Program, number: int, args: tuple[int, ...] = (), architecture: int = ARCHITECTURES["x86_64"]):
    """What the kernel would do, and how many instructions it would take to find out."""
    data = struct.pack("<IIQ6Q", number & 0xFFFFFFFF, architecture, 0, *args, *[0] * (6 - len(args)))
    at = steps = word = 0
    while True:
        code, jt, jf, k = program[at]
        at, steps = at + 1, steps + 1
        match code:
            case 0x20:
                assert k % 4 == 0
                (word,) = struct.unpack_from("<I", data, k)
            case 0x54:
                word &= k
            case 0x05:
                at += k
            case 0x15:
                at += jt if word == k else jf
            case 0x35:
                at += jt if word >= k else jf
            case 0x45:
                at += jt if word & k else jf
            case 0x06:
                return k, steps
            case _:
                raise AssertionError(f"the kernel's emulator does not know instruction {code:#x}")


@pytest.fixture(params=MACHINES)
def machine(request):
    return request.param


@pytest.fixture
def judge(machine):
    program, numbers = decoded(filter_program(machine)), SYSCALLS[machine]

    def verdict(call: str | int, *args: int) -> int:
        number = numbers[call] if isinstance(call, str) else call
        return run(program, number, args, ARCHITECTURES[machine])[0]

    return verdict


def test_every_call_of_both_tables_is_in_exactly_one_group():
    groups = [ALLOWED, REFUSED, NOT_THERE, frozenset(CHECKED)]
    for one, other in itertools.combinations(groups, 2):
        assert not one & other
    assert frozenset().union(*groups) == {name for numbers in SYSCALLS.values() for name in numbers}


def test_each_number_up_to_1200_gets_what_its_group_says_and_unknown_ones_are_absent(machine, judge):
    names = {number: name for name, number in SYSCALLS[machine].items()}
    assert max(names) == LAST
    for number in range(1200):
        name = names.get(number)
        if name in CHECKED:
            continue
        expected = ALLOW if name in ALLOWED else EPERM if name in REFUSED else ENOSYS
        for args in ((), (2**64 - 1,) * 6):
            assert judge(number, *args) == expected, f"{number} {name}"


@pytest.mark.parametrize("number", [-1, 2**31 - 1, 2**31, 0x40000000, 0x40000000 + 39, 0x40000000 + 521])
def test_numbers_far_out_and_those_of_x32_are_absent(judge, number):
    assert judge(number) == ENOSYS


def test_other_architectures_end_the_process_whatever_the_call(machine):
    program = decoded(filter_program(machine))
    i386, arm, big_endian = 0x40000003, 0x40000028, 0x800000B7
    for architecture in ({i386, arm, big_endian, 0, *ARCHITECTURES.values()}) - {ARCHITECTURES[machine]}:
        assert {run(program, number, (), architecture)[0] for number in range(500)} == {KILL}


NAMESPACES = {"NEWNS": 0x20000, "NEWCGROUP": 0x2000000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000,
              "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000}  # fmt: skip


def test_clone_makes_threads_and_processes_but_no_namespaces(judge):
    thread = 0x3D0F00  # what pthread_create passes: VM FS FILES SIGHAND THREAD SYSVSEM SETTLS PARENT_SETTID CLEARTID
    for flags in (thread, 17, 0x1200011, 0x4111, 0x80000000, 0x1000 | 17):
        assert judge("clone", flags) == ALLOW
    for name, flag in NAMESPACES.items():
        for others in (0, 17, thread):
            assert judge("clone", flag | others) == EPERM, name
            assert judge("clone", flag | others | 0xFFFFFFFF << 32) == EPERM, name


def test_clone3_is_absent_so_that_the_c_library_uses_clone(judge):
    assert judge("clone3") == ENOSYS


@pytest.mark.parametrize("call", ["socket", "socketpair"])
def test_sockets_are_of_unix_tcp_udp_and_route_only(judge, call):
    for kind in (1, 2, 3, 5, 1 | 0o2000000 | 0o4000):
        assert judge(call, 1, kind, 0) == ALLOW
        for family, protocol in itertools.product((2, 10), range(300)):
            expected = ALLOW if protocol in {0, 1, 6, 17, 58, 262} else EPERM
            assert judge(call, family, kind, protocol) == expected, (family, protocol)
        for protocol in range(40):
            assert judge(call, 16, kind, protocol) == (EPERM if protocol else ALLOW)
        for family in {*range(300), 2**31, 2**32 - 1} - {1, 2, 10, 16}:
            assert judge(call, family, kind, 0) == EPERM, family


def test_a_bit_in_the_upper_half_of_an_argument_does_not_get_past_the_filter(judge):
    high = 1 << 32
    assert judge("ioctl", 0, 0x5412 | high) == EPERM
    assert judge("socket", 40 | high, 1, 0) == EPERM
    assert judge("socket", 2, 1, 132 | high) == EPERM
    assert judge("personality", 0x40000 | high) == EPERM
    assert judge("mknodat", 3, 0, 0o020666 | high, 0) == EPERM


def test_terminal_injection_and_file_flags_are_refused_other_ioctls_are_not(judge):
    for request in (0x5412, 0x541C, 0x5423, 0x40086602, 0x401C5820):  # TIOCSTI TIOCLINUX TIOCSETD SETFLAGS FSSETXATTR
        assert judge("ioctl", 0, request, 2**64 - 1) == EPERM
    for request in (0x5401, 0x5413, 0x541B, 0x5421, 0x5451, 0x8912, 0x80086601, 0x801C581F, 0x40049409):
        assert judge("ioctl", 0, request) == ALLOW


def test_fifos_sockets_and_files_can_be_made_devices_cannot(machine, judge):
    calls = [("mknodat", 2)] + [("mknod", 1)] * (machine == "x86_64")
    for (call, at), permissions in itertools.product(calls, (0, 0o600, 0o7777)):
        for kind, expected in ((0, ALLOW), (0o010000, ALLOW), (0o100000, ALLOW), (0o140000, ALLOW),
                               (0o020000, EPERM), (0o060000, EPERM)):  # fmt: skip
            assert judge(call, *[0] * at, kind | permissions, 0x103) == expected


def test_personality_is_asked_and_plain_but_not_weakened(judge):
    for persona in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, 2**64 - 1):
        assert judge("personality", persona) == ALLOW
    for persona in (0x40000, 0x400000, 0x200000, 0x800000, 1, 0x40008, 0xFFFFFFFE):
        assert judge("personality", persona) == EPERM


def test_the_search_is_balanced(machine):
    program = decoded(filter_program(machine))
    numbers = SYSCALLS[machine]
    steps = [run(program, number, (), ARCHITECTURES[machine])[1] for number in range(LAST + 10)]
    assert max(step for number, step in enumerate(steps) if number not in {numbers.get(name) for name in CHECKED}) <= 12
    assert max(steps) <= 18
    assert len(program) < 400


def test_every_jump_lands_inside_and_every_path_ends(machine):
    program = decoded(filter_program(machine))
    for at, (code, jt, jf, k) in enumerate(program):
        targets = {0x05: [k], 0x06: []}.get(code, [jt, jf])
        assert all(at + 1 + target < len(program) for target in targets)


def test_a_test_can_jump_over_a_block_of_any_length():
    long = (bpf.Instruction(0x54, k=0xFFFFFFFF),) * 1000 + bpf.KILL_PROCESS
    program = decoded(bpf.encode(bpf.load(bpf.NUMBER, bpf.when(bpf.EQUAL, 7, bpf.ALLOW, long))))
    assert run(program, 7)[0] == ALLOW
    assert run(program, 8)[0] == KILL


def test_a_program_longer_than_the_kernel_takes_is_not_encoded():
    with pytest.raises(ValueError, match="4097 instructions; the kernel takes 4096"):
        bpf.encode(bpf.ALLOW * 4097)


def test_the_other_names_of_the_machines_mean_the_same():
    assert filter_program("arm64") == filter_program("aarch64") != filter_program("amd64") == filter_program("x86_64")


def test_an_unknown_machine_is_named():
    with pytest.raises(
        UnsupportedMachine, match=r"no seccomp filter for the machine 'riscv64'.*x86_64 and aarch64"
    ) as e:
        filter_program("riscv64")
    assert isinstance(e.value, SandboxError)


def numbers_in_headers(header: str, *defines: str) -> dict[str, int]:
    """What the C headers of this machine say; names that stand for others are followed."""
    requires("gcc")
    run = subprocess.run(
        ["gcc", "-dM", "-E", *[f"-D{define}" for define in defines], "-x", "c", "-"],
        input=f"#include <{header}>\n", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    if run.returncode:
        pytest.skip(f"{header} is not there: {run.stderr.strip().splitlines()[-1]}")
    defined = dict(re.findall(r"^#define (__NR\w*) (\S+)$", run.stdout, re.MULTILINE))
    found = {}
    for name, value in defined.items():
        while value in defined:
            value = defined[value]
        if name.startswith("__NR_") and value.isdigit() and name not in {"__NR_syscalls", "__NR_arch_specific_syscall"}:
            found[name.removeprefix("__NR_")] = int(value)
    assert len(found) > 250
    return found


@pytest.mark.parametrize(
    ("machine", "header", "defines"),
    [
        ("x86_64", "asm/unistd_64.h", ()),
        # What arm64's own asm/unistd.h defines before it includes the generic one.
        ("aarch64", "asm-generic/unistd.h", ("__BITS_PER_LONG=64", "__ARCH_WANT_RENAMEAT", "__ARCH_WANT_NEW_STAT",
            "__ARCH_WANT_SET_GET_RLIMIT", "__ARCH_WANT_SYS_CLONE3", "__ARCH_WANT_MEMFD_SECRET")),
    ],
    ids=MACHINES,
)  # fmt: skip
def test_the_numbers_are_those_of_the_c_headers(machine, header, defines):
    ours, theirs = SYSCALLS[machine], numbers_in_headers(header, *defines)
    # Headers may be older than the tables, or newer; on what both know they agree.
    assert {name: number for name, number in theirs.items() if number <= LAST} == {
        name: number for name, number in ours.items() if name in theirs
    }
    assert not {number for name, number in ours.items() if name not in theirs} & set(theirs.values())

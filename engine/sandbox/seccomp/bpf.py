"""Classic BPF for seccomp: instructions, and blocks of them that are put together like expressions.

A *block* is a run of instructions that ends in a return on every path. Jumps of classic BPF are relative and go forward
only, so a block means the same wherever it stands: `when` puts two blocks behind one test, nothing needs labels, and
there are no loops to get wrong. Only instructions are used that the kernel can evaluate ahead of time
(``seccomp_is_const_allow`` in kernel/seccomp.c): since Linux 5.11 it notes, when a filter is loaded, which calls are
allowed whatever their arguments, and does not run the filter for those again.

Sources: linux/filter.h, linux/bpf_common.h, linux/seccomp.h, Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

#: Offsets in ``struct seccomp_data``.
NUMBER: Final = 0
ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16

#: Tests of `when`: the loaded word equals, is at least, has a bit in common with the constant.
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP: Final = 0x05  # BPF_JMP | BPF_JA
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_FARTHEST: Final = 255  # what the eight bits of jt and jf reach

#: The longest program that the kernel loads, BPF_MAXINSNS.
LONGEST: Final = 4096


class Instruction(NamedTuple):
    """One ``struct sock_filter``."""

    code: int
    jt: int = 0
    jf: int = 0
    k: int = 0


Block = tuple[Instruction, ...]

ALLOW: Final[Block] = (Instruction(_RETURN, k=0x7FFF0000),)  # SECCOMP_RET_ALLOW
KILL_PROCESS: Final[Block] = (Instruction(_RETURN, k=0x80000000),)  # SECCOMP_RET_KILL_PROCESS: SIGSYS


def fail(number: int) -> Block:
    """The call is not made and returns this errno."""
    return (Instruction(_RETURN, k=0x00050000 | number),)  # SECCOMP_RET_ERRNO


def load(offset: int, then: Block) -> Block:
    """Load the word at `offset` of ``struct seccomp_data``, for the tests in `then`."""
    return (Instruction(_LOAD, k=offset), *then)


def argument(index: int, then: Block) -> Block:
    """Load the lower 32 bits of an argument (both architectures are little-endian).

    Right where the kernel's parameter has 32 bits itself: it drops the upper half, so a filter that compared all 64
    could be passed by setting a bit up there (CVE-2019-10063: flatpak's TIOCSTI). Every argument that the policy looks
    at is such a one; clone's flags are a long, of which the kernel takes the lower half (kernel/fork.c).
    """
    return load(_ARGUMENTS + 8 * index, then)


def masked(mask: int, then: Block) -> Block:
    """Keep these bits of the loaded word."""
    return (Instruction(_AND, k=mask), *then)


def when(test: int, constant: int, then: Block, otherwise: Block) -> Block:
    """Go on with `then` if the loaded word passes `test` against `constant`, else with `otherwise`."""
    if len(otherwise) <= _FARTHEST:
        return (Instruction(test, len(otherwise), 0, constant), *otherwise, *then)
    return (Instruction(test, 0, 1, constant), Instruction(_JUMP, k=len(otherwise)), *otherwise, *then)


def when_one_of(constants: Iterable[int], then: Block, otherwise: Block) -> Block:
    """`then` if the loaded word equals one of `constants`; it is repeated for each, so it should be short."""
    block = otherwise
    for constant in sorted(constants, reverse=True):
        block = when(EQUAL, constant, then, block)
    return block


def search(runs: list[tuple[int, Block]]) -> Block:
    """Binary search: the block of the run that holds the loaded word.

    Args:
        runs: first word of each run and what to do with the words from there up to the next run; ascending from 0.
    """
    if len(runs) == 1:
        return runs[0][1]
    middle = len(runs) // 2
    return when(AT_LEAST, runs[middle][0], search(runs[middle:]), search(runs[:middle]))


def encode(block: Block) -> bytes:
    """The block as an array of ``struct sock_filter`` in the machine's byte order.

    Raises:
        ValueError: longer than the kernel takes.
    """
    if len(block) > LONGEST:
        raise ValueError(f"a filter of {len(block)} instructions; the kernel takes {LONGEST}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in block)

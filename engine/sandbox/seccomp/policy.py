"""Which system calls a function may make: every name of the tables, in one of four groups.

Where it comes from: Docker's default profile for a container without added capabilities (github.com/moby/profiles,
seccomp/default.json), and what AWS says of Lambda:
"Inbound network connections are blocked by AWS Lambda, and for outbound connections, only TCP/IP and UDP/IP sockets
are supported, and ptrace (debugging) system calls are blocked" (AWS Lambda FAQs). It differs from Docker's:

* refused here: ptrace, process_vm_* (Lambda refuses them); modify_ldt (16-bit code); the ioctls in `_ioctl`; mknod of
  devices; socket families and protocols outside the short list in `_socket`, among them those whose mere mention
  makes the kernel load a module;
* absent here: memfd_secret, whose pages break up the kernel's direct map for everyone on the host;
* what Docker allows with a capability is refused: a sandbox has none.

*Refused* is EPERM, what the kernel says to a process without the capability, and what programs that probe expect.
*Absent* is ENOSYS, what an older kernel says: for calls that no kernel has today, for clone3 (its flags are behind a
pointer, where a filter cannot look; C libraries then use clone), and for whatever is newer than the tables.

Not in a filter's reach, and left to the kernel: changing the clock through adjtimex and clock_adjtime (the mode is
behind a pointer; without CAP_SYS_TIME they only read), raw sockets (CAP_NET_RAW), set-user-id files (mounts are nosuid
and the process has no-new-privileges).
"""

from __future__ import annotations

import errno
from typing import Final

from engine.sandbox.seccomp.bpf import ALLOW, ANY_BIT, Block, argument, fail, masked, when, when_one_of

REFUSE: Final = fail(errno.EPERM)
ABSENT: Final = fail(errno.ENOSYS)

_ALLOWED: Final = """
    # files and folders
    open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2
    lseek truncate ftruncate fallocate fadvise64 readahead sync fsync fdatasync syncfs sync_file_range cachestat
    stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getdents64 getcwd chdir fchdir
    mkdir mkdirat rmdir rename renameat renameat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat
    chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat umask utime utimes futimesat utimensat
    name_to_handle_at file_getattr statmount listmount
    setxattr lsetxattr fsetxattr setxattrat getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr
    listxattrat removexattr lremovexattr fremovexattr removexattrat
    inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark
    # descriptors, waiting, copying between them
    dup dup2 dup3 fcntl flock pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait
    epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime
    sendfile splice tee vmsplice copy_file_range memfd_create
    io_setup io_destroy io_getevents io_pgetevents io_submit io_cancel
    # sockets, once made
    connect accept accept4 bind listen shutdown getsockname getpeername setsockopt getsockopt sendto recvfrom sendmsg
    recvmsg sendmmsg recvmmsg
    # memory
    brk mmap munmap mremap mprotect msync mincore madvise mlock mlock2 mlockall munlock munlockall mseal membarrier
    remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack
    # processes and threads
    fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open pidfd_send_signal
    process_mrelease getpid getppid gettid getpgid getpgrp setpgid getsid setsid set_tid_address arch_prctl prctl rseq
    futex futex_wait futex_wake futex_waitv futex_requeue set_robust_list get_robust_list restart_syscall pause
    uretprobe uprobe
    rt_sigaction rt_sigprocmask rt_sigpending rt_sigsuspend rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo
    rt_sigreturn sigaltstack
    # who the process is (without capabilities these change nothing that matters)
    getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid setresuid setresgid
    setfsuid setfsgid setgroups capget capset
    # limits, scheduling, resources
    getrlimit setrlimit prlimit64 getrusage times getpriority setpriority ioprio_get ioprio_set getcpu sched_yield
    sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler
    sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
    # time
    time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep adjtimex clock_adjtime alarm getitimer
    setitimer timer_create timer_delete timer_getoverrun timer_gettime timer_settime
    # System V and POSIX interprocess communication, in the sandbox's own namespace
    msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
    # the machine
    uname sysinfo getrandom
    # a process may confine itself further
    seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
"""

_REFUSED: Final = """
    # mounts and roots
    mount umount2 pivot_root chroot mount_setattr move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick
    # files by number, quotas; file_setattr changes the project that a file is counted for, as the ioctl does
    open_by_handle_at quotactl quotactl_fd file_setattr
    # namespaces
    setns unshare
    # other processes
    ptrace process_vm_readv process_vm_writev process_madvise pidfd_getfd kcmp
    # kernel: modules, other kernels, programs in it, its log, its counters, its keys
    init_module finit_module delete_module create_module query_module get_kernel_syms kexec_load kexec_file_load
    bpf perf_event_open syslog add_key request_key keyctl lsm_get_self_attr lsm_set_self_attr lsm_list_modules
    lookup_dcookie nfsservctl _sysctl sysfs ustat
    # large and often broken parts of it that ordinary programs can do without
    io_uring_setup io_uring_enter io_uring_register userfaultfd fanotify_init modify_ldt
    # where memory lies on the host's nodes
    mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages
    # the machine: power, swap, accounting, clock, names, ports, terminal
    reboot swapon swapoff acct settimeofday clock_settime sethostname setdomainname iopl ioperm vhangup
"""

_ABSENT: Final = """
    clone3 memfd_secret
    # no kernel of these architectures has them
    uselib getpmsg putpmsg afs_syscall tuxcall security vserver epoll_ctl_old epoll_wait_old
    set_thread_area get_thread_area
"""


def _clone() -> Block:
    """Processes and threads, not namespaces: CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID, NET (linux/sched.h)."""
    return argument(0, when(ANY_BIT, 0x7E020000, REFUSE, ALLOW))


def _socket() -> Block:
    """AF_UNIX; TCP and UDP (and ping) over IPv4 and IPv6; NETLINK_ROUTE, with which getifaddrs reads addresses.

    Protocols: 0 (the type's usual one), ICMP, TCP, UDP, ICMPv6, MPTCP (Go's listeners ask for it; TCP on the wire).
    """
    internet = argument(2, when_one_of((0, 1, 6, 17, 58, 262), ALLOW, REFUSE))
    netlink = argument(2, when_one_of((0,), ALLOW, REFUSE))
    families = when_one_of((16,), netlink, REFUSE)
    families = when_one_of((2, 10), internet, families)
    return argument(0, when_one_of((1,), ALLOW, families))


def _ioctl() -> Block:
    """All but a few: what an ioctl may do is for the device to say, and a sandbox has only harmless ones.

    Refused: typing into a terminal that the process has (TIOCSTI, TIOCLINUX), loading a line discipline (TIOCSETD),
    and changing a file's flags or project (FS_IOC_SETFLAGS, FS_IOC_FSSETXATTR): a file's owner may do that on ext4 and
    XFS, and so would take it out of the project whose quota is the limit of /tmp.
    """
    return argument(1, when_one_of((0x5412, 0x541C, 0x5423, 0x40086602, 0x401C5820), REFUSE, ALLOW))


def _mknod(mode: int) -> Block:
    """Fifos, sockets and plain files; not devices (S_IFCHR, S_IFBLK), though one, the whiteout, needs no privilege."""
    return argument(mode, masked(0o170000, when_one_of((0o020000, 0o060000), REFUSE, ALLOW)))


def _personality() -> Block:
    """What Docker allows: Linux, Linux with 32-bit uname, each also with UNAME26, and asking (0xffffffff).

    Not the flags that weaken a process's memory (no address randomisation, readable means executable).
    """
    return argument(0, when_one_of((0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF), ALLOW, REFUSE))


def _words(text: str) -> frozenset[str]:
    return frozenset(word for line in text.splitlines() for word in line.partition("#")[0].split())


#: Names by what happens to them, whatever their arguments.
ALLOWED: Final = _words(_ALLOWED)
REFUSED: Final = _words(_REFUSED)
NOT_THERE: Final = _words(_ABSENT)

#: Names whose arguments decide.
CHECKED: Final[dict[str, Block]] = {
    "clone": _clone(),
    "socket": _socket(),
    "socketpair": _socket(),  # it takes the same families, and loads the same modules
    "ioctl": _ioctl(),
    "mknod": _mknod(1),
    "mknodat": _mknod(2),
    "personality": _personality(),
}


def decide(name: str) -> Block:
    """What happens to the call of this name.

    Raises:
        KeyError: no group has the name.
    """
    if name in ALLOWED:
        return ALLOW
    if name in REFUSED:
        return REFUSE
    if name in NOT_THERE:
        return ABSENT
    return CHECKED[name]

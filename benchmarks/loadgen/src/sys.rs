//! The few Linux calls that the standard library does not offer, declared by hand so that the crate needs no dependency.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::raw::{c_int, c_ulong, c_void};

pub const EPOLLIN: u32 = 0x001;
pub const EPOLLOUT: u32 = 0x004;
pub const EPOLLRDHUP: u32 = 0x2000;
pub const EPOLLET: u32 = 1 << 31;
const EPOLL_CTL_ADD: c_int = 1;
const EPOLL_CLOEXEC: c_int = 0o2000000;
const TFD_NONBLOCK: c_int = 0o4000;
const TFD_CLOEXEC: c_int = 0o2000000;
const CLOCK_MONOTONIC: c_int = 1;
const CLOCK_PROCESS_CPUTIME_ID: c_int = 2;
const PR_SET_TIMERSLACK: c_int = 29;

#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
#[derive(Clone, Copy, Default)]
pub struct Event {
    pub events: u32,
    pub data: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

#[repr(C)]
struct Itimerspec {
    interval: Timespec,
    value: Timespec,
}

extern "C" {
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int;
    fn epoll_wait(epfd: c_int, events: *mut Event, maxevents: c_int, timeout: c_int) -> c_int;
    fn timerfd_create(clock: c_int, flags: c_int) -> c_int;
    fn timerfd_settime(fd: c_int, flags: c_int, new: *const Itimerspec, old: *mut Itimerspec) -> c_int;
    fn read(fd: c_int, buffer: *mut c_void, count: usize) -> isize;
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn clock_ns(clock: c_int) -> u64 {
    let mut time = Timespec::default();
    // SAFETY: `time` outlives the call; both clocks exist on every Linux.
    unsafe { clock_gettime(clock, &mut time) };
    time.seconds as u64 * 1_000_000_000 + time.nanoseconds as u64
}

/// Monotonic time in nanoseconds.
pub fn now() -> u64 {
    clock_ns(CLOCK_MONOTONIC)
}

/// CPU time that this process has used, in nanoseconds.
pub fn cpu_time() -> u64 {
    clock_ns(CLOCK_PROCESS_CPUTIME_ID)
}

/// Timers fire when asked, not up to 50 us later (the default slack).
pub fn sharpen_timers() {
    // SAFETY: takes one integer; a refusal only costs precision.
    unsafe { prctl(PR_SET_TIMERSLACK, 1 as c_ulong) };
}

pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a fresh descriptor, owned by nobody else.
        unsafe { Ok(Self(OwnedFd::from_raw_fd(checked(epoll_create1(EPOLL_CLOEXEC))?))) }
    }

    pub fn add(&self, fd: RawFd, events: u32, data: u64) -> io::Result<()> {
        let mut event = Event { events, data };
        // SAFETY: the kernel copies `event` before it returns.
        unsafe { checked(epoll_ctl(self.0.as_raw_fd(), EPOLL_CTL_ADD, fd, &mut event)).map(drop) }
    }

    /// Waits at most `timeout_ms` (-1: for ever); an interrupting signal is an empty answer.
    pub fn wait<'a>(&self, events: &'a mut [Event], timeout_ms: i32) -> io::Result<&'a [Event]> {
        // SAFETY: the buffer's length is passed along.
        let count = unsafe { epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as c_int, timeout_ms) };
        match checked(count) {
            Ok(count) => Ok(&events[..count as usize]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(&[]),
            Err(error) => Err(error),
        }
    }
}

/// A one-shot alarm at an absolute monotonic time, readable through epoll.
pub struct Alarm(OwnedFd);

impl Alarm {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a fresh descriptor, owned by nobody else.
        unsafe { Ok(Self(OwnedFd::from_raw_fd(checked(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))?))) }
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn set(&self, at_ns: u64) -> io::Result<()> {
        const TFD_TIMER_ABSTIME: c_int = 1;
        let value = Timespec { seconds: (at_ns / 1_000_000_000) as i64, nanoseconds: (at_ns % 1_000_000_000) as i64 };
        let timer = Itimerspec { interval: Timespec::default(), value };
        // SAFETY: `timer` outlives the call, the old value is not asked for.
        unsafe { checked(timerfd_settime(self.fd(), TFD_TIMER_ABSTIME, &timer, std::ptr::null_mut())).map(drop) }
    }

    /// Takes the expiry, so that epoll reports the next one.
    pub fn clear(&self) {
        let mut expirations = 0u64;
        // SAFETY: eight bytes, as timerfd_create(2) asks; would-block is of no interest.
        unsafe { read(self.fd(), (&mut expirations as *mut u64).cast(), 8) };
    }
}

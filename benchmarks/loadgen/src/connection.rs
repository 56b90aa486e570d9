//! One connection with at most one request in flight.

use crate::response::{Progress, Response};
use crate::sys::{self, Epoll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;

pub enum Outcome {
    Waiting,
    Answered,
    Failed(String),
}

pub struct Connection {
    stream: TcpStream,
    request: Rc<[u8]>,
    written: usize,
    pub busy: bool,
    /// When the request was due and when it was sent, monotonic nanoseconds.
    pub due: u64,
    pub sent: u64,
    /// Which one of the paths of `--each` is asked.
    pub index: usize,
    pub response: Response,
}

impl Connection {
    pub fn open(address: SocketAddr, epoll: &Epoll, key: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll.add(stream.as_raw_fd(), sys::EPOLLIN | sys::EPOLLOUT | sys::EPOLLRDHUP | sys::EPOLLET, key)?;
        Ok(Self {
            stream,
            request: Rc::from([]),
            written: 0,
            busy: false,
            due: 0,
            sent: 0,
            index: 0,
            response: Response::new(),
        })
    }

    pub fn send(&mut self, request: &Rc<[u8]>, due: u64) -> Outcome {
        self.request = Rc::clone(request);
        self.written = 0;
        self.busy = true;
        self.due = due;
        self.sent = sys::now();
        self.response.reset();
        self.write()
    }

    fn write(&mut self) -> Outcome {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.failed(format!("write: {error}")),
            }
        }
        Outcome::Waiting
    }

    /// Goes on with what the kernel says is possible now.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Outcome {
        if self.written < self.request.len() {
            if let Outcome::Failed(reason) = self.write() {
                return Outcome::Failed(reason);
            }
        }
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) if self.response.ends_at_close() => return self.answered(),
                Ok(0) => return self.failed("the server closed the connection before its answer was whole".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Waiting,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.failed(format!("read: {error}")),
            };
            match self.response.feed(&buffer[..count]) {
                Progress::More => {}
                Progress::Done(used) if used == count => return self.answered(),
                Progress::Done(_) => return self.failed("bytes after the answer".into()),
                Progress::Broken => return self.failed("the answer is not HTTP/1.1".into()),
            }
        }
    }

    fn answered(&mut self) -> Outcome {
        self.busy = false;
        Outcome::Answered
    }

    fn failed(&mut self, reason: String) -> Outcome {
        self.busy = false;
        Outcome::Failed(reason)
    }
}

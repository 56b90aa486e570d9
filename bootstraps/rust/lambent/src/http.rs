//! The little of HTTP/1.1 that a runtime needs, over one connection: heads are searched, bodies are read in place.

use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

/// Bodies up to this size are written together with their head in one buffer; larger ones are not copied.
const SMALL: usize = 64 * 1024;

/// One keep-alive connection with its receive buffer, which connects anew when the other side has closed it.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    /// Something of the present answer has come: from then on a request is never sent again.
    heard: bool,
    buffer: Vec<u8>,
    /// `buffer[start..end]` has been received and not been consumed.
    start: usize,
    end: usize,
    head: Vec<u8>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Connection {
        let buffer = vec![0; 16 * 1024];
        Connection { address, stream: None, heard: false, buffer, start: 0, end: 0, head: Vec::with_capacity(1024) }
    }

    /// Send one message, and wait for the whole answer: its status; its body is left in `into`, whatever was there
    /// before. An idle connection that turns out to be closed is replaced once.
    pub fn exchange(&mut self, head: &mut Vec<u8>, body: &[u8], into: &mut Vec<u8>) -> Result<u16> {
        let size = head.len();
        loop {
            let fresh = self.stream.is_none();
            head.truncate(size);
            match self.open().and_then(|stream| send(stream, head, body)).and_then(|()| self.receive(into)) {
                Err(_) if !fresh && !self.heard => self.stream = None,
                Err(error) => {
                    self.stream = None;
                    return Err(error);
                }
                done => return done,
            }
        }
    }

    /// The connection for a message that is written as it comes, and that `receive` ends.
    pub fn open(&mut self) -> Result<&mut TcpStream> {
        self.heard = false;
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            (self.start, self.end) = (0, 0);
            self.stream = Some(stream);
        }
        Ok(self.stream.as_mut().expect("it was opened"))
    }

    /// Forget the connection: something was begun on it that cannot be ended.
    pub fn abandon(&mut self) {
        self.stream = None;
    }

    /// Head of the last answer.
    pub fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Wait for one whole answer; see `exchange`.
    pub fn receive(&mut self, into: &mut Vec<u8>) -> Result<u16> {
        let mut status = 0;
        while status < 200 {
            self.receive_head()?; // 100 Continue: the real one follows
            status = status_of(&self.head)?;
        }
        let (mut last, mut length, mut chunked) = (false, None, false);
        for (name, value) in fields(&self.head) {
            let value = || text(&self.head, &value);
            if is(name, "connection") {
                last = value().map_or(false, |value| value.eq_ignore_ascii_case("close"));
            } else if is(name, "content-length") {
                length = Some(value().and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("Content-Length"))?);
            } else if is(name, "transfer-encoding") {
                chunked = true;
            }
        }
        match length {
            Some(size) => {
                into.resize(size, 0);
                self.take(into)?;
            }
            None if chunked => self.receive_chunks(into)?,
            None => return Err(broken("response without a length")),
        }
        if last {
            self.stream = None;
        }
        Ok(status)
    }

    fn receive_head(&mut self) -> Result<()> {
        let mut searched = 0;
        loop {
            let received = &self.buffer[self.start..self.end];
            if let Some(at) = find(&received[searched..], b"\r\n\r\n") {
                let size = searched + at + 4;
                self.head.clear();
                self.head.extend_from_slice(&received[..size]);
                self.start += size;
                return Ok(());
            }
            searched = received.len().saturating_sub(3);
            self.fill()?;
        }
    }

    fn receive_chunks(&mut self, into: &mut Vec<u8>) -> Result<()> {
        let mut size = 0;
        loop {
            let line = self.line()?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
            let text = std::str::from_utf8(digits).map_err(|_| broken("chunk size"))?;
            let chunk = usize::from_str_radix(text.trim(), 16).map_err(|_| broken("chunk size"))?;
            if chunk == 0 {
                while !self.line()?.is_empty() {} // trailers
                into.truncate(size);
                return Ok(());
            }
            into.resize(size + chunk, 0);
            self.take(&mut into[size..])?;
            size += chunk;
            if !self.line()?.is_empty() {
                return Err(broken("chunk"));
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<&[u8]> {
        loop {
            if let Some(size) = find(&self.buffer[self.start..self.end], b"\r\n") {
                let from = self.start;
                self.start += size + 2;
                return Ok(&self.buffer[from..from + size]);
            }
            self.fill()?;
        }
    }

    /// Fill `out`, first with what the buffer has.
    fn take(&mut self, out: &mut [u8]) -> Result<()> {
        let ready = out.len().min(self.end - self.start);
        out[..ready].copy_from_slice(&self.buffer[self.start..self.start + ready]);
        self.start += ready;
        let mut got = ready;
        while got < out.len() {
            got += read(&mut self.stream, &mut out[got..])?;
        }
        Ok(())
    }

    /// Receive more into the buffer; what is kept may move to its front.
    fn fill(&mut self) -> Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.end * 2, 0);
        }
        self.end += read(&mut self.stream, &mut self.buffer[self.end..])?;
        self.heard = true;
        Ok(())
    }
}

fn read(stream: &mut Option<TcpStream>, into: &mut [u8]) -> Result<usize> {
    let stream = stream.as_mut().ok_or(ErrorKind::NotConnected)?;
    loop {
        match stream.read(into) {
            Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "it closed the connection")),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Write a message in one go, as far as the socket takes it.
fn send(stream: &mut TcpStream, head: &mut Vec<u8>, body: &[u8]) -> Result<()> {
    if body.len() <= SMALL {
        head.extend_from_slice(body);
        return stream.write_all(head);
    }
    let mut sent = stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body)])?;
    if sent < head.len() {
        stream.write_all(&head[sent..])?;
        sent = head.len();
    }
    stream.write_all(&body[sent - head.len()..])
}

fn find(data: &[u8], what: &[u8]) -> Option<usize> {
    data.windows(what.len()).position(|window| window == what)
}

fn status_of(head: &[u8]) -> Result<u16> {
    let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("status line"))
}

/// The header fields of a head: names, and where the values are.
pub fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], Range<usize>)> {
    let mut at = 0;
    head.split(|byte| *byte == b'\n').filter_map(move |line| {
        let start = at;
        at += line.len() + 1;
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], start + colon + 1..start + line.len()))
    })
}

/// Whether a field has that name, which is in lower case.
pub fn is(name: &[u8], wanted: &str) -> bool {
    name.len() == wanted.len() && name.eq_ignore_ascii_case(wanted.as_bytes())
}

/// A field's value; None for one that is not text.
pub fn text<'a>(head: &'a [u8], value: &Range<usize>) -> Option<&'a str> {
    std::str::from_utf8(&head[value.clone()]).ok().map(str::trim)
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("it sent a bad {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that answers with the given bytes, a connection after the other, in pieces of `piece` bytes.
    fn serving(answers: &'static [&'static [u8]], piece: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                stream.set_nodelay(true).unwrap();
                assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
                answer.chunks(piece).for_each(|part| stream.write_all(part).unwrap());
            }
        });
        address
    }

    fn get(connection: &mut Connection) -> Result<(u16, Vec<u8>)> {
        let mut body = b"of before".to_vec();
        let status = connection.exchange(&mut b"GET / HTTP/1.1\r\n\r\n".to_vec(), b"", &mut body)?;
        Ok((status, body))
    }

    #[test]
    fn an_answer_is_understood_however_it_is_cut() {
        const LENGTH: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\nA: b\r\n\r\nhello";
        const CHUNKS: &[u8] =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: u\r\n\r\n";
        for piece in [1, 2, 3, 7, 1000] {
            let mut connection = Connection::new(serving(&[LENGTH, CHUNKS], piece));
            for _ in 0..2 {
                assert_eq!(get(&mut connection).unwrap(), (200, b"hello".to_vec()));
                let head = connection.head();
                let found = fields(head).find(|(name, _)| is(name, "a")).and_then(|(_, value)| text(head, &value));
                assert_eq!(found, Some("b"));
                connection.abandon();
            }
        }
    }

    #[test]
    fn an_idle_connection_that_was_closed_is_replaced_and_a_broken_answer_is_not_asked_for_again() {
        const DONE: &[u8] = b"HTTP/1.1 202 OK\r\nContent-Length: 0\r\n\r\n";
        let mut connection = Connection::new(serving(&[DONE, DONE, b"HTTP/1.1 20"], 100));
        assert_eq!(get(&mut connection).unwrap().0, 202);
        assert_eq!(get(&mut connection).unwrap().0, 202);
        assert_eq!(get(&mut connection).unwrap_err().to_string(), "it closed the connection");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        const BAD: [(&[u8], &str); 4] = [
            (b"hello, world\r\n\r\n", "it sent a bad status line"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "it sent a bad response without a length"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "it sent a bad Content-Length"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "it sent a bad chunk size"),
        ];
        for (answer, why) in BAD {
            let answers: &'static [&'static [u8]] = Box::leak(vec![answer].into_boxed_slice());
            assert_eq!(get(&mut Connection::new(serving(answers, 100))).unwrap_err().to_string(), why);
        }
    }
}

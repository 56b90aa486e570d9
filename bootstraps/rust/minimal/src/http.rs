//! The little of HTTP/1.1 that a runtime needs, over one connection: a head that is searched, never copied.

use std::io::{Error, ErrorKind, IoSlice, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};

/// Bodies up to this size are written together with their head in one buffer; larger ones are not copied.
const SMALL: usize = 64 * 1024;

/// One keep-alive connection with its receive buffer.
pub struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// The other side closes it after what it sent last: the next message needs a new one.
    closing: bool,
    buffer: Vec<u8>,
    /// `buffer[start..end]` has been received and not been consumed.
    start: usize,
    end: usize,
}

/// Where the parts of a received message are in the buffer; valid until the next `receive`.
pub struct Message {
    pub status: u16,
    head: (usize, usize),
    body: (usize, usize),
}

impl Connection {
    pub fn open(address: &str) -> Result<Connection> {
        let address = address.replace("localhost:", "127.0.0.1:");
        let address: SocketAddr = address
            .parse()
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "AWS_LAMBDA_RUNTIME_API is not ip:port"))?;
        let stream = connect(address)?;
        Ok(Connection { stream, address, closing: false, buffer: vec![0; 16 * 1024], start: 0, end: 0 })
    }

    /// Send one message in one write, as far as the socket takes it.
    pub fn send(&mut self, head: &mut Vec<u8>, body: &[u8]) -> Result<()> {
        self.reopen()?;
        send(&mut self.stream, head, body)
    }

    /// Send a message whose body is that of `message`, without copying it when it is large.
    pub fn send_back(&mut self, head: &mut Vec<u8>, message: &Message) -> Result<()> {
        self.reopen()?;
        send(&mut self.stream, head, &self.buffer[message.body.0..message.body.1])
    }

    fn reopen(&mut self) -> Result<()> {
        if self.closing {
            self.stream = connect(self.address)?;
            self.closing = false;
        }
        Ok(())
    }

    /// Wait for one whole response.
    pub fn receive(&mut self) -> Result<Message> {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        let mut searched = self.start;
        let mut head_end;
        loop {
            match find(&self.buffer[searched..self.end], b"\r\n\r\n") {
                Some(at) => head_end = searched + at + 4,
                None => {
                    searched = self.start.max(self.end.saturating_sub(3));
                    let before = self.start;
                    self.fill(1)?;
                    searched -= before - self.start;
                    continue;
                }
            }
            if status(&self.buffer[self.start..head_end])? >= 200 {
                break;
            }
            self.start = head_end; // 100 Continue: the real one follows
            searched = head_end;
        }
        let status = status(&self.buffer[self.start..head_end])?;
        let head = &self.buffer[self.start..head_end];
        self.closing = header(head, "connection").map_or(false, |value| value.eq_ignore_ascii_case("close"));
        if let Some(text) = header(head, "content-length") {
            let size: usize = text.parse().map_err(|_| broken("Content-Length"))?;
            let missing = (head_end - self.start + size).saturating_sub(self.end - self.start);
            let before = self.start;
            if missing > 0 {
                self.fill(missing)?;
            }
            head_end -= before - self.start;
            let message = Message { status, head: (self.start, head_end), body: (head_end, head_end + size) };
            self.start = head_end + size;
            return Ok(message);
        }
        if header(head, "transfer-encoding").is_some() {
            return self.receive_chunks(status, head_end);
        }
        Err(broken("response without a length"))
    }

    /// Move the chunks' data together, right behind the head.
    fn receive_chunks(&mut self, status: u16, head_end: usize) -> Result<Message> {
        let head_size = head_end - self.start;
        let mut size = 0; // of the data so far, at start + head_size
        let mut at = head_size; // of the next chunk, from start
        loop {
            let line = self.line(at)?;
            let digits = &self.buffer[self.start + at..self.start + line - 2];
            let digits = digits.split(|b| *b == b';').next().unwrap_or(&[]);
            let text = std::str::from_utf8(digits).map_err(|_| broken("chunk size"))?;
            let chunk = usize::from_str_radix(text.trim(), 16).map_err(|_| broken("chunk size"))?;
            at = line;
            if chunk == 0 {
                loop {
                    let next = self.line(at)?;
                    let empty = next - at == 2;
                    at = next;
                    if empty {
                        break;
                    }
                }
                let head = (self.start, self.start + head_size);
                self.start += at;
                return Ok(Message { status, head, body: (head.1, head.1 + size) });
            }
            let have = self.end - self.start;
            if have < at + chunk + 2 {
                self.fill(at + chunk + 2 - have)?;
            }
            let from = self.start + at;
            self.buffer.copy_within(from..from + chunk, self.start + head_size + size);
            size += chunk;
            at += chunk + 2;
        }
    }

    /// The offset (from `start`) behind the line that begins at offset `at`.
    fn line(&mut self, at: usize) -> Result<usize> {
        loop {
            if let Some(found) = find(&self.buffer[self.start + at..self.end], b"\r\n") {
                return Ok(at + found + 2);
            }
            self.fill(1)?;
        }
    }

    /// Receive at least `missing` bytes more; what is kept may move to the front of the buffer.
    fn fill(&mut self, missing: usize) -> Result<()> {
        if self.buffer.len() - self.end < missing.max(1024) && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() - self.end < missing {
            self.buffer.resize((self.end + missing).next_power_of_two(), 0);
        }
        let mut got = 0;
        while got < missing {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the Runtime API closed the connection")),
                Ok(size) => {
                    got += size;
                    self.end += size;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.buffer.len() == self.end && got < missing {
                let room = self.buffer.len() * 2;
                self.buffer.resize(room, 0);
            }
        }
        Ok(())
    }

    pub fn header<'a>(&'a self, message: &Message, name: &str) -> Option<&'a str> {
        header(&self.buffer[message.head.0..message.head.1], name)
    }

    pub fn body(&self, message: &Message) -> &[u8] {
        &self.buffer[message.body.0..message.body.1]
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

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

fn status(head: &[u8]) -> Result<u16> {
    let digits = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| broken("status line"))
}

/// The value of a header; `name` is in lower case.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    for line in head.split(|b| *b == b'\n') {
        if line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            return std::str::from_utf8(&line[name.len() + 1..]).ok().map(str::trim);
        }
    }
    None
}

fn broken(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("the Runtime API sent a bad {what}"))
}

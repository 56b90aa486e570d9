use crate::json::Value;
use crate::{Error, Event};
use std::borrow::Cow;
use std::fmt::{self, Arguments};
use std::io::{self, Write};
use std::net::TcpStream;

/// So much of what is written at once is sent as one chunk.
const CHUNK: usize = 64 * 1024;

/// What a handler returns. Made by `into` of bytes and of texts, which have to be JSON already (or be given another
/// [`Response::content_type`]), of a JSON [`Value`], of `bool`, and of `()`, which is `null`.
pub struct Response {
    pub(crate) body: Body,
    pub(crate) content_type: Cow<'static, str>,
}

pub(crate) enum Body {
    Bytes(Vec<u8>),
    Stream(Box<Writing>),
}

type Writing = dyn FnOnce(&mut Writer) -> Result<(), Error>;

impl Response {
    /// A response that `write` writes, and that goes out as it is written. An error or a panic of it after the first byte
    /// is told in trailers; before that, as that of any handler.
    ///
    /// ```
    /// use std::io::Write;
    /// # fn handler() -> lambent::Response {
    /// lambent::Response::stream(|out| {
    ///     for n in (1..=3).rev() {
    ///         writeln!(out, "{n}")?;
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn stream(write: impl FnOnce(&mut Writer) -> Result<(), Error> + 'static) -> Response {
        Response { body: Body::Stream(Box::new(write)), content_type: "application/octet-stream".into() }
    }

    /// Set the type of the body: `application/json`, for streams `application/octet-stream`, unless it is said.
    pub fn content_type(mut self, kind: impl Into<Cow<'static, str>>) -> Response {
        let kind = kind.into();
        let clean = kind.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        self.content_type = if clean { kind } else { kind.replace(|char| !(' '..='~').contains(&char), "?").into() };
        self
    }
}

impl From<Vec<u8>> for Response {
    fn from(bytes: Vec<u8>) -> Response {
        Response { body: Body::Bytes(bytes), content_type: "application/json".into() }
    }
}

impl From<String> for Response {
    fn from(text: String) -> Response {
        text.into_bytes().into()
    }
}

impl From<&str> for Response {
    fn from(text: &str) -> Response {
        text.as_bytes().to_vec().into()
    }
}

impl From<Value> for Response {
    fn from(value: Value) -> Response {
        value.to_string().into()
    }
}

impl From<Event> for Response {
    fn from(event: Event) -> Response {
        event.into_bytes().into()
    }
}

impl From<()> for Response {
    fn from((): ()) -> Response {
        "null".into()
    }
}

impl From<bool> for Response {
    fn from(value: bool) -> Response {
        if value { "true" } else { "false" }.into()
    }
}

/// Where a streamed response is written to. Each write is sent at once, a `write!` as one piece: write into a
/// [`std::io::BufWriter`] what comes in very small ones.
pub struct Writer<'a> {
    /// The head, until the first piece goes out with it; then what is being sent.
    out: Vec<u8>,
    stream: &'a mut TcpStream,
    begun: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(mut head: Vec<u8>, stream: &'a mut TcpStream) -> Writer<'a> {
        head.extend_from_slice(
            b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\
              Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n",
        );
        Writer { out: head, stream, begun: false }
    }

    /// Nothing was sent yet.
    pub(crate) fn untouched(&self) -> bool {
        !self.begun
    }

    /// Send the end.
    pub(crate) fn end(&mut self, error: Option<Error>) -> io::Result<()> {
        self.out.extend_from_slice(b"0\r\n");
        if let Some(error) = error {
            let (kind, body) = (error.category(), base64(error.body().as_bytes()));
            write!(self.out, "Lambda-Runtime-Function-Error-Type: {kind}\r\n")?;
            write!(self.out, "Lambda-Runtime-Function-Error-Body: {body}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.send()
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.out
    }

    fn send(&mut self) -> io::Result<()> {
        self.begun = true;
        let sent = self.stream.write_all(&self.out);
        self.out.clear();
        sent
    }
}

impl Write for Writer<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let size = piece.len().min(CHUNK);
        if size > 0 {
            write!(self.out, "{size:x}\r\n")?;
            self.out.extend_from_slice(&piece[..size]);
            self.out.extend_from_slice(b"\r\n");
            self.send()?;
        }
        Ok(size)
    }

    fn write_fmt(&mut self, text: Arguments) -> io::Result<()> {
        self.write_all(fmt::format(text).as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn base64(data: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len() / 3 * 4 + 4);
    for part in data.chunks(3) {
        let bits = part.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            out.push(if place > part.len() { '=' } else { digit.into() });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, code) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}\u{ff}~", "w7/Dv34="),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }

    #[test]
    fn a_content_type_cannot_end_its_header() {
        assert_eq!(Response::from("x").content_type("a\r\nb: é").content_type, "a??b: ?");
    }
}

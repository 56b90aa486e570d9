//! The conversation with the Runtime API, over a connection of its own for each thread that serves.

use crate::http::Connection;
use crate::response::{Body, Writer};
use crate::{panics, Context, Error, Event, Response};
use std::io::{self, ErrorKind, Write};

const JSON: &str = "application/json";

pub(crate) struct Client {
    connection: Connection,
    /// host:port, for the Host header.
    address: String,
    /// What is before `/invocation` in paths.
    root: String,
    poll: Vec<u8>,
    /// Reused from message to message: what is sent, and the bodies that are received.
    out: Vec<u8>,
    spare: Vec<u8>,
}

impl Client {
    pub fn new() -> io::Result<Client> {
        let api = std::env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
        // ip:port, and with some emulators a path under which the API lies.
        let (address, base) = api.split_at(api.find('/').unwrap_or(api.len()));
        let socket = address.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
            let what = if api.is_empty() { "is not set: a function is started by an engine" } else { "is not ip:port" };
            io::Error::new(ErrorKind::InvalidInput, format!("AWS_LAMBDA_RUNTIME_API {what}"))
        })?;
        let root = format!("{}/2018-06-01/runtime", base.trim_end_matches('/'));
        let poll = format!("GET {root}/invocation/next HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
        let (address, out) = (address.to_owned(), Vec::with_capacity(4096));
        Ok(Client { connection: Connection::new(socket), address, root, poll, out, spare: Vec::new() })
    }

    /// Wait for the next invocation.
    pub fn next(&mut self, context: &mut Context) -> io::Result<Event> {
        let mut body = std::mem::take(&mut self.spare);
        self.out.clear();
        self.out.extend_from_slice(&self.poll);
        let status = self.connection.exchange(&mut self.out, b"", &mut body).map_err(gone)?;
        if status != 200 {
            return Err(refused("gave no invocation", status, &body));
        }
        context.fill(self.connection.head())?;
        Ok(Event::from(body))
    }

    /// Post what the handler returned; stream it if that is what it is.
    pub fn respond(&mut self, context: &Context, response: Response) -> io::Result<()> {
        match response.body {
            Body::Bytes(bytes) => self.post(context, "response", &response.content_type, "", bytes),
            Body::Stream(write) => {
                self.begin(context, "response", &response.content_type, "");
                let mut writer = Writer::new(std::mem::take(&mut self.out), self.connection.open().map_err(gone)?);
                let outcome = panics::catch(|| write(&mut writer));
                let _ = io::stdout().flush();
                if let Err(error) = &outcome {
                    crate::log::failure(error);
                    if writer.untouched() {
                        return self.failed(context, error);
                    }
                }
                let sent = writer.end(outcome.err());
                self.out = writer.into_buffer();
                self.answered(sent, context)
            }
        }
    }

    /// Post the handler's error.
    pub fn failed(&mut self, context: &Context, error: &Error) -> io::Result<()> {
        let headers = error.headers();
        self.post(context, "error", JSON, &headers, error.body().into_bytes())
    }

    /// Post an error of the initialisation; whatever the answer is, the process is about to end.
    pub fn init_failed(&mut self, error: &Error) -> io::Result<()> {
        let path = format!("{}/init/error", self.root);
        let (headers, body) = (error.headers(), error.body());
        self.head(&path, JSON, &headers);
        self.length(body.len());
        self.connection.exchange(&mut self.out, body.as_bytes(), &mut self.spare).map(|_| ())
    }

    /// Wait to be restored from a snapshot. The connection is of the time before it, and not used any more.
    pub fn restored(&mut self) -> io::Result<()> {
        self.out = format!("GET {}/restore/next HTTP/1.1\r\nHost: {}\r\n\r\n", self.root, self.address).into_bytes();
        let status = self.connection.exchange(&mut self.out, b"", &mut self.spare).map_err(gone)?;
        self.connection.abandon();
        if status != 200 {
            return Err(refused("did not restore", status, &self.spare));
        }
        Ok(())
    }

    fn post(&mut self, context: &Context, what: &str, kind: &str, extra: &str, body: Vec<u8>) -> io::Result<()> {
        self.begin(context, what, kind, extra);
        self.length(body.len());
        let mut answer = std::mem::take(&mut self.spare);
        let status = self.connection.exchange(&mut self.out, &body, &mut answer);
        let checked = status.map_err(gone).and_then(|status| check(status, context, &answer));
        // The larger of the two is kept for the next event; what is very large is given back.
        self.spare = if body.capacity() > answer.capacity() && body.capacity() <= 8 << 20 { body } else { answer };
        checked
    }

    /// The answer to a stream, also to one that could not be sent to its end.
    fn answered(&mut self, sent: io::Result<()>, context: &Context) -> io::Result<()> {
        let mut answer = std::mem::take(&mut self.spare);
        let status = self.connection.receive(&mut answer);
        if sent.is_err() || status.is_err() {
            self.connection.abandon();
        }
        let checked = match (status, sent) {
            (Ok(status), _) => check(status, context, &answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(gone(error)),
        };
        self.spare = answer;
        checked
    }

    /// The first lines of a post about an invocation.
    fn begin(&mut self, context: &Context, what: &str, kind: &str, extra: &str) {
        self.out.clear();
        let (root, address, id) = (&self.root, &self.address, context.request_id());
        let _ = write!(self.out, "POST {root}/invocation/{id}/{what} HTTP/1.1\r\nHost: {address}\r\n");
        let _ = write!(self.out, "Content-Type: {kind}\r\n{extra}");
        // Sent back when it was given: it tells this attempt from an earlier one with the same request id.
        if let Some(attempt) = context.attempt_id() {
            let _ = write!(self.out, "Lambda-Runtime-Invocation-Id: {attempt}\r\n");
        }
    }

    fn head(&mut self, path: &str, kind: &str, extra: &str) {
        self.out.clear();
        let _ = write!(self.out, "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n{extra}", self.address);
    }

    fn length(&mut self, size: usize) {
        let _ = write!(self.out, "Content-Length: {size}\r\n\r\n");
    }
}

fn check(status: u16, context: &Context, body: &[u8]) -> io::Result<()> {
    // Too late, or too large: its caller has been told, and life goes on.
    if status >= 300 && status != 410 && status != 413 {
        return Err(refused(&format!("refused the result of {}", context.request_id()), status, body));
    }
    Ok(())
}

fn refused(what: &str, status: u16, body: &[u8]) -> io::Error {
    let body = String::from_utf8_lossy(body);
    io::Error::new(ErrorKind::Other, format!("the Runtime API {what}: {status} {}", body.trim_end()))
}

fn gone(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the Runtime API is gone: {error}"))
}

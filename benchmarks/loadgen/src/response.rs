//! Reads one HTTP/1.1 response after the other from bytes as they come: status, the few headers that matter, body length.

const MAX_HEAD: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    Trailer,
    UntilClose,
}

pub struct Response {
    part: Part,
    line: Vec<u8>,
    pub status: u16,
    pub function_error: bool,
    pub closes: bool,
    pub length: u64,
    pub request_id: String,
    pub log_result: String,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    /// The response is whole; so many bytes of the input belonged to it.
    Done(usize),
    Broken,
}

impl Response {
    pub fn new() -> Self {
        Self {
            part: Part::Head,
            line: Vec::with_capacity(512),
            status: 0,
            function_error: false,
            closes: false,
            length: 0,
            request_id: String::new(),
            log_result: String::new(),
        }
    }

    pub fn reset(&mut self) {
        self.part = Part::Head;
        self.line.clear();
        self.status = 0;
        self.function_error = false;
        self.closes = false;
        self.length = 0;
        self.request_id.clear();
        self.log_result.clear();
    }

    /// Whether an end of the connection here is the proper end of this response.
    pub fn ends_at_close(&self) -> bool {
        self.part == Part::UntilClose
    }

    pub fn feed(&mut self, data: &[u8]) -> Progress {
        let mut at = 0;
        loop {
            match self.part {
                Part::Head => {
                    // The usual case is a whole head in one read: look at it where it lies.
                    let Some(end) = self.take_until(data, at, b"\r\n\r\n") else {
                        return if self.line.len() > MAX_HEAD { Progress::Broken } else { Progress::More };
                    };
                    at = end;
                    let head = std::mem::take(&mut self.line);
                    let understood = self.parse_head(&head);
                    self.line = head;
                    self.line.clear();
                    if !understood {
                        return Progress::Broken;
                    }
                    if (100..200).contains(&self.status) {
                        self.reset();
                    } else if self.part == Part::Body(0) {
                        return Progress::Done(at);
                    }
                }
                Part::Body(left) | Part::Chunk(left) => {
                    let taken = left.min((data.len() - at) as u64);
                    at += taken as usize;
                    let left = left - taken;
                    if matches!(self.part, Part::Body(_)) {
                        self.length += taken;
                        if left == 0 {
                            return Progress::Done(at);
                        }
                        self.part = Part::Body(left);
                        return Progress::More;
                    }
                    if left > 0 {
                        self.part = Part::Chunk(left);
                        return Progress::More;
                    }
                    self.part = Part::ChunkSize;
                }
                Part::ChunkSize => {
                    let Some(end) = self.take_until(data, at, b"\r\n") else { return Progress::More };
                    at = end;
                    let text = String::from_utf8_lossy(&self.line);
                    let size = text.split(';').next().unwrap_or("").trim();
                    let Ok(size) = u64::from_str_radix(size, 16) else { return Progress::Broken };
                    self.line.clear();
                    self.length += size;
                    // A chunk is followed by CR LF, which is skipped with it.
                    self.part = if size == 0 { Part::Trailer } else { Part::Chunk(size + 2) };
                }
                Part::Trailer => {
                    let Some(end) = self.take_until(data, at, b"\r\n") else { return Progress::More };
                    at = end;
                    let last = self.line.len() == 2;
                    self.line.clear();
                    if last {
                        return Progress::Done(at);
                    }
                }
                Part::UntilClose => {
                    self.length += (data.len() - at) as u64;
                    return Progress::More;
                }
            }
        }
    }

    /// Moves input into `line` up to and with `mark`; the position behind it, or None when the input ends before.
    fn take_until(&mut self, data: &[u8], at: usize, mark: &[u8]) -> Option<usize> {
        let known = self.line.len();
        self.line.extend_from_slice(&data[at..]);
        let from = known.saturating_sub(mark.len() - 1);
        let found = self.line[from..].windows(mark.len()).position(|window| window == mark)?;
        let end = from + found + mark.len();
        self.line.truncate(end);
        Some(at + end - known)
    }

    fn parse_head(&mut self, head: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(head) else { return false };
        let mut lines = text.split("\r\n");
        let status_line = lines.next().unwrap_or("");
        let Some(status) = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)) else { return false };
        let Ok(status) = status.parse() else { return false };
        self.status = status;
        self.closes = status_line.starts_with("HTTP/1.0");
        let mut length = None;
        let mut chunked = false;
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let Ok(bytes) = value.parse() else { return false };
                length = Some(bytes);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                self.closes = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("x-amz-function-error") {
                self.function_error = true;
            } else if name.eq_ignore_ascii_case("x-amzn-requestid") {
                self.request_id.push_str(value);
            } else if name.eq_ignore_ascii_case("x-amz-log-result") {
                self.log_result.push_str(value);
            }
        }
        self.part = match (chunked, length) {
            (true, _) => Part::ChunkSize,
            (false, Some(bytes)) => Part::Body(bytes),
            (false, None) if status == 204 || status == 304 || status < 200 => Part::Body(0),
            (false, None) => {
                self.closes = true;
                Part::UntilClose
            }
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-amzn-RequestId: abc\r\n\r\nhello";
    const CHUNKED: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Amz-Function-Error: Unhandled\r\n\r\n5\r\nhello\r\n3;a=b\r\n,yo\r\n0\r\nT: 1\r\n\r\n";

    fn fed_in_pieces(data: &[u8], size: usize) -> Response {
        let mut response = Response::new();
        let mut at = 0;
        for piece in data.chunks(size) {
            match response.feed(piece) {
                Progress::More => at += piece.len(),
                Progress::Done(used) => {
                    at += used;
                    break;
                }
                Progress::Broken => panic!("broken at {at}"),
            }
        }
        assert_eq!(at, data.len());
        response
    }

    #[test]
    fn responses_are_read_alike_however_they_are_cut() {
        for size in 1..SIZED.len() {
            let response = fed_in_pieces(SIZED, size);
            assert_eq!((response.status, response.length, response.request_id.as_str()), (200, 5, "abc"));
            assert!(!response.function_error);
        }
        for size in 1..CHUNKED.len() {
            let response = fed_in_pieces(CHUNKED, size);
            assert_eq!((response.status, response.length, response.function_error), (200, 8, true));
        }
    }

    #[test]
    fn an_interim_answer_is_skipped_and_an_empty_body_is_whole_at_once() {
        let mut response = Response::new();
        let data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(response.feed(data), Progress::Done(data.len()));
        assert_eq!(response.status, 202);
    }

    #[test]
    fn noise_is_refused() {
        assert_eq!(Response::new().feed(b"SSH-2.0-OpenSSH\r\n\r\n"), Progress::Broken);
        assert_eq!(Response::new().feed(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), Progress::Broken);
    }
}

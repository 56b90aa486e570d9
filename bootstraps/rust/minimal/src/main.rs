//! A whole Lambda runtime without dependencies: what a `bootstrap` has to do, and the fastest one that we have.
//!
//! It answers each invocation with its own payload. `MODE` in the function's environment makes it do something else,
//! for tests and benchmarks: `sleep:50` (milliseconds), `error`, `init-error`, `alloc:64` (MiB, touched), `exit:3`.

mod http;

use http::Connection;
use std::io::Write;
use std::process::exit;
use std::time::Duration;
use std::{env, thread};

const ROOT: &str = "/2018-06-01/runtime";

enum Mode {
    Echo,
    Sleep(u64),
    Error,
    Alloc(usize),
    Exit(i32),
}

fn main() {
    if let Err(error) = serve() {
        eprintln!("bootstrap: {error}");
        exit(1);
    }
}

fn serve() -> std::io::Result<()> {
    // host:port, and with some emulators a path under which the API lies.
    let api = env::var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
    let (address, base) = api.split_at(api.find('/').unwrap_or(api.len()));
    let root = format!("{}{ROOT}", base.trim_end_matches('/'));
    let mut connection = Connection::open(address)?;
    let poll = format!("GET {root}/invocation/next HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    let mut out = Vec::with_capacity(80 * 1024);

    let setting = env::var("MODE").unwrap_or_default();
    let (name, number) = setting.split_once(':').unwrap_or((&setting, "0"));
    let number: u64 = number.parse().unwrap_or(0);
    let mode = match name {
        "sleep" => Mode::Sleep(number),
        "error" => Mode::Error,
        "alloc" => Mode::Alloc(number as usize),
        "exit" => Mode::Exit(number as i32),
        "init-error" => {
            let body = br#"{"errorMessage":"asked for by MODE","errorType":"Runtime.InitError","stackTrace":[]}"#;
            let kind = "Lambda-Runtime-Function-Error-Type: Runtime.InitError\r\n";
            head(&mut out, &format!("{root}/init/error"), address, kind, body.len())?;
            connection.send(&mut out, body)?;
            connection.receive()?;
            exit(1);
        }
        _ => Mode::Echo,
    };

    loop {
        out.clear();
        out.extend_from_slice(&poll);
        connection.send(&mut out, b"")?;
        let event = connection.receive()?;
        if event.status != 200 {
            let body = String::from_utf8_lossy(connection.body(&event)).into_owned();
            return Err(std::io::Error::new(std::io::ErrorKind::Other, format!("next: {} {body}", event.status)));
        }
        let id = connection.header(&event, "lambda-runtime-aws-request-id").unwrap_or_default();
        // Echoed when it was given: it tells this attempt from an earlier one with the same request id.
        let attempt = match connection.header(&event, "lambda-runtime-invocation-id") {
            Some(attempt) => format!("Lambda-Runtime-Invocation-Id: {attempt}\r\n"),
            None => String::new(),
        };
        out.clear();
        match mode {
            Mode::Sleep(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
            Mode::Exit(code) => exit(code),
            Mode::Alloc(mib) => {
                let mut memory = vec![0u8; mib << 20];
                for at in (0..memory.len()).step_by(4096) {
                    memory[at] = 1;
                }
                // Read back, so that the compiler keeps the writes.
                if memory.iter().step_by(4096).any(|byte| *byte != 1) {
                    exit(1);
                }
            }
            Mode::Echo | Mode::Error => {}
        }
        if let Mode::Error = mode {
            let body = br#"{"errorMessage":"asked for by MODE","errorType":"ModeError","stackTrace":[]}"#;
            head(&mut out, &format!("{root}/invocation/{id}/error"), address, &attempt, body.len())?;
            connection.send(&mut out, body)?;
        } else {
            let size = connection.body(&event).len();
            write!(out, "POST {root}/invocation/{id}/response HTTP/1.1\r\nHost: {address}\r\n")?;
            write!(out, "Content-Type: application/json\r\n{attempt}Content-Length: {size}\r\n\r\n")?;
            connection.send_back(&mut out, &event)?;
        }
        let answer = connection.receive()?;
        // Too late, or too large: its caller has been told, and life goes on.
        if answer.status >= 300 && answer.status != 410 && answer.status != 413 {
            let body = String::from_utf8_lossy(connection.body(&answer)).into_owned();
            return Err(std::io::Error::new(std::io::ErrorKind::Other, format!("response: {} {body}", answer.status)));
        }
    }
}

/// The head of a POST, with further header lines in `extra`.
fn head(out: &mut Vec<u8>, path: &str, address: &str, extra: &str, size: usize) -> std::io::Result<()> {
    write!(out, "POST {path} HTTP/1.1\r\nHost: {address}\r\n")?;
    write!(out, "Content-Type: application/json\r\n{extra}Content-Length: {size}\r\n\r\n")
}

//! The function under test on our runtime: it does what tests/support/clients.py tells it to do.

use lambent::json::{self, Value};
use lambent::{Context, Error, Event, Response};
use std::env::var;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

static CALLS: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Failure(&'static str);

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str(self.0)
    }
}

impl std::error::Error for Failure {}

fn handle(event: Event, context: &Context, meeting: &Meeting) -> Result<Response, Error> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let event = event.json()?;
    let value = match event["do"].as_str().unwrap_or_default() {
        "echo" => event["value"].clone(),
        "count" => calls.into(),
        "fail" => Err(Failure("it failed é"))?,
        "panic" => panic!("it panicked é"),
        "unserialisable" => Value::try_from(f64::NAN)?,
        "trace" => context.trace_id().into(),
        "large" => "x".repeat(event["size"].as_u64().unwrap_or(0) as usize).into(),
        "exit" => std::process::exit(event["status"].as_i64().unwrap_or(0) as i32),
        "context" => told(context)?,
        "who" => lambent::object! {
            "tenant": context.tenant_id(),
            "identity": context.cognito_identity(),
            "deadline": context.deadline_ms(),
        },
        "meet" => {
            meeting.wait(event["many"].as_u64().unwrap_or(0));
            context.request_id().into()
        }
        "log" => {
            lambent::info!("a line of log");
            lambent::debug!("a line for those who look closely");
            println!("a printed line");
            Value::Null
        }
        "unfinished" => {
            print!("a line without an end");
            Value::Null
        }
        "log members" => {
            lambent::warn!("rows of {}", "a table"; rows = 3, table = "b c");
            Value::Null
        }
        "stream" => return Ok(streamed(event)),
        _ => Value::Null,
    };
    Ok(value.into())
}

fn told(context: &Context) -> Result<Value, Error> {
    let client = json::parse(context.client_context().unwrap_or("null").as_bytes())?;
    Ok(lambent::object! {
        "requestId": context.request_id(),
        "arn": context.function_arn(),
        "name": var("AWS_LAMBDA_FUNCTION_NAME")?,
        "version": var("AWS_LAMBDA_FUNCTION_VERSION")?,
        "memory": var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")?,
        "logGroup": var("AWS_LAMBDA_LOG_GROUP_NAME")?,
        "logStream": var("AWS_LAMBDA_LOG_STREAM_NAME")?,
        "remaining": context.remaining().as_millis(),
        "client": client["custom"].clone(),
    })
}

/// Pieces are texts, or ports: there it waits for a byte.
fn streamed(event: Value) -> Response {
    Response::stream(move |out| {
        for piece in event["pieces"].as_array().unwrap_or_default() {
            match piece.as_u64() {
                Some(port) => drop(TcpStream::connect(("127.0.0.1", port as u16))?.read(&mut [0])?),
                None => write!(out, "{}", piece.as_str().unwrap_or_default())?,
            }
        }
        match event["end"].as_str() {
            Some("fail") => Err(Failure("it failed é"))?,
            Some("panic") => panic!("it panicked é"),
            _ => Ok(()),
        }
    })
    .content_type("text/plain; charset=utf-8")
}

/// Where invocations wait for one another.
#[derive(Default)]
struct Meeting {
    here: Mutex<u64>,
    more: Condvar,
}

impl Meeting {
    fn wait(&self, many: u64) {
        let mut here = self.here.lock().unwrap();
        *here += 1;
        self.more.notify_all();
        drop(self.more.wait_while(here, |here| *here < many).unwrap());
    }
}

fn main() {
    let meeting = lambent::init(|| match var("_HANDLER")?.as_str() {
        "broken" => Err(Failure("it cannot start é"))?,
        "panics" => panic!("it panicked é"),
        _ => Ok(Meeting::default()),
    });
    lambent::run(|event, context| handle(event, context, &meeting))
}

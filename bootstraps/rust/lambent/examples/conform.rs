//! The function that `lambent conform` tells what to do (docs/conform.md).

use lambent::json::{self, Value};
use lambent::{Context, Error, Event, Response};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static COUNT: AtomicU64 = AtomicU64::new(0);

fn handle(event: Event, context: &Context) -> Result<Response, Error> {
    let event = event.json()?;
    let result = match event["do"].as_str().unwrap_or_default() {
        "verbs" => vec!["echo", "fail", "unserialisable", "size", "count", "context", "exit", "stream"].into(),
        "echo" => event["value"].clone(),
        "fail" => return Err(Error::new("Failure", event["message"].as_str().unwrap_or_default())),
        "unserialisable" => Value::try_from(f64::NAN)?,
        "size" => "x".repeat(event["bytes"].as_u64().unwrap_or(0) as usize).into(),
        "count" => (COUNT.fetch_add(1, Ordering::Relaxed) + 1).into(),
        "context" => told(context)?,
        "exit" => std::process::exit(event["code"].as_i64().unwrap_or(0) as i32),
        "stream" => return Ok(streamed(event)),
        _ => Value::Null,
    };
    Ok(result.into())
}

fn told(context: &Context) -> Result<Value, Error> {
    let client = json::parse(context.client_context().unwrap_or("null").as_bytes())?;
    Ok(lambent::object! {
        "requestId": context.request_id(),
        "arn": context.function_arn(),
        "remainingMs": context.remaining().as_millis(),
        "traceId": context.trace_id(),
        "clientContext": client["custom"].clone(),
    })
}

fn streamed(event: Value) -> Response {
    Response::stream(move |out| {
        for piece in event["pieces"].as_array().unwrap_or_default() {
            out.write_all(piece.as_str().unwrap_or_default().as_bytes())?;
            std::thread::sleep(Duration::from_millis(event["pause_ms"].as_u64().unwrap_or(0)));
        }
        match event["fail"].as_str() {
            Some(message) => Err(Error::new("Failure", message)),
            None => Ok(()),
        }
    })
}

fn main() {
    lambent::init(|| match std::env::var("_HANDLER") {
        Ok(name) if name.starts_with("no_such_") => {
            Err(Error::new("Runtime.HandlerNotFound", format!("there is no handler {name}")))
        }
        _ => Ok(()),
    });
    lambent::run(handle)
}

//! A function on AWS's own Rust runtime (`lambda_runtime` on crates.io), unchanged: it runs on Lambent as on Lambda,
//! one invocation at a time or, with AWS_LAMBDA_MAX_CONCURRENCY, several.
//! With the handler `stream` it streams the event's `pieces`, and waits in between where one is the number of a port.

use lambda_runtime::streaming::{channel, Body, Response};
use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Barrier;

/// Where invocations with `{"meet": n}` wait until there are n of them.
static MEETING: OnceLock<Barrier> = OnceLock::new();

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    if std::env::var("_HANDLER").is_ok_and(|name| name == "stream") {
        lambda_runtime::run(service_fn(stream)).await
    } else {
        lambda_runtime::run_concurrent(service_fn(handler)).await
    }
}

async fn stream(event: LambdaEvent<Value>) -> Result<Response<Body>, Error> {
    let pieces = event.payload["pieces"].as_array().cloned().unwrap_or_default();
    let (mut sender, body) = channel();
    tokio::spawn(async move {
        for piece in pieces {
            if let Some(port) = piece.as_u64() {
                let wait = move || TcpStream::connect((Ipv4Addr::LOCALHOST, port as u16))?.read(&mut [0]);
                let _ = tokio::task::spawn_blocking(wait).await;
            } else if sender.send_data(piece.as_str().unwrap_or_default().to_owned().into()).await.is_err() {
                break; // nobody takes it any more
            }
        }
    });
    Ok(Response::from(body))
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    lambda_runtime::tracing::info!(request_id = %context.request_id, "called");
    if let Some(message) = payload.get("fail").and_then(Value::as_str) {
        return Err(message.to_owned().into());
    }
    if let Some(many) = payload.get("meet").and_then(Value::as_u64) {
        MEETING.get_or_init(|| Barrier::new(many as usize)).wait().await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64;
    Ok(json!({
        "echo": payload,
        "requestId": context.request_id,
        "arn": context.invoked_function_arn,
        "memoryMb": context.env_config.memory,
        "remainingMs": context.deadline.saturating_sub(now),
    }))
}

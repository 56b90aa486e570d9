//! A function on AWS's own Rust runtime (`lambda_runtime` on crates.io), unchanged: it runs on Lambent as on Lambda.

use lambda_runtime::{service_fn, Error, LambdaEvent};
use serde_json::{json, Value};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::tracing::init_default_subscriber();
    lambda_runtime::run(service_fn(handler)).await
}

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    lambda_runtime::tracing::info!(request_id = %context.request_id, "called");
    if let Some(message) = payload.get("fail").and_then(Value::as_str) {
        return Err(message.to_owned().into());
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

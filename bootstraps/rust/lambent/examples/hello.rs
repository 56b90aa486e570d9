//! A function to try: it greets, and counts how often this environment was called.

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

fn main() {
    lambent::run(|event, _| {
        let event = event.json()?;
        let name = event["name"].as_str().unwrap_or("world");
        let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
        lambent::info!("greeting"; name = name, calls = calls);
        Ok(lambent::object! { "hello": name, "calls": calls })
    })
}

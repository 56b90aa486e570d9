//! A runtime for Lambda functions in Rust, on the standard library alone.
//!
//! A function is an executable named `bootstrap`, for the runtime `provided.al2023`. It calls [`run`]:
//!
//! ```no_run
//! fn main() {
//!     lambent::run(|event, context| {
//!         let event = event.json()?;
//!         let name = event["name"].as_str().unwrap_or("world");
//!         lambent::info!("greeting {name}, {} ms left", context.remaining().as_millis());
//!         Ok(lambent::object! { "hello": name })
//!     })
//! }
//! ```
//!
//! What has to be ready before the first event is made in [`init`], so that its failure is told to the caller:
//!
//! ```no_run
//! fn main() {
//!     let table = lambent::init(|| Ok(std::fs::read_to_string("table.csv")?));
//!     lambent::run(move |event, _| Ok(table.lines().any(|line| line.as_bytes() == &*event)));
//! }
//! ```
//!
//! A result may be streamed ([`Response::stream`]). With `AWS_LAMBDA_MAX_CONCURRENCY` as many invocations run at once, each
//! in a thread of its own: a handler is `Fn + Sync`, what it changes it keeps in atomics or behind a lock.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![allow(clippy::needless_doctest_main)] // it is what a function looks like

mod client;
mod error;
mod http;
mod invocation;
pub mod json;
#[doc(hidden)]
pub mod log;
mod panics;
mod response;

pub use error::Error;
pub use invocation::{Context, Event};
pub use log::Level;
pub use response::{Response, Writer};

use client::Client;
use std::io::Write;
use std::process::exit;
use std::{env, io, thread};

/// Prepare what the function needs before its first event, and return it. An error (or a panic) is told to the Runtime
/// API as that of the initialisation, and ends the process: callers then read it, and not only that the process ended.
pub fn init<T>(prepare: impl FnOnce() -> Result<T, Error>) -> T {
    panics::catch(prepare).unwrap_or_else(|error| {
        log::failure(&error);
        let told = Client::new().and_then(|mut client| client.init_failed(&error));
        if let Err(error) = told {
            eprintln!("bootstrap: the Runtime API is gone: {error}");
        }
        exit(1)
    })
}

/// Serve invocations with `handler`; does not return. What it returns is posted as it is (see [`Response`]), an error or a
/// panic of it is told to the caller, and the next invocation is served.
///
/// The process ends with 1 when the Runtime API is gone or refuses an answer for good, which it says on stderr. With
/// `AWS_LAMBDA_MAX_CONCURRENCY` that many invocations are served at once.
pub fn run<R: Into<Response>>(handler: impl Fn(Event, &Context) -> Result<R, Error> + Sync) -> ! {
    let handler = |event: Event, context: &Context| handler(event, context).map(Into::into);
    let many = env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    thread::scope(|scope| {
        for _ in 1..many {
            scope.spawn(|| serve(&handler));
        }
        serve(&handler)
    })
}

type Handler<'a> = &'a (dyn Fn(Event, &Context) -> Result<Response, Error> + Sync);

/// One invocation after the other, until that is not possible any more.
fn serve(handler: Handler) -> ! {
    let error = match Client::new() {
        Ok(mut client) => all(&mut client, handler),
        Err(error) => error,
    };
    eprintln!("bootstrap: {error}");
    exit(1)
}

/// Returns why it ends.
fn all(client: &mut Client, handler: Handler) -> io::Error {
    if env::var("AWS_LAMBDA_INITIALIZATION_TYPE").map_or(false, |how| how == "snap-start") {
        if let Err(error) = client.restored() {
            return error;
        }
    }
    let mut context = Context::default();
    loop {
        if let Err(error) = one(client, &mut context, handler) {
            return error;
        }
    }
}

fn one(client: &mut Client, context: &mut Context, handler: Handler) -> io::Result<()> {
    let event = client.next(context)?;
    log::begin(context);
    let outcome = panics::catch(|| handler(event, context));
    // What was printed without the end of a line belongs to this invocation, not to the next.
    let _ = io::stdout().flush();
    match outcome {
        Ok(response) => client.respond(context, response),
        Err(error) => {
            log::failure(&error);
            client.failed(context, &error)
        }
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

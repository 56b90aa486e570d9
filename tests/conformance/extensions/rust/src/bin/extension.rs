//! An external extension on AWS's own crate (`lambda-extension` on crates.io), unchanged: it says what it is told.

use lambda_extension::{service_fn, Error, LambdaEvent, NextEvent};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_extension::run(service_fn(told)).await
}

async fn told(event: LambdaEvent) -> Result<(), Error> {
    match event.next {
        NextEvent::Invoke(invoke) => println!("extension INVOKE {}", invoke.invoked_function_arn),
        NextEvent::Shutdown(shutdown) => {
            println!("extension SHUTDOWN {}", shutdown.shutdown_reason);
            std::process::exit(0);
        }
    }
    Ok(())
}

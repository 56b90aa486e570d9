//! The least that a function does: it answers each invocation with its own payload. The `native` one of the benchmarks.
//!
//! `MODE` in the function's environment makes it do something else, for tests and benchmarks: `sleep:50` (milliseconds),
//! `error`, `panic`, `init-error`, `alloc:64` (MiB, touched), `exit:3`.

use lambent::Error;
use std::process::exit;
use std::time::Duration;
use std::{env, thread};

#[derive(Clone, Copy)]
enum Mode {
    Echo,
    Sleep(u64),
    Error,
    Panic,
    Alloc(usize),
    Exit(i32),
}

fn mode() -> Result<Mode, Error> {
    let setting = env::var("MODE").unwrap_or_default();
    let (name, number) = setting.split_once(':').unwrap_or((&setting, "0"));
    let number: u32 = number.parse()?;
    match name {
        "" => Ok(Mode::Echo),
        "sleep" => Ok(Mode::Sleep(number.into())),
        "error" => Ok(Mode::Error),
        "panic" => Ok(Mode::Panic),
        "alloc" => Ok(Mode::Alloc(number as usize)),
        "exit" => Ok(Mode::Exit(number as i32)),
        "init-error" => Err(Error::new("Runtime.InitError", "asked for by MODE")),
        _ => Err(Error::new("Runtime.BadMode", format!("MODE is {setting}"))),
    }
}

fn main() {
    let mode = lambent::init(mode);
    lambent::run(|event, _| {
        match mode {
            Mode::Echo => {}
            Mode::Sleep(milliseconds) => thread::sleep(Duration::from_millis(milliseconds)),
            Mode::Error => return Err(Error::new("ModeError", "asked for by MODE")),
            Mode::Panic => panic!("asked for by MODE"),
            Mode::Exit(code) => exit(code),
            Mode::Alloc(mib) => touch(mib),
        }
        Ok(event.into_bytes())
    })
}

fn touch(mib: usize) {
    let mut memory = vec![0u8; mib << 20];
    for at in (0..memory.len()).step_by(4096) {
        memory[at] = 1;
    }
    // Read back, so that the compiler keeps the writes.
    assert!(memory.iter().step_by(4096).all(|byte| *byte == 1));
}

//! Panics of handlers become errors of their invocation.

use crate::Error;
use std::any::Any;
use std::cell::RefCell;
use std::panic::{catch_unwind, set_hook, take_hook, AssertUnwindSafe, Location};
use std::sync::Once;

enum State {
    /// Not ours: the thread runs no handler.
    Outside,
    Inside,
    Panicked(Error),
}

thread_local! {
    static STATE: RefCell<State> = const { RefCell::new(State::Outside) };
}

/// Run what a function consists of. What it leaves half done when it panics is its own matter, as it is for any thread:
/// a lock that it held is poisoned.
pub(crate) fn catch<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    static HOOK: Once = Once::new();
    HOOK.call_once(hook);
    STATE.with(|state| state.replace(State::Inside));
    let done = catch_unwind(AssertUnwindSafe(work));
    let state = STATE.with(|state| state.replace(State::Outside));
    done.unwrap_or_else(|_| match state {
        State::Panicked(error) => Err(error),
        _ => Err(Error::panicked("the handler unwound".into(), None)), // resume_unwind calls no hook
    })
}

fn hook() {
    let before = take_hook();
    set_hook(Box::new(move |panic| {
        let ours = STATE.try_with(|state| match state.try_borrow_mut() {
            Ok(mut state) if !matches!(*state, State::Outside) => {
                *state = State::Panicked(describe(panic.payload(), panic.location()));
                true
            }
            _ => false,
        });
        if !ours.unwrap_or(false) || cfg!(panic = "abort") {
            before(panic);
        }
    }));
}

fn describe(payload: &(dyn Any + Send), place: Option<&Location>) -> Error {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".into());
    let place = place.map(|at| (at.file().to_owned(), at.line(), at.column()));
    Error::panicked(message, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_place() {
        let error = catch(|| -> Result<(), Error> { panic!("number {}", 7) }).unwrap_err();
        assert_eq!((error.kind(), error.message()), ("Panic", "number 7"));
        assert!(error.trace()[0].starts_with("src/panics.rs:"));
        assert_eq!(catch(|| Ok(1)).unwrap(), 1);
    }

    #[test]
    fn a_panic_that_the_function_catches_itself_is_its_own_matter() {
        let caught = catch(|| Ok(catch_unwind(|| panic!("inner")).is_err()));
        assert!(caught.unwrap());
    }
}

use crate::json::{self, Value};
use std::any::type_name;
use std::panic::Location;

/// Why an invocation, or the initialisation, failed; its caller gets it as `errorType`, `errorMessage` and `stackTrace`.
///
/// `?` makes one of every error: the type is the name of the error's Rust type (`ParseIntError`), the trace begins with
/// the place of the `?`, and what caused the error follows. [`Error::new`] makes one with a type of your own.
#[derive(Clone, Debug)]
pub struct Error {
    kind: String,
    message: String,
    place: Option<(String, u32)>,
    trace: Vec<String>,
}

impl Error {
    /// An error with that `errorType`. Lambda counts those of the form `Function.Reason` under their name.
    #[track_caller]
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Error {
        let here = Location::caller();
        Error {
            kind: kind.into(),
            message: message.into(),
            place: Some((here.file().to_owned(), here.line())),
            trace: vec![format!("{}:{}:{}", here.file(), here.line(), here.column())],
        }
    }

    /// The same of a boxed error, which `?` cannot take. Its type is not known any more: `errorType` is `Error`.
    #[track_caller]
    pub fn boxed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::new("Error", error.to_string()).caused(&*error)
    }

    /// Replace the trace that callers get as `stackTrace`.
    pub fn with_trace(mut self, lines: Vec<String>) -> Error {
        self.trace = lines;
        self
    }

    pub(crate) fn panicked(message: String, place: Option<(String, u32, u32)>) -> Error {
        let trace = place.iter().map(|(file, line, column)| format!("{file}:{line}:{column}")).collect();
        Error { kind: "Panic".into(), message, place: place.map(|(file, line, _)| (file, line)), trace }
    }

    fn caused(mut self, error: &(dyn std::error::Error + 'static)) -> Error {
        let mut source = error.source();
        while let Some(cause) = source {
            self.trace.push(format!("caused by: {cause}"));
            source = cause.source();
        }
        self
    }

    /// The `errorType`.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The `errorMessage`.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The `stackTrace`.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    pub(crate) fn body(&self) -> String {
        crate::object! {
            "errorMessage": self.message.as_str(),
            "errorType": self.kind.as_str(),
            "stackTrace": self.lines(),
        }
        .to_string()
    }

    pub(crate) fn lines(&self) -> Value {
        Value::Array(self.trace.iter().map(|line| line.as_str().into()).collect())
    }

    /// Header lines that go with its post: the category, and the cause as X-Ray has it.
    pub(crate) fn headers(&self) -> String {
        let stack = self.place.iter().map(|(file, line)| {
            crate::object! { "path": file.as_str(), "line": *line, "label": "" }
        });
        let cause = crate::object! {
            "working_directory": std::env::current_dir().unwrap_or_default().to_string_lossy().as_ref(),
            "exceptions": vec![crate::object! {
                "type": self.kind.as_str(),
                "message": self.message.as_str(),
                "stack": stack.collect::<Vec<_>>(),
            }],
            "paths": self.place.iter().map(|(file, _)| Value::from(file.as_str())).collect::<Vec<_>>(),
        };
        let category = self.category();
        let mut lines = format!("Lambda-Runtime-Function-Error-Type: {category}\r\n");
        let cause = json::ascii(&cause);
        if cause.len() <= 64 * 1024 {
            lines += &format!("Lambda-Runtime-Function-XRay-Error-Cause: {cause}\r\n");
        }
        lines
    }

    /// The type as headers and trailers have it: Category.Reason, in letters. Others Lambda replaces.
    pub(crate) fn category(&self) -> String {
        let (category, reason) = match self.kind.split_once('.') {
            Some((category @ ("Function" | "Runtime"), reason)) => (category, reason),
            _ => ("Function", &*self.kind),
        };
        let letters: String = reason.chars().filter(char::is_ascii_alphabetic).collect();
        if letters.len() < 2 {
            return format!("{category}.Error");
        }
        format!("{category}.{}{}", letters[..1].to_ascii_uppercase(), &letters[1..])
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Error {
        Error::new(short(type_name::<E>()), error.to_string()).caused(&error)
    }
}

/// A type's name without its path and what it is generic over.
fn short(name: &str) -> &str {
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails() -> Result<(), Error> {
        "x".parse::<i32>()?;
        Ok(())
    }

    #[test]
    fn any_error_becomes_one_with_its_type_and_the_place_where_it_was_handed_on() {
        let error = fails().unwrap_err();
        assert_eq!((error.kind(), error.message()), ("ParseIntError", "invalid digit found in string"));
        assert!(error.trace()[0].starts_with("src/error.rs:"), "{:?}", error.trace());
        let start =
            r#"{"errorMessage":"invalid digit found in string","errorType":"ParseIntError","stackTrace":["src/"#;
        assert!(error.body().starts_with(start), "{}", error.body());
    }

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl std::fmt::Display for Outer {
        fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
            out.write_str("no table")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_follow_in_the_trace() {
        let outer = Outer("x".parse::<i32>().unwrap_err());
        assert_eq!(Error::from(outer).trace()[1], "caused by: invalid digit found in string");
    }

    #[test]
    fn the_category_has_the_form_that_lambda_counts() {
        for (kind, category) in [
            ("NotFound", "Function.NotFound"),
            ("io error 2", "Function.Ioerror"),
            ("Runtime.InitError", "Runtime.InitError"),
            ("Other.Thing", "Function.OtherThing"),
            ("x\r\ny: z", "Function.Xyz"),
            ("Function.", "Function.Error"),
            ("é", "Function.Error"),
        ] {
            assert_eq!(Error::new(kind, "").category(), category);
        }
    }

    #[test]
    fn headers_hold_whatever_the_message_is() {
        let headers = Error::new("A\r\nB", "a\r\nb: é😀").headers();
        assert!(headers.is_ascii());
        assert_eq!(headers.matches("\r\n").count(), 2);
        assert!(headers.contains(r#""message":"a\r\nb: \u00e9\ud83d\ude00""#), "{headers}");
        assert!(!Error::new("A", "x".repeat(70_000)).headers().contains("XRay"));
    }
}

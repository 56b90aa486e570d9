//! Log records, as Lambda has them in its two formats; the macros are the way to write one.

use crate::json::Value;
use crate::{Context, Error};
use std::cell::RefCell;
use std::fmt::{Arguments, Write as _};
use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How much a log record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

const NAMES: [(Level, &str); 6] = [
    (Level::Trace, "TRACE"),
    (Level::Debug, "DEBUG"),
    (Level::Info, "INFO"),
    (Level::Warn, "WARN"),
    (Level::Error, "ERROR"),
    (Level::Fatal, "FATAL"),
];

/// Write a log record: `log!(Level::Info, "loaded {count} rows")`, or with members of its own behind a semicolon:
/// `log!(Level::Info, "loaded"; rows = count, table = name)`, which are anything that a [`json::Value`](crate::json::Value)
/// can be made of. [`info!`](crate::info) and so on are shorter.
///
/// As JSON when `AWS_LAMBDA_LOG_FORMAT` is `JSON`, as a line of text otherwise; from the level of `AWS_LAMBDA_LOG_LEVEL` on
/// (INFO). It has the request id when it is written by the thread that the handler was called in.
#[macro_export]
macro_rules! log {
    ($level:expr, $format:literal $(, $value:expr)* ; $($name:ident = $member:expr),+ $(,)?) => {
        if $crate::log::enabled($level) {
            let members = vec![$((stringify!($name).to_owned(), $crate::json::Value::from($member))),+];
            $crate::log::write($level, format_args!($format $(, $value)*), members)
        }
    };
    ($level:expr, $($format:tt)+) => {
        if $crate::log::enabled($level) {
            $crate::log::write($level, format_args!($($format)+), Vec::new())
        }
    };
}

/// [`log!`](crate::log!) at level TRACE.
#[macro_export]
macro_rules! trace { ($($what:tt)+) => { $crate::log!($crate::Level::Trace, $($what)+) }; }
/// [`log!`](crate::log!) at level DEBUG.
#[macro_export]
macro_rules! debug { ($($what:tt)+) => { $crate::log!($crate::Level::Debug, $($what)+) }; }
/// [`log!`](crate::log!) at level INFO.
#[macro_export]
macro_rules! info { ($($what:tt)+) => { $crate::log!($crate::Level::Info, $($what)+) }; }
/// [`log!`](crate::log!) at level WARN.
#[macro_export]
macro_rules! warn { ($($what:tt)+) => { $crate::log!($crate::Level::Warn, $($what)+) }; }
/// [`log!`](crate::log!) at level ERROR.
#[macro_export]
macro_rules! error { ($($what:tt)+) => { $crate::log!($crate::Level::Error, $($what)+) }; }
/// [`log!`](crate::log!) at level FATAL.
#[macro_export]
macro_rules! fatal { ($($what:tt)+) => { $crate::log!($crate::Level::Fatal, $($what)+) }; }

/// Level and format from the environment, read once: the level, JSON as 8 in addition, UNREAD before.
static SETTINGS: AtomicU8 = AtomicU8::new(UNREAD);
const UNREAD: u8 = 255;
const JSON: u8 = 8;

fn settings() -> (u8, bool) {
    let mut found = SETTINGS.load(Relaxed);
    if found == UNREAD {
        let level = std::env::var("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
        let level = NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(&level)).map_or(Level::Info, |pair| pair.0);
        let json = std::env::var("AWS_LAMBDA_LOG_FORMAT").map_or(false, |format| format.eq_ignore_ascii_case("JSON"));
        found = level as u8 | if json { JSON } else { 0 };
        SETTINGS.store(found, Relaxed);
    }
    (found & !JSON, found & JSON != 0)
}

#[derive(Default)]
struct Current {
    request: String,
    tenant: String,
}

thread_local! {
    static CURRENT: RefCell<Current> = RefCell::default();
}

/// From now on this thread's records are of that invocation.
pub(crate) fn begin(context: &Context) {
    CURRENT.with(|current| {
        let mut current = current.borrow_mut();
        current.request.clear();
        current.request.push_str(context.request_id());
        current.tenant.clear();
        current.tenant.push_str(context.tenant_id().unwrap_or_default());
    });
}

pub(crate) fn failure(error: &Error) {
    let members = vec![("errorType".to_owned(), error.kind().into()), ("stackTrace".to_owned(), error.lines())];
    write(Level::Error, format_args!("{}", error.message()), members);
}

/// Whether records of that level are written.
pub fn enabled(level: Level) -> bool {
    level as u8 >= settings().0
}

/// Write a record.
pub fn write(level: Level, message: Arguments, members: Vec<(String, Value)>) {
    let line = CURRENT.with(|current| {
        let current = current.borrow();
        record(settings().1, SystemTime::now(), level, message.to_string(), &current, members)
    });
    let _ = io::stdout().write_all(line.as_bytes()); // where should it be told?
}

fn record(
    json: bool,
    time: SystemTime,
    level: Level,
    message: String,
    current: &Current,
    members: Vec<(String, Value)>,
) -> String {
    let time = timestamp(time.duration_since(UNIX_EPOCH).unwrap_or_default());
    let name = NAMES[level as usize].1;
    let mut line = if json {
        let mut record = vec![
            ("timestamp".to_owned(), time.into()),
            ("level".to_owned(), name.into()),
            ("message".to_owned(), message.into()),
        ];
        for (name, value) in [("requestId", &current.request), ("tenantId", &current.tenant)] {
            if !value.is_empty() {
                record.push((name.to_owned(), value.as_str().into()));
            }
        }
        record.extend(members);
        Value::Object(record).to_string()
    } else {
        let mut line = format!("{time}\t{}\t{name}\t{message}", current.request);
        for (name, value) in members {
            let _ = write!(line, " {name}={value}");
        }
        line.replace('\n', "\r") // a record is one line
    };
    line.push('\n');
    line
}

/// `2026-01-02T03:04:05.678Z`
fn timestamp(since: Duration) -> String {
    let (seconds, milliseconds) = (since.as_secs(), since.subsec_millis());
    // Days to a date: years that begin in March, in eras of 400 (Howard Hinnant, "chrono-compatible date algorithms").
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_767_323_045_678)
    }

    #[test]
    fn times_are_written_as_iso_8601() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200, "2024-03-01T00:00:00.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_record_is_a_line_in_both_formats() {
        let current = Current { request: "one".into(), tenant: String::new() };
        let members = || vec![("rows".to_owned(), Value::from(3)), ("table".to_owned(), Value::from("a b"))];
        assert_eq!(
            record(false, at(), Level::Info, "a\nb".into(), &current, members()),
            "2026-01-02T03:04:05.678Z\tone\tINFO\ta\rb rows=3 table=\"a b\"\n"
        );
        let expected = crate::object! {
            "timestamp": "2026-01-02T03:04:05.678Z", "level": "WARN", "message": "a\nb", "requestId": "one",
            "rows": 3, "table": "a b",
        };
        assert_eq!(record(true, at(), Level::Warn, "a\nb".into(), &current, members()), format!("{expected}\n"));
    }

    #[test]
    fn levels_are_in_their_order() {
        assert!(NAMES.iter().enumerate().all(|(place, (level, _))| *level as usize == place));
        assert!(enabled(Level::Info) && !enabled(Level::Debug));
    }
}

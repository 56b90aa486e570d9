use crate::http::{fields, is, text};
use crate::json::{self, Value};
use crate::Error;
use std::io;
use std::ops::{Deref, Range};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest that an invocation may take: what is assumed when its deadline is not told.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// What the function was called with: the bytes as they came, JSON as a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event(Vec<u8>);

impl Event {
    /// The bytes, without copying them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The event as JSON. Its error, which `?` hands to the caller, says where it is none.
    pub fn json(&self) -> Result<Value, json::SyntaxError> {
        json::parse(&self.0)
    }

    /// The event as text.
    pub fn text(&self) -> Result<&str, Error> {
        Ok(std::str::from_utf8(&self.0)?)
    }
}

impl Deref for Event {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Event {
    fn from(bytes: Vec<u8>) -> Event {
        Event(bytes)
    }
}

/// What Lambda tells a handler beside its event. What is the same for all invocations (the function's name, version,
/// memory and log names) is in the process's environment: `AWS_LAMBDA_FUNCTION_NAME` and so on.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The invocation's head as it came; what is asked for is looked up in it, but for what every invocation needs.
    head: Vec<u8>,
    request_id: Range<usize>,
    attempt_id: Range<usize>,
    tenant_id: Range<usize>,
    deadline_ms: u64,
}

impl Context {
    /// Take over a head. An invocation without an id cannot be answered.
    pub(crate) fn fill(&mut self, head: &mut Vec<u8>) -> io::Result<()> {
        std::mem::swap(&mut self.head, head);
        (self.request_id, self.attempt_id, self.tenant_id) = (0..0, 0..0, 0..0);
        let mut deadline = None;
        for (name, value) in fields(&self.head) {
            if is(name, "lambda-runtime-aws-request-id") {
                self.request_id = value;
            } else if is(name, "lambda-runtime-invocation-id") {
                self.attempt_id = value;
            } else if is(name, "lambda-runtime-aws-tenant-id") {
                self.tenant_id = value;
            } else if is(name, "lambda-runtime-deadline-ms") {
                deadline = text(&self.head, &value).and_then(|digits| digits.parse().ok());
            }
        }
        self.deadline_ms = deadline.unwrap_or_else(|| now_ms() + LONGEST.as_millis() as u64);
        if self.request_id().is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the Runtime API gave an invocation without an id"));
        }
        Ok(())
    }

    /// The id of the invocation.
    pub fn request_id(&self) -> &str {
        self.value(&self.request_id).unwrap_or_default()
    }

    /// When the invocation's time is over, in milliseconds since 1970.
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// When the invocation's time is over.
    pub fn deadline(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.deadline_ms)
    }

    /// What is left of the invocation's time.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.saturating_sub(now_ms()))
    }

    /// The ARN as the caller addressed the function, with the version or alias where there was one.
    pub fn function_arn(&self) -> &str {
        self.header("lambda-runtime-invoked-function-arn").unwrap_or_default()
    }

    /// The tracing header: `Root=1-…;Parent=…;Sampled=1`. It is not put into the process's environment
    /// (`_X_AMZN_TRACE_ID`), which other threads may be reading.
    pub fn trace_id(&self) -> Option<&str> {
        self.header("lambda-runtime-trace-id")
    }

    /// The tenant, for functions that isolate tenants.
    pub fn tenant_id(&self) -> Option<&str> {
        self.value(&self.tenant_id)
    }

    /// The client context that the caller sent along, as JSON.
    pub fn client_context(&self) -> Option<&str> {
        self.header("lambda-runtime-client-context")
    }

    /// The identity of Amazon Cognito, as JSON: `cognitoIdentityId`, `cognitoIdentityPoolId`.
    pub fn cognito_identity(&self) -> Option<&str> {
        self.header("lambda-runtime-cognito-identity")
    }

    /// Any other header of the invocation, where it is there, is text, and not empty; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        fields(&self.head).find(|(found, _)| is(found, name)).and_then(|(_, value)| self.value(&value))
    }

    /// Tells this attempt from an earlier one with the same request id.
    pub(crate) fn attempt_id(&self) -> Option<&str> {
        self.value(&self.attempt_id)
    }

    fn value(&self, place: &Range<usize>) -> Option<&str> {
        text(&self.head, place).filter(|value| !value.is_empty())
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(lines: &str) -> io::Result<Context> {
        let mut context = Context::default();
        context.fill(&mut format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes()).map(|()| context)
    }

    #[test]
    fn what_is_told_is_found_whatever_the_case_of_its_name() {
        let told = context(
            "Lambda-Runtime-Aws-Request-Id: one\r\nLAMBDA-RUNTIME-DEADLINE-MS: 1700000000000\r\n\
             lambda-runtime-invoked-function-arn: arn:aws:x\r\nLambda-Runtime-Client-Context: {\"é\": 1}\r\n\
             Lambda-Runtime-Trace-Id:\r\n",
        )
        .unwrap();
        assert_eq!((told.request_id(), told.function_arn()), ("one", "arn:aws:x"));
        assert_eq!((told.deadline_ms(), told.remaining()), (1_700_000_000_000, Duration::ZERO));
        assert_eq!((told.client_context(), told.trace_id(), told.tenant_id()), (Some("{\"é\": 1}"), None, None));
    }

    #[test]
    fn an_odd_deadline_is_a_late_one_and_without_an_id_there_is_no_invocation() {
        let told = context("Lambda-Runtime-Aws-Request-Id: one\r\nLambda-Runtime-Deadline-Ms: soon\r\n").unwrap();
        assert!(told.remaining() > LONGEST - Duration::from_secs(60));
        assert!(context("").unwrap_err().to_string().contains("without an id"));
    }
}

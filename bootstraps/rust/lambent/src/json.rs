//! A little JSON, for functions that have no other need of a crate. Numbers keep their digits, objects their order.

use std::fmt::{self, Display, Write};
use std::ops::Index;

/// Deeper than this nothing is nested that is read.
const DEPTH: usize = 256;

/// A JSON value. `value["member"]` and `value[0]` are `Null` where there is nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, as it was written.
    Number(Number),
    /// A text.
    Text(String),
    /// Values.
    Array(Vec<Value>),
    /// Members in their order. Of two with the same name the last one counts.
    Object(Vec<(String, Value)>),
}

/// A JSON number: its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

static NULL: Value = Value::Null;

impl Value {
    /// The member of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().rev().find(|(member, _)| member == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value of one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.number()
    }

    /// A number that is whole, not negative, and fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.number()
    }

    /// Any number, as near as a float comes.
    pub fn as_f64(&self) -> Option<f64> {
        self.number()
    }

    /// The elements of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Value::Array(values) => Some(values),
            _ => None,
        }
    }

    fn number<T: std::str::FromStr>(&self) -> Option<T> {
        match self {
            Value::Number(Number(digits)) => digits.parse().ok(),
            _ => None,
        }
    }
}

impl Index<&str> for Value {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }
}

impl Index<usize> for Value {
    type Output = Value;

    fn index(&self, at: usize) -> &Value {
        self.as_array().and_then(|values| values.get(at)).unwrap_or(&NULL)
    }
}

/// Make an object: `object! { "name": value, … }`, where values are anything that a [`Value`] can be made [`From`].
#[macro_export]
macro_rules! object {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::json::Value::Object(vec![$(($name.to_owned(), $crate::json::Value::from($value))),*])
    };
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Value {
        Value::Array(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

macro_rules! whole {
    ($($kind:ty)*) => {$(
        impl From<$kind> for Value {
            fn from(number: $kind) -> Value {
                Value::Number(Number(number.to_string()))
            }
        }
    )*};
}
whole!(u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 usize isize);

impl TryFrom<f64> for Value {
    type Error = NotANumber;

    fn try_from(number: f64) -> Result<Value, NotANumber> {
        if number.is_finite() {
            Ok(Value::Number(Number(format!("{number:?}"))))
        } else {
            Err(NotANumber(number))
        }
    }
}

/// JSON has no NaN, and no infinity.
#[derive(Clone, Copy, Debug)]
pub struct NotANumber(f64);

impl Display for NotANumber {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "JSON has no {}", self.0)
    }
}

impl std::error::Error for NotANumber {}

impl Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        print(self, out, false)
    }
}

/// The same in ASCII alone, as headers need it.
pub(crate) fn ascii(value: &Value) -> String {
    let mut out = String::new();
    let _ = print(value, &mut out, true); // a String takes everything
    out
}

fn print(value: &Value, out: &mut impl Write, ascii: bool) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(value) => out.write_str(if *value { "true" } else { "false" }),
        Value::Number(Number(digits)) => out.write_str(digits),
        Value::Text(text) => quote(text, out, ascii),
        Value::Array(values) => {
            out.write_char('[')?;
            for (place, value) in values.iter().enumerate() {
                out.write_str(if place > 0 { "," } else { "" })?;
                print(value, out, ascii)?;
            }
            out.write_char(']')
        }
        Value::Object(members) => {
            out.write_char('{')?;
            for (place, (name, value)) in members.iter().enumerate() {
                out.write_str(if place > 0 { "," } else { "" })?;
                quote(name, out, ascii)?;
                out.write_char(':')?;
                print(value, out, ascii)?;
            }
            out.write_char('}')
        }
    }
}

fn quote(text: &str, out: &mut impl Write, ascii: bool) -> fmt::Result {
    out.write_char('"')?;
    let mut from = 0;
    for (at, char) in text.char_indices() {
        let plain = char >= ' ' && char != '"' && char != '\\' && (!ascii || char < '\u{7f}');
        if plain {
            continue;
        }
        out.write_str(&text[from..at])?;
        from = at + char.len_utf8();
        match char {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
        }
    }
    out.write_str(&text[from..])?;
    out.write_char('"')
}

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    at: usize,
    what: &'static str,
}

impl Display for SyntaxError {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "this is no JSON: {} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for SyntaxError {}

/// Read JSON.
pub fn parse(text: &[u8]) -> Result<Value, SyntaxError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| SyntaxError { at: error.valid_up_to(), what: "a byte that is no UTF-8" })?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.wrong("something more"));
    }
    Ok(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &'static str) -> SyntaxError {
        SyntaxError { at: self.at, what }
    }

    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), SyntaxError> {
        if self.peek() != byte {
            return Err(self.wrong(what));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        if depth > DEPTH {
            return Err(self.wrong("nested too deep"));
        }
        self.space();
        match self.peek() {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(Value::Text(self.string()?)),
            b'-' | b'0'..=b'9' => self.number(),
            _ => {
                for (word, value) in [("null", Value::Null), ("true", true.into()), ("false", false.into())] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.wrong("no value"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut members = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == b'}' {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != b'"' {
                return Err(self.wrong("no name of a member"));
            }
            let name = self.string()?;
            self.space();
            self.expect(b':', "no colon")?;
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.peek() == b',' {
                self.at += 1;
            } else {
                self.expect(b'}', "no end of an object")?;
                return Ok(Value::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        let mut values = Vec::new();
        self.at += 1;
        self.space();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.space();
            if self.peek() == b',' {
                self.at += 1;
            } else {
                self.expect(b']', "no end of an array")?;
                return Ok(Value::Array(values));
            }
        }
    }

    fn digits(&mut self) -> Result<(), SyntaxError> {
        if !self.peek().is_ascii_digit() {
            return Err(self.wrong("no digit"));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let from = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        if self.peek() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(Number(self.text[from..self.at].to_owned())))
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\');
            let plain = plain.ok_or_else(|| self.wrong("a text without an end"))?;
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => out.push(self.escaped()?),
                _ => return Err(self.wrong("a control character")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, SyntaxError> {
        self.at += 2;
        let char = match self.text.as_bytes().get(self.at - 1) {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'u') => return self.unicode(),
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            _ => {
                self.at -= 2;
                return Err(self.wrong("an unknown escape"));
            }
        };
        Ok(char)
    }

    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let first = self.unit()?;
        let mut code = first;
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 2;
            let second = self.unit()?;
            if (0xdc00..0xe000).contains(&second) {
                code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            }
        }
        char::from_u32(code).ok_or_else(|| self.wrong("half a character"))
    }

    fn unit(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or(&[]);
        let unit = digits.iter().try_fold(0, |unit, byte| Some(unit << 4 | char::from(*byte).to_digit(16)?));
        match unit.filter(|_| !digits.is_empty()) {
            Some(unit) => {
                self.at += 4;
                Ok(unit)
            }
            None => Err(self.wrong("no four digits")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_as_it_was() {
        for text in [
            "null",
            "true",
            "false",
            "0",
            "-1.50e+300",
            "123456789012345678901234567890",
            r#""""#,
            r#""é € 😀 \" \\ \n\t\r""#,
            "\"\u{7f}\u{2028}\"",
            "[]",
            "{}",
            r#"[1,[2,[3,{}]],"x"]"#,
            r#"{"b":1,"a":{"c":null},"b":2}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn space_and_escapes_are_understood() {
        let value = parse(b" { \"a\" : [ 1 , true ] ,\n\t\"b\\u00e9\": \"\\ud83d\\ude00\\/\\b\" } ").unwrap();
        assert_eq!(value, object! { "a": vec![Value::from(1), Value::from(true)], "bé": "😀/\u{8}" });
        assert_eq!(value["a"][0].as_u64(), Some(1));
        assert_eq!((&value["x"]["y"], &value["a"][7]), (&Value::Null, &Value::Null));
        assert_eq!(ascii(&value["bé"]), r#""\ud83d\ude00/\u0008""#);
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        for (text, what) in [
            ("", "no value at byte 0"),
            ("nul", "no value at byte 0"),
            ("[1,]", "no value at byte 3"),
            ("[1 2]", "no end of an array at byte 3"),
            (r#"{"a" 1}"#, "no colon at byte 5"),
            (r#"{"a":1"#, "no end of an object at byte 6"),
            ("{1:2}", "no name of a member at byte 1"),
            ("01", "something more at byte 1"),
            ("1.", "no digit at byte 2"),
            ("-", "no digit at byte 1"),
            ("1e+", "no digit at byte 3"),
            ("\"a", "a text without an end at byte 1"),
            ("\"\n\"", "a control character at byte 1"),
            (r#""\x""#, "an unknown escape at byte 1"),
            (r#""\u12""#, "no four digits at byte 3"),
            (r#""\ud800x""#, "half a character at byte 7"),
            (r#""\ud800\u0041""#, "half a character at byte 13"),
            (r#""\"#, "an unknown escape at byte 1"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), format!("this is no JSON: {what}"), "{text}");
        }
        assert_eq!(parse(b"\"\xff\"").unwrap_err().to_string(), "this is no JSON: a byte that is no UTF-8 at byte 1");
    }

    #[test]
    fn deep_is_read_and_too_deep_refused() {
        let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(parse(nested(DEPTH).as_bytes()).unwrap().to_string(), nested(DEPTH));
        assert!(parse(nested(1_000_000).as_bytes()).is_err());
    }

    #[test]
    fn numbers_are_what_they_can_be() {
        assert_eq!(parse(b"-3").unwrap().as_i64(), Some(-3));
        assert_eq!(parse(b"-3").unwrap().as_u64(), None);
        assert_eq!(parse(b"1.5").unwrap().as_f64(), Some(1.5));
        assert_eq!(Value::try_from(0.1).unwrap().to_string(), "0.1");
        assert_eq!(Value::try_from(f64::NAN).unwrap_err().to_string(), "JSON has no NaN");
        assert_eq!(Value::from(Some(u64::MAX)).to_string(), "18446744073709551615");
    }
}

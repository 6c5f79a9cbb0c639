//! Records by a template: the tokens and escapes of kcat's `-f`.
//!
//! | token | is replaced by |
//! |---|---|
//! | `%k`, `%s` | the bytes of the key, of the value |
//! | `%K`, `%S` | their lengths in bytes; -1 for null |
//! | `%R` | the length of the value as 4 bytes, big-endian; -1 for null |
//! | `%h` | the headers as `name=value,name=value`; a value that is null is `NULL` |
//! | `%t`, `%p`, `%o` | topic, partition, offset |
//! | `%T` | the timestamp in milliseconds; -1 if there is none |
//! | `%%` | `%` |
//! | `\n \r \t \\ \0 \xNN` | a byte |
//!
//! A token or an escape that is not in this list is an error: kcat prints the latter without its backslash.

use std::str::{Chars, FromStr};
use std::sync::Arc;

use crate::block::Streams;
use crate::partition::PartitionNumber;
use crate::record::{Headers, Record};
use crate::render::render_integer;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Key,
    KeyLength,
    Value,
    ValueLength,
    ValueLengthBinary,
    Headers,
    Topic,
    Partition,
    Offset,
    Timestamp,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// An unknown token.
    #[error(
        "`%{0}` is not a token; valid are %k key, %s value, %K %S their lengths (%R binary), %h headers, %t topic, %p partition, %o offset, \
         %T timestamp, %% percent sign"
    )]
    Token(char),
    /// An unknown escape.
    #[error(
        "`\\{0}` is not an escape; valid are \\n \\r \\t \\\\ \\0 and \\xNN with two hex digits"
    )]
    Escape(String),
    /// A token or an escape without its letter.
    #[error("the template ends after `{0}`; write `{0}{0}` for the character itself")]
    Incomplete(char),
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '%' => match token(rest.next().ok_or(TemplateError::Incomplete('%'))?)? {
                    None => literal.push(b'%'),
                    Some(token) => {
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal)));
                        }
                        parts.push(token);
                    }
                },
                '\\' => literal.push(escaped(&mut rest)?),
                c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { parts })
    }
}

/// Returns the token of a letter; `None` for the percent sign.
fn token(letter: char) -> Result<Option<Part>, TemplateError> {
    Ok(Some(match letter {
        'k' => Part::Key,
        'K' => Part::KeyLength,
        's' => Part::Value,
        'S' => Part::ValueLength,
        'R' => Part::ValueLengthBinary,
        'h' => Part::Headers,
        't' => Part::Topic,
        'p' => Part::Partition,
        'o' => Part::Offset,
        'T' => Part::Timestamp,
        '%' => return Ok(None),
        unknown => return Err(TemplateError::Token(unknown)),
    }))
}

/// Returns the byte that the escape after a backslash is for.
fn escaped(rest: &mut Chars<'_>) -> Result<u8, TemplateError> {
    Ok(match rest.next().ok_or(TemplateError::Incomplete('\\'))? {
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        '\\' => b'\\',
        '0' => 0,
        'x' => {
            let digits: String = rest.take(2).collect();
            let is_hex = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| is_hex);
            byte.ok_or_else(|| TemplateError::Escape(format!("x{digits}")))?
        }
        unknown => return Err(TemplateError::Escape(unknown.to_string())),
    })
}

impl Template {
    pub(super) fn streams(&self) -> Streams {
        let has = |parts: &[Part]| self.parts.iter().any(|part| parts.contains(part));
        let keys = has(&[Part::Key, Part::KeyLength]);
        let headers = has(&[Part::Headers]);
        let values = has(&[Part::Value, Part::ValueLength, Part::ValueLengthBinary]);
        match (keys, headers, values) {
            (false, false, false) => Streams::Meta,
            (true, false, false) => Streams::Keys,
            (false, true, false) => Streams::Headers,
            (false, false, true) => Streams::Values,
            (true, false, true) => Streams::KeysAndValues,
            (_, true, _) => Streams::All,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct TemplateRenderer {
    template: Arc<Template>,
    topic: Arc<str>,
    partition: PartitionNumber,
    /// What null is printed as, if it has a marker.
    null: Option<Arc<str>>,
}

impl TemplateRenderer {
    pub(super) fn new(
        template: Arc<Template>,
        topic: &str,
        partition: PartitionNumber,
        null: Option<&str>,
    ) -> TemplateRenderer {
        TemplateRenderer {
            template,
            topic: topic.into(),
            partition,
            null: null.map(Arc::from),
        }
    }

    pub(super) fn render(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        for part in &self.template.parts {
            match part {
                Part::Literal(bytes) => out.extend_from_slice(bytes),
                Part::Key => out.extend_from_slice(self.or_null(record.key, "")),
                Part::KeyLength => render_integer(length(record.key), out),
                Part::Value => out.extend_from_slice(self.or_null(record.value, "")),
                Part::ValueLength => render_integer(length(record.value), out),
                // A block has at most 256 MiB, so that no length is cut off.
                Part::ValueLengthBinary => {
                    out.extend_from_slice(&(length(record.value) as i32).to_be_bytes());
                }
                Part::Headers => self.headers(record.headers.clone(), out),
                Part::Topic => out.extend_from_slice(self.topic.as_bytes()),
                Part::Partition => render_integer(self.partition.get().into(), out),
                Part::Offset => render_integer(record.offset, out),
                Part::Timestamp => render_integer(record.timestamp, out),
            }
        }
    }

    fn headers(&self, headers: Headers<'_>, out: &mut Vec<u8>) {
        for (number, header) in headers.enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(header.name);
            out.push(b'=');
            out.extend_from_slice(self.or_null(header.value, "NULL"));
        }
    }

    /// Returns the bytes, or what stands for null: the marker, or else `usual`.
    fn or_null<'a>(&'a self, bytes: Option<&'a [u8]>, usual: &'a str) -> &'a [u8] {
        bytes.unwrap_or_else(|| self.null.as_deref().unwrap_or(usual).as_bytes())
    }
}

/// Returns the length in bytes; -1 for null.
fn length(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

//! JSON pointers (RFC 6901), and what they find in a text.
//!
//! A text is read without a tree of it: what the pointer does not lead through is skipped, but checked to be JSON. What it finds is returned as
//! it is written, so that numbers keep all of their digits.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// A pointer to a member: the names or numbers that lead to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    /// Reads a pointer; `None` if it is not one. The empty pointer is the whole value.
    pub(super) fn parse(text: &str) -> Option<Pointer> {
        if text.is_empty() {
            return Some(Pointer(Vec::new()));
        }
        let steps = text.strip_prefix('/')?.split('/').map(unescaped);
        steps.collect::<Option<_>>().map(Pointer)
    }

    /// Returns what the pointer finds in a JSON text; `None` inside if there is no such member.
    ///
    /// # Errors
    ///
    /// If the text is not JSON.
    pub(super) fn find<'de>(
        &self,
        text: &'de str,
    ) -> Result<Option<&'de RawValue>, serde_json::Error> {
        let mut steps = self.0.iter();
        let Some(first) = steps.next() else {
            return serde_json::from_str(text).map(Some);
        };
        // Only the first of these reads what has not been checked to be JSON.
        let mut found = member(first, text)?;
        for step in steps {
            let Some(value) = found else {
                return Ok(None);
            };
            found = member(step, value.get())?;
        }
        Ok(found)
    }
}

/// Replaces `~1` by `/` and `~0` by `~`. Any other `~` is an error.
fn unescaped(step: &str) -> Option<String> {
    let mut plain = String::with_capacity(step.len());
    let mut rest = step.chars();
    while let Some(c) = rest.next() {
        plain.push(match c {
            '~' => match rest.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

/// Returns the member of an object, or the element of an array, of this name or number.
fn member<'de>(name: &str, text: &'de str) -> Result<Option<&'de RawValue>, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    let start = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let found = match start.as_bytes().first() {
        Some(b'{') => (&mut json).deserialize_map(Member::new(name))?,
        Some(b'[') => (&mut json).deserialize_seq(Member::new(name))?,
        _ => IgnoredAny::deserialize(&mut json).map(|_| None)?,
    };
    json.end()?;
    Ok(found)
}

/// Finds one member or element, and skips all others.
struct Member<'a, 'de> {
    name: &'a str,
    text: PhantomData<&'de str>,
}

impl<'a> Member<'a, '_> {
    fn new(name: &'a str) -> Self {
        Member {
            name,
            text: PhantomData,
        }
    }

    /// Returns the number of an element: without zeros at the beginning, as RFC 6901 has it.
    fn number(&self) -> Option<u64> {
        let is_number =
            self.name == "0" || self.name.starts_with(|c: char| ('1'..='9').contains(&c));
        self.name.parse().ok().filter(|_| is_number)
    }
}

impl<'de> Visitor<'de> for Member<'_, 'de> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Name(name)) = members.next_key()? {
            // Of several members of one name the last one counts, as for most readers of JSON.
            match name == self.name {
                true => found = Some(members.next_value()?),
                false => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        for at in 0.. {
            if Some(at) == self.number() {
                found = elements.next_element()?;
            } else if elements.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

/// The name of a member, borrowed unless it has escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#" {"a": {"b": [10, {"c": 1.50}], "": null}, "x/y": 1, "m~n": 2, "a\u0062": "q", "d": 1, "d": {"e": 2}, "1": 7} "#;

    fn find(pointer: &str) -> Option<&'static str> {
        let found = Pointer::parse(pointer).unwrap().find(TEXT).unwrap();
        found.map(RawValue::get)
    }

    #[test]
    fn members_and_elements_are_found_as_they_are_written() {
        assert_eq!(find(""), Some(TEXT.trim()));
        assert_eq!(find("/a/b/0"), Some("10"));
        assert_eq!(find("/a/b/1/c"), Some("1.50"));
        assert_eq!(find("/a/"), Some("null"));
        assert_eq!(find("/x~1y"), Some("1"));
        assert_eq!(find("/m~0n"), Some("2"));
        assert_eq!(find("/ab"), Some("\"q\""));
        assert_eq!(find("/d/e"), Some("2"), "the last one");
        assert_eq!(find("/1"), Some("7"), "a member, since it is an object");
        for none in [
            "/b", "/a/b/2", "/a/b/00", "/a/b/+1", "/a/b/-", "/a/b/c", "/x~1y/z", "/ab/0", "/d/f",
        ] {
            assert_eq!(find(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_not_a_pointer_or_not_json_is_refused() {
        for text in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert_eq!(Pointer::parse(text), None, "{text}");
        }
        let pointer = Pointer::parse("/a").unwrap();
        for text in [
            "",
            "{",
            "{\"a\":1}x",
            "{\"a\":01}",
            "{\"a\":1,\"b\":[}",
            "nul",
            "{\"b\":\"\u{1}\"}",
        ] {
            assert!(pointer.find(text).is_err(), "{text}");
        }
        // Whatever the rest is: large numbers, and deeper than a recursive reader could follow.
        assert!(pointer.find("{\"a\":1e999}").unwrap().is_some());
        assert!(
            Pointer::parse("/a/b")
                .unwrap()
                .find("{\"a\":1e999}")
                .unwrap()
                .is_none()
        );
        let deep = format!(
            "{{\"a\":7,\"b\":{}1{}}}",
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        assert_eq!(pointer.find(&deep).unwrap().map(RawValue::get), Some("7"));
    }
}

//! File names, formatted and parsed. The contents of a manifest are untrusted: only here do they become names, and never one that
//! contains `/` or NUL, or is `..`.

use std::fmt::Write as _;

use kbk_format::repo::{Hex, SegmentEntry, TopicState};
use sha2::{Digest, Sha256};

use crate::content::offsets::OffsetQuery;

/// The longest name that file systems allow, in bytes.
const NAME_BYTES: usize = 255;

/// `orders`, or `orders@<topic id>` for a deleted topic. Kafka allows neither `@` nor `~` in topic names.
///
/// A name that would be too long is cut and followed by `~` and the SHA-256 of the topic's whole name.
pub(super) fn topic(topic: &TopicState) -> String {
    if !topic.deleted {
        return topic.name.to_string();
    }
    let name = format!("{}@{}", topic.name, topic.topic_id);
    if name.len() <= NAME_BYTES {
        return name;
    }
    let suffix = format!(
        "~{}@{}",
        sha256_prefix(topic.name.as_bytes()),
        topic.topic_id
    );
    let cut = topic.name.get(..NAME_BYTES - suffix.len());
    format!("{}{suffix}", cut.unwrap_or_default())
}

const JSON: &str = ".json";

/// `<percent-encoded>.json`. A name that would be too long is cut and followed by `~` and the SHA-256 of the group's id.
pub(super) fn group(id: &str) -> String {
    let encoded = percent_encoded(id);
    if encoded.len() + JSON.len() <= NAME_BYTES {
        return encoded + JSON;
    }
    let suffix = format!("~{}{JSON}", sha256_prefix(id.as_bytes()));
    let mut end = NAME_BYTES - suffix.len();
    // Not in the middle of a %XX, or the name could not be decoded.
    if let Some(percent) = encoded.get(end - 2..end).and_then(|tail| tail.find('%')) {
        end = end - 2 + percent;
    }
    format!("{}{suffix}", encoded.get(..end).unwrap_or_default())
}

/// The first bytes of the group id that `name` encodes: all of them unless it was cut. To check that a name is a group's,
/// format that group's name.
pub(super) fn group_prefix(name: &str) -> Option<Vec<u8>> {
    let encoded = name.strip_suffix(JSON)?;
    let encoded = encoded.split_once('~').map_or(encoded, |(cut, _)| cut);
    decoded(encoded)
}

/// The bytes of a percent-encoded name.
fn decoded(encoded: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        rest = after;
        // The parser would take a sign, too.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    Some(bytes)
}

/// The key that a name in `by-key` asks for: its bytes as they are, or as `%` and two hex digits; `%` alone is the empty key. None where a `%` is
/// followed by anything else.
pub(super) fn key(name: &str) -> Option<Vec<u8>> {
    match name {
        "%" => Some(Vec::new()),
        name => decoded(name),
    }
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The first half of a SHA-256, as 32 hex digits.
fn sha256_prefix(bytes: &[u8]) -> Hex<16> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    Hex(std::array::from_fn(|i| digest[i]))
}

/// `<base>-<id>.kseg`: the last part of the object's key.
pub(super) fn stored(entry: &SegmentEntry) -> &str {
    entry
        .key
        .rsplit_once('/')
        .map_or(&entry.key, |(_, name)| name)
}

/// The first offset in the name of a stored segment.
pub(super) fn stored_base(name: &str) -> Option<i64> {
    let (base, _) = name.split_once('-')?;
    let digits = base.len() == 20 && base.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| base.parse().ok()).flatten()
}

/// `<first>-<last>.jsonl`, both inclusive, and padded so that names sort in the order of offsets.
pub(super) fn by_offset(entry: &SegmentEntry) -> String {
    format!(
        "{:0OFFSET_DIGITS$}-{:0OFFSET_DIGITS$}.jsonl",
        entry.base_offset,
        entry.end_offset.saturating_sub(1)
    )
}

/// The digits of a padded offset, as in the names of stored segments.
const OFFSET_DIGITS: usize = 20;

/// What a name in `by-offset` asks for: `N.json`, `N.value` or `A-B.jsonl`, with offsets as [`by_offset`] pads them or without leading zeros.
pub(super) fn offset_query(name: &str) -> Option<OffsetQuery> {
    if let Some(one) = name.strip_suffix(JSON) {
        return offset(one).map(OffsetQuery::One);
    }
    if let Some(one) = name.strip_suffix(".value") {
        return offset(one).map(OffsetQuery::Value);
    }
    let (first, last) = name.strip_suffix(".jsonl")?.split_once('-')?;
    let (first, last) = (offset(first)?, offset(last)?);
    (first <= last).then_some(OffsetQuery::Range(first, last))
}

fn offset(digits: &str) -> Option<i64> {
    if digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits.parse().ok();
    }
    number(digits)
}

/// A non-negative decimal number, in its one spelling.
pub(super) fn number<T: std::str::FromStr + ToString + Default + PartialOrd>(
    digits: &str,
) -> Option<T> {
    let number: T = digits.parse().ok()?;
    (number >= T::default() && number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offsets_are_padded_to_all_digits_or_not_at_all() {
        let padded = "00000000000000000007-09223372036854775807.jsonl";
        assert_eq!(offset_query(padded), Some(OffsetQuery::Range(7, i64::MAX)));
        assert_eq!(
            offset_query("00000000000000000012.json"),
            Some(OffsetQuery::One(12))
        );
        assert_eq!(offset_query("0.json"), Some(OffsetQuery::One(0)));
        assert_eq!(offset_query("7.value"), Some(OffsetQuery::Value(7)));
        assert_eq!(offset_query("7-9.jsonl"), Some(OffsetQuery::Range(7, 9)));
        assert_eq!(
            offset_query("9223372036854775807.json"),
            Some(OffsetQuery::One(i64::MAX))
        );
        for other in [
            "",
            ".json",
            "-1.json",
            "+1.json",
            "01.json",
            "1",
            "1.jsonl",
            "9-7.jsonl",
            "1-2.json",
            "1--2.jsonl",
            "-.jsonl",
            "9223372036854775808.json",
            "+0000000000000000012.json",
            "09223372036854775808.json",
            " 1.json",
            "1-02.jsonl",
        ] {
            assert_eq!(offset_query(other), None, "{other:?}");
        }
    }

    #[test]
    fn keys_are_given_as_they_are_or_percent_encoded() {
        for (name, expected) in [
            ("order-42", Some(&b"order-42"[..])),
            ("a%2Fb", Some(b"a/b")),
            ("%00%ff%FF", Some(&[0, 255, 255])),
            ("%", Some(b"")),
            ("100%25", Some(b"100%")),
            ("gr\u{fc}n", Some("gr\u{fc}n".as_bytes())),
            ("%2E", Some(b".")),
            ("%2", None),
            ("100%", None),
            ("%+f", None),
            ("%zz", None),
        ] {
            assert_eq!(key(name).as_deref(), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn group_names_are_safe_and_short_and_can_be_decoded(id in ".{0,300}") {
            let name = group(&id);
            prop_assert!(name.len() <= NAME_BYTES && name != "." && name != "..");
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            let prefix = group_prefix(&name).unwrap();
            prop_assert!(id.as_bytes().starts_with(&prefix));
            if !name.contains('~') {
                prop_assert_eq!(prefix, id.as_bytes());
            }
        }
    }

    #[test]
    fn long_ids_with_a_common_prefix_have_different_names() {
        let (a, b) = ("ö".repeat(200) + "a", "ö".repeat(200) + "b");
        assert_ne!(group(&a), group(&b));
        assert!(group(&a).len() <= NAME_BYTES);
    }
}

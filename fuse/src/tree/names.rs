//! Names of files, formatted and parsed. What a manifest says is data: only here it becomes a name, and never one of `/`, `..`
//! or NUL.

use std::fmt::Write as _;

use kbk_format::repo::{Hex, SegmentEntry, TopicState};
use sha2::{Digest, Sha256};

/// The longest name that file systems allow, in bytes.
const NAME_BYTES: usize = 255;

/// `orders`, or `orders@<topic id>` of a topic that was deleted. Kafka has no `@` and no `~` in names of topics.
///
/// What would be too long is cut, with the SHA-256 of the topic's whole name behind a `~`.
pub(crate) fn topic(topic: &TopicState) -> String {
    if !topic.deleted {
        return topic.name.to_string();
    }
    let name = format!("{}@{}", topic.name, topic.topic_id);
    if name.len() <= NAME_BYTES {
        return name;
    }
    let behind = format!(
        "~{}@{}",
        sha256_prefix(topic.name.as_bytes()),
        topic.topic_id
    );
    let cut = topic.name.get(..NAME_BYTES - behind.len());
    format!("{}{behind}", cut.unwrap_or_default())
}

const JSON: &str = ".json";

/// `<percent-encoded>.json`. A name that would be too long is cut, with the SHA-256 of the group's id behind a `~`.
pub(crate) fn group(id: &str) -> String {
    let encoded = percent_encoded(id);
    if encoded.len() + JSON.len() <= NAME_BYTES {
        return encoded + JSON;
    }
    let behind = format!("~{}{JSON}", sha256_prefix(id.as_bytes()));
    let mut end = NAME_BYTES - behind.len();
    // Not in the middle of a %XX.
    if let Some(percent) = encoded.get(end - 2..end).and_then(|tail| tail.find('%')) {
        end = end - 2 + percent;
    }
    format!("{}{behind}", encoded.get(..end).unwrap_or_default())
}

/// The id's first bytes that `name` tells: all of them, where it was not cut. Whether it is the name of a group, only
/// formatting that group's name tells.
pub(crate) fn group_prefix(name: &str) -> Option<Vec<u8>> {
    let encoded = name.strip_suffix(JSON)?;
    let encoded = encoded.split_once('~').map_or(encoded, |(cut, _)| cut);
    let mut bytes = Vec::new();
    let mut rest = encoded.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        rest = behind;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    Some(bytes)
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

/// 32 hex digits.
fn sha256_prefix(bytes: &[u8]) -> Hex<16> {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    Hex(std::array::from_fn(|i| digest[i]))
}

/// `<base>-<id>.kseg`: the last part of the object's key.
pub(crate) fn stored(entry: &SegmentEntry) -> &str {
    entry
        .key
        .rsplit_once('/')
        .map_or(&entry.key, |(_, name)| name)
}

/// The first offset that the name of a stored segment tells.
pub(crate) fn stored_base(name: &str) -> Option<i64> {
    let (base, _) = name.split_once('-')?;
    let digits = base.len() == 20 && base.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| base.parse().ok()).flatten()
}

/// `<first>-<last>.jsonl`, both inclusive.
pub(crate) fn by_offset(entry: &SegmentEntry) -> String {
    format!(
        "{}-{}.jsonl",
        entry.base_offset,
        entry.end_offset.saturating_sub(1)
    )
}

/// What a name in `by-offset` asks for: the first and the last offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// `N.json`: there must be a record.
    One(i64),
    /// `A-B.jsonl`: what there is of them.
    Range(i64, i64),
}

/// Only the spelling that [`by_offset`] has: without plus signs and leading zeros.
pub(crate) fn asked(name: &str) -> Option<Asked> {
    if let Some(one) = name.strip_suffix(JSON) {
        return number(one).map(Asked::One);
    }
    let (first, last) = name.strip_suffix(".jsonl")?.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(Asked::Range(first, last))
}

/// A number in decimal, in its one spelling.
pub(crate) fn number<T: std::str::FromStr + ToString + Default + PartialOrd>(
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
    fn numbers_have_one_spelling() {
        assert_eq!(asked("0.json"), Some(Asked::One(0)));
        assert_eq!(asked("7-9.jsonl"), Some(Asked::Range(7, 9)));
        assert_eq!(
            asked("9223372036854775807.json"),
            Some(Asked::One(i64::MAX))
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
            " 1.json",
            "1-02.jsonl",
        ] {
            assert_eq!(asked(other), None, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn names_of_groups_are_safe_short_and_lead_back(id in ".{0,300}") {
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
    fn long_ids_that_begin_alike_have_two_names() {
        let (a, b) = ("ö".repeat(200) + "a", "ö".repeat(200) + "b");
        assert_ne!(group(&a), group(&b));
        assert!(group(&a).len() <= NAME_BYTES);
    }
}

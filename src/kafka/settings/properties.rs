//! Parses Java's `.properties` format, with the line number of every entry.

use std::iter::Peekable;
use std::str::Chars;

/// One entry of a file.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Property {
    /// The first line of the entry, from 1.
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: String,
}

/// A malformed line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// Parses the entries of a file as `java.util.Properties.load` does, but as UTF-8.
pub(super) fn parse(text: &str) -> Result<Vec<Property>, SyntaxError> {
    let mut properties = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Any of the three line ends, as in Java.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let start = first.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while continues(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        let line = index + 1;
        let (key, value) = entry(&logical).map_err(|what| SyntaxError { line, what })?;
        properties.push(Property { line, key, value });
    }
    Ok(properties)
}

/// White space of the format, except line ends.
const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

/// Whether the next line continues this one: it ends in an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or blank; blanks around one `=` or `:` are part of the separator.
fn entry(line: &str) -> Result<(String, String), &'static str> {
    let mut chars = line.chars().peekable();
    let key = unescape(&mut chars, |c| c == '=' || c == ':' || BLANKS.contains(&c))?;
    skip_blanks(&mut chars);
    if chars.next_if(|&c| c == '=' || c == ':').is_some() {
        skip_blanks(&mut chars);
    }
    Ok((key, unescape(&mut chars, |_| false)?))
}

fn skip_blanks(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| BLANKS.contains(c)).is_some() {}
}

/// Reads up to, and without, the first unescaped character for which `ends` holds.
fn unescape(
    chars: &mut Peekable<Chars<'_>>,
    ends: fn(char) -> bool,
) -> Result<String, &'static str> {
    let mut text = String::new();
    while let Some(c) = chars.next_if(|&c| !ends(c)) {
        text.push(if c == '\\' { escaped(chars)? } else { c });
    }
    Ok(text)
}

fn escaped(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    Ok(match chars.next() {
        Some('t') => '\t',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('f') => '\x0c',
        Some('u') => unicode(chars)?,
        Some(other) => other,
        None => return Err("a backslash ends the entry"),
    })
}

/// Reads the rest of `\uXXXX`: a UTF-16 unit, or two of them (`\uXXXX\uXXXX`) for a character outside the basic multilingual plane.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const MALFORMED: &str = "\\u must be followed by four hexadecimal digits that form a character";
    let first = utf16_unit(chars).ok_or(MALFORMED)?;
    if let Some(c) = char::from_u32(first.into()) {
        return Ok(c);
    }
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(MALFORMED);
    }
    let second = utf16_unit(chars).ok_or(MALFORMED)?;
    char::decode_utf16([first, second])
        .next()
        .and_then(Result::ok)
        .ok_or(MALFORMED)
}

fn utf16_unit(chars: &mut Peekable<Chars<'_>>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit << 4 | u16::try_from(chars.next()?.to_digit(16)?).ok()?;
    }
    Some(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        parse(text)
            .unwrap()
            .into_iter()
            .map(|p| (p.line, p.key, p.value))
            .collect()
    }

    fn pair(line: usize, key: &str, value: &str) -> (usize, String, String) {
        (line, key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_and_blank_lines() {
        assert_eq!(
            pairs("# c\n! c\n\n  a=1\nb : 2 \nc 3\nd\ne= = x\n"),
            [
                pair(4, "a", "1"),
                pair(5, "b", "2 "),
                pair(6, "c", "3"),
                pair(7, "d", ""),
                pair(8, "e", "= x")
            ]
        );
    }

    #[test]
    fn continued_lines_count_as_one_entry_at_its_first_line() {
        let text = "a=x \\\n    y\\\\\nb=z\r\nc=1\\";
        assert_eq!(
            pairs(text),
            [pair(1, "a", "x y\\"), pair(3, "b", "z"), pair(4, "c", "1")]
        );
    }

    #[test]
    fn files_of_other_systems() {
        let expected = [pair(1, "a", "1"), pair(2, "b", "x y"), pair(4, "c", "2")];
        for end in ["\n", "\r\n", "\r"] {
            let lines = ["\u{feff}a=1", "b=x \\", "  y", "c=2", ""];
            assert_eq!(pairs(&lines.join(end)), expected, "{end:?}");
        }
    }

    #[test]
    fn escapes() {
        let text = r"k\=\ e=\t\u00e9\ud83d\ude00\q\\";
        assert_eq!(pairs(text), [pair(1, "k= e", "\té😀q\\")]);
    }

    #[test]
    fn malformed_escapes_name_their_line() {
        for text in ["a=1\nb=\\u12", "a=1\nb=\\ud83dx", "a=1\nb=\\u+123"] {
            assert_eq!(parse(text).err().map(|error| error.line), Some(2), "{text}");
        }
    }
}

//! Command lines that a shell reads as they are printed.

use std::env;

/// Returns a command line that calls this program as this process was called.
pub(super) fn command(words: &[&str]) -> String {
    let program = env::args().next().unwrap_or_else(|| "kbk".to_owned());
    let words = words.iter().map(|word| quoted(word));
    std::iter::once(quoted(&program))
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Quotes a word for a POSIX shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_need_it_are_quoted() {
        assert_eq!(
            quoted("./kbk-demo/2026-11-22T10:00:00Z"),
            "./kbk-demo/2026-11-22T10:00:00Z"
        );
        assert_eq!(quoted("my demo"), "'my demo'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}

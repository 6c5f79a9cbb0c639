//! Variables of the environment that say who asks a bucket for something.

use std::env;

/// Words in the names of those whose values are sent in headers of requests.
const SENT: [&str; 8] = [
    "KEY", "TOKEN", "SECRET", "CLIENT", "TENANT", "REGION", "ACCOUNT", "ROLE",
];
/// Words in the names of others: of files, and of a document.
const NOT_SENT: [&str; 2] = ["FILE", "SERVICE_ACCOUNT"];

/// Returns a variable that is set and not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Fails if a variable that begins with `prefix` has a value that no request can be made with, such as a secret with the line feed of the
/// file that it was read from.
pub(super) fn check(prefix: &str) -> Result<(), String> {
    for (name, value) in env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(prefix)) else {
            continue;
        };
        let has = |word: &&str| name.contains(*word);
        let is_sent = SENT.iter().any(has) && !NOT_SENT.iter().any(has);
        if is_sent && !value.to_str().is_some_and(is_sendable) {
            return Err(format!(
                "{name} has a line break, or another character that no request may have; set it without"
            ));
        }
    }
    Ok(())
}

/// Returns whether the header of a request may have this value.
pub(super) fn is_sendable(value: &str) -> bool {
    value.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::is_sendable;

    #[test]
    fn only_visible_ascii_is_sent() {
        assert!(is_sendable("AKIA/+= ~"));
        for other in ["a\n", "\ra", "\0", "\u{7f}", "ä", "\t"] {
            assert!(!is_sendable(other), "{other:?}");
        }
    }
}

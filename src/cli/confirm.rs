//! Asks before something is deleted.

use std::io::{self, BufRead, IsTerminal};

use super::error::CliError;
use super::stderr::Stderr;

/// Asks the user to type `answer`. Any other answer is refused, and so is a call without a terminal.
pub(super) fn confirm(question: &str, answer: &str, stderr: &Stderr) -> Result<(), CliError> {
    let stdin = io::stdin();
    if !(stdin.is_terminal() && stderr.is_terminal()) {
        let error = CliError::usage(format!(
            "{question}, and there is no terminal to confirm it"
        ));
        return Err(error.hint("--dry-run shows what would be done; --yes confirms it"));
    }
    stderr.line(&format!("{question}. Type {answer:?} to continue:"));
    judge(&mut stdin.lock(), answer)
}

fn judge(input: &mut impl BufRead, answer: &str) -> Result<(), CliError> {
    let mut typed = String::new();
    input
        .read_line(&mut typed)
        .map_err(|error| CliError::new("cannot read the answer").caused_by(error))?;
    match is_same(typed.trim(), answer) {
        true => Ok(()),
        false => Err(CliError::new(format!(
            "nothing was done: expected {answer:?}, found {:?}",
            typed.trim()
        ))),
    }
}

/// Returns whether the answer was typed: a number of things, such as "4,820 offsets", also without the commas and the noun.
fn is_same(typed: &str, answer: &str) -> bool {
    if typed == answer {
        return true;
    }
    let (number, noun) = answer.split_once(' ').unwrap_or((answer, ""));
    let digits = number.replace(',', "");
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let (typed_number, typed_noun) = typed.split_once(' ').unwrap_or((typed, noun));
    let is_written = typed_number == digits || typed_number == number;
    is_number && is_written && typed_noun.trim_start() == noun
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_is_the_answer() {
        for (answer, typed) in [
            ("orders", " orders \n"),
            ("12 topics", "12 topics"),
            ("12 topics", "12\n"),
            ("4,820 offsets", "4820\n"),
            ("4,820 offsets", "4,820\n"),
            ("4,820 offsets", "4820 offsets\n"),
            ("4,820 offsets", "4,820 offsets\n"),
        ] {
            assert!(judge(&mut typed.as_bytes(), answer).is_ok(), "{typed:?}");
        }
        for (answer, typed) in [
            ("4,820 offsets", "48,20"),
            ("4,820 offsets", "4820 records"),
            ("4,820 offsets", "482"),
            ("4,820 offsets", ""),
            ("orders", ""),
            ("orders 12", "orders"),
            ("orders", "order"),
        ] {
            assert!(judge(&mut typed.as_bytes(), answer).is_err(), "{typed:?}");
        }
        for typed in ["", "\n", "y\n", "1\n", "12 topic\n", "orders\n"] {
            let error = judge(&mut typed.as_bytes(), "12 topics").unwrap_err();
            let expected = "nothing was done: expected \"12 topics\", found";
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}

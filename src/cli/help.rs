//! The shape of the help: `-h` is short, `--help` is long, and examples can be copied at any width.
//!
//! Each text is written once, in the definition of its option or command. The short help of an option is the first sentence of its text. What
//! follows the options of a command, its examples above all, is shown by `--help` only, and as it is written: clap would wrap it,
//! and a command that is wrapped no longer runs when it is copied.

use std::ffi::OsString;

use clap::{Arg, Command};

/// Returns whether the arguments ask for the long help of some command.
pub(crate) fn is_long(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "help")
}

/// Returns the definitions with their help in shape, for the short or the long one.
pub(crate) fn shaped(command: Command, long: bool) -> Command {
    let after = examples(&command);
    let template = match after {
        Some(text) if long => format!("{TEMPLATE}\n\n{text}"),
        _ => TEMPLATE.to_owned(),
    };
    command
        .mut_args(shorten)
        .help_template(template)
        .mut_subcommands(|below| shaped(below, long))
}

/// Clap's own, without what follows the options.
const TEMPLATE: &str = "{before-help}{about-with-newline}\n{usage-heading} {usage}\n\n{all-args}";

/// Returns what follows the options of a command: examples and explanations, in lines that fit a terminal.
pub(crate) fn examples(command: &Command) -> Option<String> {
    let text = command.get_after_long_help().or(command.get_after_help())?;
    Some(text.to_string())
}

fn shorten(option: Arg) -> Arg {
    let Some(text) = option.get_help().map(ToString::to_string) else {
        return option;
    };
    let short = first_sentence(&text);
    if short == text || option.get_long_help().is_some() {
        return option;
    }
    option.help(short).long_help(text)
}

/// Returns the text up to the end of its first sentence or a semicolon, and the default that it states at its end.
fn first_sentence(text: &str) -> String {
    let (body, default) = match text.rfind(" [default: ").or(text.rfind("\n[default: ")) {
        Some(position) if text.ends_with(']') => text.split_at(position),
        _ => (text, ""),
    };
    let is_end = |position: usize| {
        let rest = &body[position..];
        let sentence = rest.strip_prefix(". ");
        let sentence =
            sentence.is_some_and(|rest| rest.starts_with(|c: char| c.is_uppercase() || c == '`'));
        sentence || rest.starts_with("; ")
    };
    let end = (0..body.len())
        .filter(|position| body.is_char_boundary(*position))
        .find(|position| is_end(*position));
    let sentence = &body[..end.unwrap_or(body.len())];
    // A semicolon inside parentheses ends nothing.
    let balanced = sentence.matches('(').count() == sentence.matches(')').count();
    let sentence = if balanced { sentence } else { body };
    format!("{sentence}{}", default.replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_help_is_the_first_sentence() {
        for (text, short) in [
            ("Write only errors", "Write only errors"),
            ("Only this. And why", "Only this"),
            (
                "A size; 64KiB to 8MiB [default: 1MiB]",
                "A size [default: 1MiB]",
            ),
            ("See mount.kbk; e.g. this", "See mount.kbk"),
            (
                "Client .properties file, e.g. of Kafka",
                "Client .properties file, e.g. of Kafka",
            ),
            (
                "Levels (1 to 19; more is slower)",
                "Levels (1 to 19; more is slower)",
            ),
        ] {
            assert_eq!(first_sentence(text), short);
        }
    }
}

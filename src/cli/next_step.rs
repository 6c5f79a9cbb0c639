//! Separates what an error says to do next from what it says has happened.
//!
//! Errors of all layers are written as `cannot do X: cause; try Y`, in one sentence, for whoever prints them. JSON has the two parts as members,
//! and text as lines of their own.

/// What a clause begins with that says what to do: verbs in the imperative, and what names an option or a command.
const STARTS: &[&str] = &[
    "`--",
    "`kbk ",
    "`NAME@ID`",
    "--",
    "add ",
    "allow ",
    "back up ",
    "before a letter",
    "check ",
    "choose ",
    "correct ",
    "create ",
    "delete ",
    "did you mean ",
    "discard ",
    "empty ",
    "enable ",
    "end that ",
    "expected four",
    "give ",
    "grant ",
    "install ",
    "leave ",
    "let ",
    "local time ",
    "look ",
    "make ",
    "mount ",
    "name ",
    "once it ",
    "open ",
    "please ",
    "put ",
    "raise ",
    "remove ",
    "report ",
    "restore ",
    "resume ",
    "run ",
    "save ",
    "select ",
    "set ",
    "start ",
    "this is a defect ",
    "try ",
    "unmount ",
    "use ",
    "verify ",
    "wait ",
];

/// What separates several reasons in one message, each with what to do about it.
const AND: &str = "\n  and ";

/// Splits a message into what has happened and what to do, which begins with the first clause that says so.
pub(super) fn split(text: &str) -> (String, Option<String>) {
    let (mut reasons, mut steps) = (Vec::new(), Vec::new());
    for text in text.split(AND) {
        let (reason, step) = split_one(text);
        reasons.push(reason);
        // Several reasons may have the same remedy.
        steps.extend(step.filter(|step| !steps.contains(step)));
    }
    let step = (!steps.is_empty()).then(|| steps.join("\n"));
    (reasons.join(AND), step)
}

fn split_one(text: &str) -> (&str, Option<&str>) {
    let mut clauses = text.match_indices("; ").map(|(at, _)| at);
    let at = clauses.find(|at| !is_quoted(&text[..*at]) && is_step(&text[at + 2..]));
    match at {
        Some(at) => (&text[..at], Some(&text[at + 2..])),
        None => (text, None),
    }
}

fn is_step(clause: &str) -> bool {
    STARTS.iter().any(|start| clause.starts_with(start))
}

/// Returns whether text ends inside of what it quotes.
fn is_quoted(text: &str) -> bool {
    text.matches('`').count() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_several_is_split() {
        let (reasons, step) = split("a; use c\n  and b\n  and d; use c\n  and e; give f");
        assert_eq!(reasons, "a\n  and b\n  and d\n  and e");
        assert_eq!(step.as_deref(), Some("use c\ngive f"));
    }

    #[test]
    fn a_message_is_split_before_the_first_clause_that_says_what_to_do() {
        for (text, message, step) in [
            ("a is b; use c", "a is b", Some("use c")),
            (
                "a; the rest; use c; it is d",
                "a; the rest",
                Some("use c; it is d"),
            ),
            ("a; `kbk ls` lists b", "a", Some("`kbk ls` lists b")),
            ("a; --yes confirms it", "a", Some("--yes confirms it")),
            ("`a; use b` is c", "`a; use b` is c", None),
            ("a; used before", "a; used before", None),
            ("a", "a", None),
            ("", "", None),
        ] {
            assert_eq!(split(text), (message.to_owned(), step.map(str::to_owned)));
        }
    }
}

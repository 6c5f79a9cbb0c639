//! Separates what an error says to do next from what it says has happened.
//!
//! Errors of all layers are written as `cannot do X: cause; try Y`, in one sentence, for whoever prints them. JSON has the two parts as members,
//! and text as lines of their own.

/// What a clause begins with that says what to do: verbs in the imperative, and what names an option or a command.
const STARTS: &[&str] = &[
    "--",
    "`--",
    "`NAME@ID`",
    "`aws ",
    "`kbk ",
    "add ",
    "allow ",
    "back up ",
    "before a letter",
    "check ",
    "choose ",
    "copy it ",
    "copy the ",
    "correct ",
    "create ",
    "delete ",
    "did you mean ",
    "discard ",
    "empty ",
    "enable ",
    "end that ",
    "expected four",
    "export to ",
    "forget older ",
    "give ",
    "grant ",
    "if all of it is to go",
    "import them ",
    "install ",
    "keep fewer",
    "leave ",
    "let ",
    "local time ",
    "look ",
    "make ",
    "mount ",
    "move ",
    "name ",
    "once it ",
    "open ",
    "please ",
    "push to ",
    "put ",
    "raise ",
    "remove ",
    "rename it",
    "report ",
    "restore ",
    "resume ",
    "run ",
    "save ",
    "see docs/",
    "select ",
    "set ",
    "start ",
    "stop the broker",
    "stop the consumers",
    "this is a defect ",
    "to change it, ",
    "try ",
    "unmount ",
    "use ",
    "valid are ",
    "verify ",
    "wait ",
    "write `",
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
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What a clause of a message begins with that says more of what has happened, or that is of a text which is no error.
    const STATEMENTS: &[&str] = &[
        "0 ",
        "1 ",
        "130 ",
        "2 ",
        "3 ",
        "A expired",
        "B expired",
        "Kafka ",
        "`kafka-topics ",
        "a ",
        "absent ",
        "after ",
        "all ",
        "also ",
        "another ",
        "any ",
        "at ",
        "base-uri ",
        "brokers ",
        "by ",
        "cache, ",
        "charset=utf-8",
        "consumers ",
        "cycle ",
        "days ",
        "discarding ",
        "each ",
        "either ",
        "form-action ",
        "globs",
        "groups ",
        "in ",
        "internal ",
        "it ",
        "it, or one in the same batch",
        "its ",
        "jsonl ",
        "kept ",
        "keys of ",
        "key_base64 ",
        "key_encoding ",
        "librdkafka's ",
        "meta.json ",
        "more ",
        "no ",
        "not ",
        "nothing ",
        "of ",
        "older ",
        "once ",
        "only ",
        "or ",
        "or, ",
        "port ",
        "programs ",
        "readers ",
        "reads ",
        "records ",
        "repeatable",
        "replaced: ",
        "restore: ",
        "retrying ",
        "signal ",
        "small ",
        "snapshots ",
        "style-src ",
        "that ",
        "the ",
        "there ",
        "these ",
        "they ",
        "this ",
        "those ",
        "to ",
        "trying ",
        "two ",
        "until ",
        "up ",
        "waiting ",
        "what ",
        "where ",
        "while ",
        "with ",
        "without ",
        "{FORMS}",
        "{accepted}",
        "{hint}",
        "{how}",
        "{known}",
        "{looked}",
        "{next}",
        "{proved}",
        "{segments} ",
        "{step}",
        "{suggestion}",
        "{unfinished}",
        "{}",
    ];

    /// Whoever writes a clause that begins as no other one does finds out here that it must be one or the other.
    #[test]
    fn every_clause_of_a_message_is_known_to_be_a_step_or_a_statement() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut unknown = Vec::new();
        let (mut steps, mut used) = (0, BTreeSet::new());
        for room in ["src", "tools/src", "format/src", "fuse/src"] {
            for file in sources(&root.join(room)) {
                let text = fs::read_to_string(&file).expect("readable");
                for clause in clauses(&text) {
                    let statement = STATEMENTS.iter().find(|it| clause.starts_with(**it));
                    match (is_step(&clause), statement) {
                        (true, _) => steps += 1,
                        (false, Some(statement)) => drop(used.insert(*statement)),
                        (false, None) => unknown.push(format!("{}: `{clause}`", file.display())),
                    }
                }
            }
        }
        let unknown = unknown.join("\n");
        assert!(
            unknown.is_empty(),
            "add to STARTS or to STATEMENTS:\n{unknown}"
        );
        assert!(
            steps > 150,
            "{steps} steps: the literals are not found any more"
        );
        let unused: Vec<_> = STATEMENTS.iter().filter(|it| !used.contains(*it)).collect();
        assert!(unused.is_empty(), "in no message: {unused:?}");
    }

    /// Returns the files of a room, without those of its tests.
    fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            match path.is_dir() {
                _ if name.starts_with("tests") => {}
                true => found.extend(sources(&path)),
                false if name.ends_with(".rs") => found.push(path),
                false => {}
            }
        }
        found
    }

    /// Returns what follows each semicolon in the literals of a file, up to its tests.
    fn clauses(text: &str) -> Vec<String> {
        let code = text
            .split("\n#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = lines.map(|line| format!("{line}\n")).collect();
        let mut found = Vec::new();
        for literal in literals(&code) {
            let ends = literal.match_indices("; ").map(|(at, _)| at);
            let ends = ends.filter(|at| !is_quoted(&literal[..*at]));
            let after = ends.map(|at| literal[at + 2..].to_owned());
            found.extend(after.filter(|clause| !clause.trim().is_empty()));
        }
        found
    }

    /// Returns the string literals of a file, without the breaks of their lines.
    fn literals(code: &str) -> Vec<String> {
        let (mut found, mut literal) = (Vec::new(), None::<String>);
        let mut characters = code.chars().peekable();
        while let Some(character) = characters.next() {
            match (&mut literal, character) {
                (None, '\'') => skip_character(&mut characters),
                (None, '"') => literal = Some(String::new()),
                (None, _) => {}
                (Some(_), '"') => found.extend(literal.take()),
                (Some(text), '\\') => match characters.next() {
                    Some('\n') => while characters.next_if(|it| it.is_whitespace()).is_some() {},
                    Some('n') => text.push('\n'),
                    Some(escaped) => text.push(escaped),
                    None => {}
                },
                (Some(text), other) => text.push(other),
            }
        }
        found
    }

    /// Skips a literal of one character, such as a quotation mark. A lifetime has none.
    fn skip_character(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        let mut ahead = characters.clone();
        let is_escape = ahead.next() == Some('\\');
        if is_escape {
            ahead.next();
        }
        if ahead.next() == Some('\'') {
            characters.nth(1 + usize::from(is_escape));
        }
    }

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

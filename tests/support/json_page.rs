//! Holds every JSON document that a test sees to docs/reference/json.md: its members are on the page, with their types, and those of the
//! page that are always present are in the document.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value;

const PAGE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/reference/json.md"
));

/// The members of each heading of the page, by their paths.
static TABLES: LazyLock<Vec<(&str, Table<'_>)>> = LazyLock::new(|| {
    let sections = PAGE.split("\n### kbk ").skip(1);
    sections
        .map(|section| {
            let (heading, text) = section.split_once('\n').expect("a heading has a table");
            (heading, rows(text))
        })
        .collect()
});

/// The members of every failure, and those of help.
static SHARED: LazyLock<[Table<'_>; 2]> = LazyLock::new(|| {
    ["\n## Failures\n", "\n## Help\n"].map(|heading| {
        let section = PAGE.split(heading).nth(1).expect("it is there");
        rows(section.split("\n## ").next().unwrap_or_default())
    })
});

type Table<'a> = BTreeMap<&'a str, &'a str>;

/// Returns the path and the type of each row.
fn rows(text: &str) -> Table<'_> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        Some((cells.next()?.strip_suffix('`')?, cells.next()?))
    })
    .collect()
}

/// Fails unless a document is as the page says. Other JSON, such as that of the Python reader, is passed over.
#[track_caller]
pub(crate) fn check_document(document: &Value) {
    let Some(command) = document.get("command").and_then(Value::as_str) else {
        return;
    };
    let mut result = document.as_object().expect("an object").clone();
    for name in ["schema_version", "command", "repository", "verdict"] {
        assert!(
            result.remove(name).is_some(),
            "`{name}` is missing: {document:#}"
        );
    }
    for (name, table) in ["error", "help"].into_iter().zip(&*SHARED) {
        let Some(value) = result.remove(name) else {
            continue;
        };
        if let Err(problem) = check(&serde_json::json!({ name: value }), "", table) {
            panic!("{problem}: {document:#}");
        }
        // A stream has records beside its error.
        if result.is_empty() {
            return;
        }
    }
    let is_of = |heading: &str| {
        let rest = heading.strip_prefix(command);
        let names_it = rest.is_some_and(|rest| {
            let arguments = rest.strip_prefix(' ');
            // A word is a subcommand; brackets have one that may be left out.
            rest.is_empty()
                || arguments.is_some_and(|it| !it.starts_with(|c: char| c.is_ascii_lowercase()))
        });
        names_it || heading.replace(['[', ']'], "") == command
    };
    let tables: Vec<_> = TABLES
        .iter()
        .filter(|(heading, _)| is_of(heading))
        .collect();
    assert!(
        !tables.is_empty(),
        "`{command}` is not in docs/reference/json.md"
    );
    let result = Value::Object(result);
    let problems: Vec<_> = tables
        .iter()
        .filter_map(|(heading, table)| {
            let problem = check(&result, "", table).err()?;
            Some(format!("as kbk {heading}: {problem}"))
        })
        .collect();
    assert!(
        problems.len() < tables.len(),
        "a document of {command} is not as docs/reference/json.md says: {problems:#?}\n{document:#}"
    );
}

fn check(value: &Value, path: &str, table: &Table<'_>) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            let below = |name: &str| match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            let any = below("*");
            for (name, value) in members {
                let path = match table.contains_key(any.as_str()) {
                    true => any.clone(),
                    false => below(name),
                };
                let types = table.get(path.as_str());
                let types = types.ok_or_else(|| format!("`{path}` is not on the page"))?;
                check_type(value, &path, types)?;
                check(value, &path, table)?;
            }
            let prefix = below("");
            for (member, types) in table {
                let name = member.strip_prefix(prefix.as_str()).unwrap_or("*");
                let is_here = !name.contains(['.', '[', '*']);
                if is_here && !types.ends_with(" or absent") && !members.contains_key(name) {
                    return Err(format!("`{member}` is missing"));
                }
            }
            Ok(())
        }
        Value::Array(elements) => {
            let path = format!("{path}[]");
            let types = table.get(path.as_str());
            elements.iter().try_for_each(|element| {
                types.map_or(Ok(()), |types| check_type(element, &path, types))?;
                check(element, &path, table)
            })
        }
        _ => Ok(()),
    }
}

/// Checks a value against the types of a row, which ` or ` separates.
fn check_type(value: &Value, path: &str, types: &str) -> Result<(), String> {
    let is = |named: &str| match (named, value) {
        ("null", Value::Null)
        | ("string" | "another string", Value::String(_))
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("object", Value::Object(_))
        | ("array", Value::Array(_)) => true,
        ("time", Value::String(text)) => is_time(text),
        ("integer", Value::Number(number)) => !number.is_f64(),
        (named, Value::String(text)) => {
            named.strip_prefix('`').and_then(|it| it.strip_suffix('`')) == Some(text)
        }
        (named, Value::Array(elements)) => named.strip_prefix("array of ").is_some_and(|named| {
            let named = named.trim_end_matches('s');
            elements
                .iter()
                .all(|element| check_type(element, path, named).is_ok())
        }),
        _ => false,
    };
    match types.split(" or ").any(is) {
        true => Ok(()),
        false => Err(format!("`{path}` is {value}, and the page says {types}")),
    }
}

/// Returns whether a text is RFC 3339 in UTC.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let fraction = shape.strip_prefix("0000-00-00T00:00:00");
    let fraction = fraction.and_then(|rest| rest.strip_suffix('Z'));
    fraction.is_some_and(|rest| rest.is_empty() || rest.trim_end_matches('0') == ".")
}

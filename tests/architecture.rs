//! The house keeps its order: which room of `src/` may import which, and which crate may depend on which.
//!
//! The order is stated once, in [`LAYERS`]. Every import of every file is held to it: a room imports only from layers below its
//! own, so the engine cannot reach up to the command line, and no two rooms can import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms of `src/`, folders and single files, from the ground up. A room may import the rooms of all layers below its own.
const LAYERS: &[&[&str]] = &[
    // These import nothing of the crate: what they need comes from kbk-format and other crates.
    &["kafka", "run", "select", "human", "blocking", "memory"],
    &["records"],
    &["acls", "groups", "backup", "compare"],
    &["restore"],
    &["cli"],
    &["demo"],
    &["commands"],
    &["app"],
];

/// Rooms that may import less than what lies below them.
const ONLY: &[(&str, &[&str])] = &[("records", &["kafka"])];

/// The crates of the workspace, and those of them that each may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("kbk-format", &[]),
    ("kbk-tools", &["kbk-format"]),
    ("kbk-fuse", &["kbk-format"]),
    ("kbk", &["kbk-format", "kbk-fuse", "kbk-tools"]),
];

/// An import of another room.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Import {
    /// The line, from 1.
    line: usize,
    /// As it is written.
    text: String,
    /// The room that is imported.
    room: String,
}

#[test]
fn no_room_imports_from_above_or_beside() {
    let mut broken = Vec::new();
    let mut rooms = BTreeSet::new();
    for file in rust_files(&root().join("src")) {
        let path = file.strip_prefix(root().join("src")).unwrap();
        let modules = modules(path);
        let Some(room) = modules.first() else {
            continue; // lib.rs and main.rs name every room.
        };
        rooms.insert(room.clone());
        let source = fs::read_to_string(&file).unwrap();
        broken.extend(
            imports(&source, &modules)
                .into_iter()
                .filter_map(|import| violation(path, room, &import)),
        );
    }
    let known: BTreeSet<String> = LAYERS
        .concat()
        .iter()
        .map(|room| (*room).to_owned())
        .collect();
    let new: Vec<_> = rooms.difference(&known).collect();
    assert!(
        new.is_empty(),
        "LAYERS in {} does not have {new:?}",
        file!()
    );
    assert!(rooms.len() > 8, "only {rooms:?} were found");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn crates_depend_in_one_direction() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = CRATES.iter().copied().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(
        packages.len(),
        allowed.len(),
        "CRATES in {} lacks one",
        file!()
    );
    for package in packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let dependency = dependency["name"].as_str().unwrap();
            let is_ours = allowed.contains_key(dependency);
            assert!(
                !is_ours || allowed[name].contains(&dependency),
                "{name}/Cargo.toml: {name} must not depend on {dependency}; it may depend on {:?}",
                allowed[name]
            );
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The module path of a file below `src/`: empty for the crate's root.
fn modules(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let mut modules: Vec<String> = path
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    if modules.last().is_some_and(|last| last == "mod")
        || matches!(&modules[..], [file] if file == "lib" || file == "main")
    {
        modules.pop();
    }
    modules
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

/// What is wrong with an import by a file of `room`, in words.
fn violation(path: &Path, room: &str, import: &Import) -> Option<String> {
    let to = import.room.as_str();
    if to == room {
        return None;
    }
    let only = ONLY.iter().find(|(name, _)| *name == room);
    let rule = match (only, layer(room), layer(to)) {
        (_, _, None) => format!("`{to}` is not a room in LAYERS"),
        (Some((_, only)), ..) if !only.contains(&to) => format!("{room} may import only {only:?}"),
        (_, Some(from), Some(to_layer)) if to_layer >= from => {
            format!(
                "{room} (layer {from}) may import only layers below its own, and {to} is in layer {to_layer}"
            )
        }
        _ => return None,
    };
    let Import { line, text, .. } = import;
    Some(format!("src/{}:{line}: `{text}`: {rule}", path.display()))
}

/// The imports in a file of the module `modules` that reach the crate's root: `crate::…`, and chains of `super` that climb so far.
fn imports(source: &str, modules: &[String]) -> Vec<Import> {
    let code = code_only(source);
    let tokens = tokens(&code);
    let mut found = Vec::new();
    // Depths of the braces that inline modules opened.
    let mut inline: Vec<usize> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let (line, token) = tokens[at];
        match token {
            "{" => {
                depth += 1;
                if at >= 2 && tokens[at - 2].1 == "mod" {
                    inline.push(depth);
                }
            }
            "}" => {
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
                depth -= 1;
            }
            "crate" | "super" | "self" if !follows_path(&tokens, at) => {
                let end = climb(&tokens, at);
                let supers = tokens[at..end]
                    .iter()
                    .filter(|(_, token)| *token == "super")
                    .count();
                let reaches_root = token == "crate" || supers >= modules.len() + inline.len();
                if reaches_root && supers + usize::from(token == "crate") > 0 {
                    let start = tokens[at..end]
                        .iter()
                        .map(|(_, token)| *token)
                        .collect::<String>();
                    for room in first_names(&tokens, end) {
                        found.push(Import {
                            line,
                            text: format!("{start}{room}"),
                            room: room.to_owned(),
                        });
                    }
                }
                // What follows in the same path cannot climb any further.
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether the token continues a path, where it cannot climb.
fn follows_path(tokens: &[(usize, &str)], at: usize) -> bool {
    at > 0 && tokens[at - 1].1 == "::"
}

/// The end of `crate::` or of a chain `self::super::super::`; `at` itself where no `::` follows.
fn climb(tokens: &[(usize, &str)], mut at: usize) -> usize {
    let start = at;
    while at + 1 < tokens.len()
        && matches!(tokens[at].1, "crate" | "super" | "self")
        && tokens[at + 1].1 == "::"
    {
        at += 2;
    }
    at.max(start + 1)
}

/// The names that a path goes on with: one, or the first of each branch of a group.
fn first_names<'a>(tokens: &[(usize, &'a str)], at: usize) -> Vec<&'a str> {
    if at == 0 || tokens[at - 1].1 != "::" {
        return Vec::new();
    }
    match tokens.get(at) {
        Some((_, "{")) => {}
        Some((_, name)) => return vec![name],
        None => return Vec::new(),
    }
    let (mut names, mut depth) = (Vec::new(), 0);
    for pair in tokens[at..].windows(2) {
        match pair[0].1 {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(pair[0].1, "{" | ",") && pair[1].1 != "}" {
            names.push(pair[1].1);
        }
    }
    names
}

/// Words, `::` and single signs, each with its line.
fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    for (line, text) in (1..).zip(code.lines()) {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(length);
            tokens.push((line, token));
            rest = after.trim_start();
        }
    }
    tokens
}

/// The source with comments, strings and character literals blanked, its lines kept.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, text: &str| {
        text.chars()
            .enumerate()
            .all(|(i, c)| chars.get(at + i) == Some(&c))
    };
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = if starts(at, "//") {
            (at..chars.len())
                .find(|i| chars[*i] == '\n')
                .unwrap_or(chars.len())
        } else if starts(at, "/*") {
            (at..chars.len())
                .find(|i| starts(*i, "*/"))
                .map_or(chars.len(), |i| i + 2)
        } else if let Some(hashes) = raw_string(&chars, at) {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = at + hashes + 2;
            (body..chars.len())
                .find(|i| starts(*i, &close))
                .map_or(chars.len(), |i| i + close.len())
        } else if chars[at] == '"' {
            quoted(&chars, at, '"')
        } else if chars[at] == '\''
            && (chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\''))
        {
            quoted(&chars, at, '\'')
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        };
        code.push(' ');
        code.extend(chars[at..end].iter().filter(|c| **c == '\n'));
        at = end;
    }
    code
}

/// The number of `#` of a raw string that begins here.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let before = at.checked_sub(1).map(|before| chars[before]);
    let continues_word = before.is_some_and(|c| c.is_alphanumeric() && c != 'b' || c == '_');
    if chars[at] != 'r' || continues_word {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn quoted(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, source: &str) -> Vec<String> {
        let path = Path::new(path);
        let modules = modules(path);
        let imports = imports(source, &modules).into_iter();
        imports
            .filter_map(|import| violation(path, &modules[0], &import))
            .collect()
    }

    #[test]
    fn every_form_of_an_arrow_upwards_is_found() {
        for source in [
            "use crate::cli::CliError;",
            "pub(crate) use crate::cli::CliError;",
            "use crate::{kafka::Admin, cli::{Exit, Outcome}};",
            "use crate::{\n    kafka::Admin,\n    cli,\n};",
            "fn f() -> crate::cli::Exit { loop {} }",
            "use super::super::cli::Exit;",
            "use self::super::super::cli::Exit;",
            "mod tests { use super::super::super::cli::Exit; }",
            "mod a { mod b { fn f() { super::super::super::super::cli::g() } } }",
            "macro_rules! m { () => { $crate::cli::f() } }",
            "const A: &str = \"// no comment\"; use crate::cli::Exit;",
            "const A: char = '\"'; use crate::cli::Exit; const B: char = '\"';",
            "const A: &str = r#\"a \" quote\"#; use crate::cli::Exit;",
        ] {
            let found = broken("backup/run.rs", source);
            assert_eq!(found.len(), 1, "{source}: {found:?}");
            assert!(found[0].contains("cli is in layer 4"), "{found:?}");
        }
    }

    #[test]
    fn imports_from_below_and_from_the_same_room_are_allowed() {
        for source in [
            "use crate::kafka::Admin;",
            "use crate::backup::plan;",
            "use super::plan::Plan;",
            "mod tests { use super::super::plan::Plan; }",
            "use super::*;",
            "//! [`crate::cli`] is above.",
            "/* use crate::cli::Exit; */",
            "const A: &str = \"crate::cli\";",
            "fn f<'a>(a: &'a str) -> &'a str { a }",
        ] {
            assert_eq!(broken("backup/run.rs", source), [""; 0], "{source}");
        }
        assert_eq!(broken("backup/mod.rs", "use self::plan::Plan;"), [""; 0]);
    }

    #[test]
    fn the_message_names_file_line_import_and_rule() {
        let found = broken(
            "kafka/admin/mod.rs",
            "use std::fmt;\nuse crate::run::Cancel;",
        );
        assert_eq!(
            found,
            [
                "src/kafka/admin/mod.rs:2: `crate::run`: kafka (layer 0) may import only layers below its own, and run is in layer 0"
            ]
        );
        let found = broken("records/sink.rs", "use crate::run::Cancel;");
        assert_eq!(
            found,
            ["src/records/sink.rs:1: `crate::run`: records may import only [\"kafka\"]"]
        );
        let found = broken("acls/plan.rs", "use crate::restore::Obstacle;");
        assert!(found[0].contains("restore is in layer 3"), "{found:?}");
        let found = broken("cli/mod.rs", "use crate::attic::Box;");
        assert!(found[0].contains("`attic` is not a room"), "{found:?}");
        // A folder's own module is one level higher than its files.
        assert_eq!(broken("backup/mod.rs", "use super::cli::Exit;").len(), 1);
        assert_eq!(
            broken("groups/plan.rs", "use crate::acls::AclsPlan;").len(),
            1
        );
    }

    #[test]
    fn the_order_names_every_room_once() {
        let rooms = LAYERS.concat();
        let once: BTreeSet<_> = rooms.iter().collect();
        assert_eq!(once.len(), rooms.len());
        assert!(
            ONLY.iter()
                .all(|(room, only)| { only.iter().all(|below| layer(below) < layer(room)) })
        );
    }
}

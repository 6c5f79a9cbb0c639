//! Enforces the order of the code: which room of `src/` may import which, and which crate may depend on which.
//!
//! [`LAYERS`] states the order once, and every import of every file is checked against it: a room imports only from layers below its
//! own, so the engine cannot reach up to the command line, and no two rooms can import each other. Inside a room, folders that import
//! each other are one unit in two places, so no chain of imports may lead from a folder through another one back to itself.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{Import, exports, imports};

/// The rooms of `src/`, folders and single files, from the top down, as CONTRIBUTING.md lists them. A room may import the rooms of
/// all layers below its own.
const LAYERS: &[&[&str]] = &[
    &["app"],
    &["commands"],
    &["demo"],
    &["cli"],
    &["restore", "metrics"],
    &["acls", "groups", "backup", "compare"],
    &["records"],
    // These import nothing of the crate: what they need comes from kbk-format and other crates.
    &[
        "kafka", "run", "select", "human", "blocking", "memory", "testing",
    ],
];

/// Rooms that may import fewer rooms than the layers below them have.
const ONLY: &[(&str, &[&str])] = &[("records", &["kafka"])];

/// The crates of the workspace, and those of them that each may depend on.
const CRATES: &[(&str, &[&str])] = &[
    ("kbk-format", &[]),
    ("kbk-tools", &["kbk-format"]),
    ("kbk-fuse", &["kbk-format"]),
    ("kbk", &["kbk-format", "kbk-fuse", "kbk-tools"]),
];

/// A file of `src/`.
struct Source {
    /// Below `src/`.
    path: PathBuf,
    /// Empty for the crate's root.
    modules: Vec<String>,
    text: String,
}

impl Source {
    fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        let path = path.into();
        let modules = modules(&path);
        let text = text.into();
        Source {
            path,
            modules,
            text,
        }
    }
}

#[test]
fn no_room_imports_from_above_or_beside() {
    let mut broken = Vec::new();
    let mut rooms = BTreeSet::new();
    for source in sources() {
        let Some(room) = source.modules.first() else {
            continue; // lib.rs and main.rs name every room.
        };
        rooms.insert(room.clone());
        broken.extend(violations(&source));
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
fn no_folders_of_a_room_import_each_other() {
    let broken = cycles(&sources());
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

/// Reads every file of `src/`.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        Source::new(file.strip_prefix(&src).unwrap(), text)
    };
    rust_files(&src).into_iter().map(read).collect()
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

/// Returns the number of the room's layer, from 1 at the top.
fn layer(room: &str) -> Option<usize> {
    let above = LAYERS.iter().position(|rooms| rooms.contains(&room))?;
    Some(above + 1)
}

/// The imports of a file that its room may not have, each with the reason.
fn violations(source: &Source) -> Vec<String> {
    let mut found: Vec<String> = imports(&source.text, &source.modules)
        .iter()
        .filter_map(|import| violation(&source.path, &source.modules[0], import))
        .collect();
    // The branches of one group are one import of the room.
    found.dedup();
    found
}

/// Why a file of `room` may not have this import.
fn violation(path: &Path, room: &str, import: &Import) -> Option<String> {
    let to = import.room();
    if to == room {
        return None;
    }
    let only = ONLY.iter().find(|(name, _)| *name == room);
    let rule = match (only, layer(room), layer(to)) {
        (_, _, None) => format!("`{to}` is not a room in LAYERS"),
        (Some((_, only)), ..) if !only.contains(&to) => format!("{room} may import only {only:?}"),
        (_, Some(from), Some(to_layer)) if to_layer <= from => {
            format!(
                "{room} (layer {from}) may import only layers below its own, and {to} is in layer {to_layer}"
            )
        }
        _ => return None,
    };
    let Import { line, text, .. } = import;
    Some(format!("src/{}:{line}: `{text}`: {rule}", path.display()))
}

/// An import of one child of a folder by another.
struct Edge {
    from: String,
    to: String,
    /// The file and the line.
    place: String,
    path: String,
}

/// The imports that close a cycle between sub-folders of one folder, each with the reason.
///
/// A name that the folder's own module re-exports counts as an import of the child that defines it. A glob (`super::*`) names nothing,
/// so it is not followed. The folder's own module may import its children: that is what it is for.
fn cycles(sources: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for folder in folders(sources) {
        let folders_here: BTreeSet<String> = folders(sources)
            .into_iter()
            .filter(|other| other.len() == folder.len() + 1 && other.starts_with(&folder))
            .filter_map(|other| other.last().cloned())
            .collect();
        let edges = edges(sources, &folder);
        for edge in &edges {
            let ring = |node: &String| {
                reaches(&edges, &edge.to, node) && reaches(&edges, node, &edge.from)
            };
            let together: Vec<_> = folders_here.iter().filter(|node| ring(node)).collect();
            if together.len() > 1 && reaches(&edges, &edge.to, &edge.from) {
                broken.push(format!(
                    "{}: `{}`: {} may not import {}, because {together:?} of src/{} import each other",
                    edge.place,
                    edge.path,
                    edge.from,
                    edge.to,
                    folder.join("/")
                ));
            }
        }
    }
    broken
}

/// The modules below the crate's root that have files of their own below them.
fn folders(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let above = |source: &Source| {
        let modules = source.modules.clone();
        (1..modules.len()).map(move |length| modules[..length].to_vec())
    };
    sources.iter().flat_map(above).collect()
}

/// The imports of children of `folder` by other children of it.
fn edges(sources: &[Source], folder: &[String]) -> Vec<Edge> {
    let inside = |source: &&Source| source.modules.starts_with(folder);
    let children: BTreeSet<&String> = sources
        .iter()
        .filter(inside)
        .filter_map(|source| source.modules.get(folder.len()))
        .collect();
    let exported = sources
        .iter()
        .find(|source| source.modules == folder)
        .map(|source| exports(&source.text))
        .unwrap_or_default();
    let mut edges = Vec::new();
    for source in sources.iter().filter(inside) {
        let Some(from) = source.modules.get(folder.len()) else {
            continue;
        };
        for import in imports(&source.text, &source.modules) {
            let Some(name) = import
                .path
                .strip_prefix(folder)
                .and_then(|names| names.first())
            else {
                continue;
            };
            let to = if children.contains(name) {
                name
            } else {
                match exported.get(name).filter(|child| children.contains(child)) {
                    Some(child) => child,
                    None => continue,
                }
            };
            if to != from {
                edges.push(Edge {
                    from: from.clone(),
                    to: to.clone(),
                    place: format!("src/{}:{}", source.path.display(), import.line),
                    path: import.path.join("::"),
                });
            }
        }
    }
    // The branches of one group are one import of the child.
    edges.dedup_by(|a, b| (&a.from, &a.to, &a.place) == (&b.from, &b.to, &b.place));
    edges
}

/// Whether a chain of imports leads from one child to the other; each reaches itself.
fn reaches(edges: &[Edge], from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut next = vec![from];
    while let Some(node) = next.pop() {
        for edge in edges.iter().filter(|edge| edge.from == node) {
            if seen.insert(&edge.to) {
                next.push(&edge.to);
            }
        }
    }
    seen.contains(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, source: &str) -> Vec<String> {
        violations(&Source::new(path, source))
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

    /// The cycles in a room whose folders `plan` and `write` have these files, beside the others.
    fn cycles_with(plan: &str, write: &str, others: &[(&str, &str)]) -> Vec<String> {
        let files = [
            (
                "restore/mod.rs",
                "mod plan; mod write; pub use plan::options::{Options, Limits as Bounds};",
            ),
            ("restore/plan/mod.rs", "mod options;"),
            ("restore/plan/options.rs", plan),
            ("restore/write/mod.rs", "mod writer;"),
            ("restore/write/writer.rs", write),
        ];
        let sources: Vec<Source> = files
            .iter()
            .chain(others)
            .map(|(path, text)| Source::new(path, *text))
            .collect();
        cycles(&sources)
    }

    #[test]
    fn every_form_of_a_cycle_between_folders_is_found() {
        let plan = "use super::super::write::writer::Writer;";
        for write in [
            "use super::super::plan::Plan;",
            "use super::super::{error::Error, plan::{Plan, options}};",
            "use crate::restore::plan::Plan;",
            "use crate::{kafka::Admin, restore::plan::options::Options};",
            "fn f(plan: &crate::restore::plan::Plan) {}",
            "mod tests { use super::super::super::plan::Plan; }",
            // What the room's own module re-exports is defined in plan.
            "use crate::restore::Options;",
            "use super::super::Bounds;",
            "use super::super::{self, Options};",
        ] {
            let found = cycles_with(plan, write, &[]);
            assert_eq!(found.len(), 2, "{write}: {found:?}");
            assert!(
                found[0].starts_with(
                    "src/restore/plan/options.rs:1: `restore::write::writer::Writer`: plan may not import write"
                ),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_cycle_through_a_third_folder_or_a_file_is_found() {
        let plan = "use crate::restore::verify::head;";
        let write = "use crate::restore::plan::Plan;";
        let verify = ("restore/verify/head.rs", "use super::super::write::Writer;");
        assert_eq!(cycles_with(plan, write, &[verify]).len(), 3);
        let plan = "use super::super::context::Context;";
        let context = ("restore/context.rs", "use super::write::Writer;");
        assert_eq!(cycles_with(plan, write, &[context]).len(), 3);
    }

    #[test]
    fn imports_between_folders_in_one_direction_are_allowed() {
        for write in [
            "use super::super::plan::Plan;",
            "use crate::restore::{Options, plan::Plan};",
            "use super::super::context::Context;",
            "//! [`crate::restore::plan`] decides.",
            "use super::writer; use super::super::*;",
        ] {
            let plan = "use super::super::context::Context; use super::plan; use crate::write::A;";
            let context = ("restore/context.rs", "use crate::kafka::Admin;");
            assert_eq!(cycles_with(plan, write, &[context]), [""; 0], "{write}");
        }
    }

    #[test]
    fn a_cycle_in_a_folder_of_a_folder_is_found() {
        let sources = [
            Source::new("a/b/c/d.rs", "use super::super::e::f;"),
            Source::new("a/b/e/f.rs", "use crate::a::b::c::d;"),
        ];
        let found = cycles(&sources);
        assert_eq!(found.len(), 2);
        assert!(
            found[0].ends_with("[\"c\", \"e\"] of src/a/b import each other"),
            "{found:?}"
        );
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
                "src/kafka/admin/mod.rs:2: `crate::run`: kafka (layer 8) may import only layers below its own, and run is in layer 8"
            ]
        );
        let found = broken("records/sink.rs", "use crate::run::Cancel;");
        assert_eq!(
            found,
            ["src/records/sink.rs:1: `crate::run`: records may import only [\"kafka\"]"]
        );
        let found = broken("acls/plan.rs", "use crate::restore::Obstacle;");
        assert!(found[0].contains("restore is in layer 5"), "{found:?}");
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
                .all(|(room, only)| { only.iter().all(|below| layer(below) > layer(room)) })
        );
    }
}

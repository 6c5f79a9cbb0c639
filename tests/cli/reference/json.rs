//! docs/reference/json.md: the members of every document, from the types that are written.

use std::fmt::Write;

use super::types::{Field, Kind, Types};

/// Where the generated part begins.
const BEGIN: &str = "\n## Members\n";

/// The documents: a command, and where its type is. A command whose documents differ has several, told apart by what is given to it.
const DOCUMENTS: &[(&str, &str, &str)] = &[
    ("cat", "src/commands/cat/printer.rs", "Printed"),
    ("demo", "src/demo/report.rs", "DemoReport"),
    ("init", "src/commands/init.rs", "Created"),
    ("backup", "src/backup/run.rs", "BackupReport"),
    (
        "restore",
        "src/commands/restore/mod.rs",
        "WithAcls<Finished, RestoredAcls>",
    ),
    (
        "restore --dry-run",
        "src/commands/restore/mod.rs",
        "WithAcls<RestorePlan, AclsPlan>",
    ),
    (
        "restore --only-config",
        "src/commands/restore/mod.rs",
        "WithAcls<ConfigReport, RestoredAcls>",
    ),
    (
        "restore --only-config --dry-run",
        "src/commands/restore/mod.rs",
        "WithAcls<ConfigPlan, AclsPlan>",
    ),
    (
        "restores [list]",
        "src/commands/restores/list.rs",
        "Restores",
    ),
    (
        "restores discard",
        "src/restore/discard.rs",
        "DiscardReport",
    ),
    (
        "diff A B",
        "src/commands/diff/snapshots.rs",
        "SnapshotsReport",
    ),
    ("diff --live", "src/commands/diff/live.rs", "DiffReport"),
    ("verify", "src/commands/verify.rs", "Verified"),
    ("verify FILE...", "tools/src/verify/files.rs", "FilesReport"),
    (
        "verify --check-evidence",
        "src/commands/verify/evidence.rs",
        "CheckedEvidence",
    ),
    ("status", "src/commands/status.rs", "Status"),
    ("snapshots", "src/commands/snapshots.rs", "Snapshots"),
    ("forget", "src/commands/forget.rs", "Forgetting"),
    ("expire", "src/commands/expire.rs", "Expiring"),
    ("compact", "src/commands/compact.rs", "Compacting"),
    ("index", "src/commands/index.rs", "Indexing"),
    ("copy", "src/commands/copy.rs", "Copying"),
    ("prune", "src/commands/prune.rs", "PruneReport"),
    (
        "recover",
        "src/commands/recover/repository.rs",
        "Recovering",
    ),
    (
        "recover --rebuild",
        "src/commands/recover/rebuild.rs",
        "Rebuilding",
    ),
    (
        "recover FILE...",
        "tools/src/recover/report.rs",
        "FileRecovery",
    ),
    ("stats", "src/commands/stats.rs", "Stats"),
    ("ls", "src/commands/ls.rs", "Listing"),
    ("groups list", "src/commands/groups/list.rs", "Listing"),
    ("groups map", "src/commands/groups/map.rs", "OfGroups"),
    (
        "groups map TOPIC/PARTITION OFFSET...",
        "src/commands/groups/map.rs",
        "OfPartitions",
    ),
    ("groups restore", "src/groups/restore.rs", "RestoredGroups"),
    (
        "groups changes",
        "src/commands/groups/changes.rs",
        "Changes",
    ),
    (
        "groups rollback",
        "src/commands/groups/rollback.rs",
        "RolledBack",
    ),
    ("acls list", "src/commands/acls/list.rs", "Listing"),
    (
        "acls restore",
        "src/commands/acls/restore.rs",
        "WithLeftOut<RestoredAcls>",
    ),
    (
        "acls restore --dry-run",
        "src/commands/acls/restore.rs",
        "WithLeftOut<AclsPlan>",
    ),
    ("grep", "src/commands/grep/report.rs", "Searched"),
    ("grep --count", "src/commands/grep/report.rs", "Searched"),
    ("export", "src/commands/export.rs", "Exporting"),
    ("import", "src/commands/import.rs", "Importing"),
    ("mount", "src/commands/mount.rs", "Ready"),
    ("umount", "src/commands/umount.rs", "Done"),
    ("inspect", "src/commands/inspect.rs", "Shown"),
    ("completions", "src/commands/completions.rs", "Completions"),
    ("man", "src/commands/man.rs", "Printed"),
    ("man DIR", "src/commands/man.rs", "Written"),
];

/// The heading of a table of members.
const COLUMNS: &str = "| member | type | meaning |\n|---|---|---|\n";

/// The members of records, which are rendered by hand (SPEC section 10).
const RECORDS: &str = "\
| `records` | array of objects | The records, in the order in which they are stored, or of `--sort`; with `--reverse` in the opposite one |
| `records[].topic` | string | The topic |
| `records[].partition` | integer | The partition |
| `records[].offset` | integer | The offset |
| `records[].timestamp` | integer | The timestamp in milliseconds since 1970; -1 for none |
| `records[].time` | time or null | The same; null for none, or one outside the years 0000 to 9999 |
| `records[].key` | string or null or absent | The key (if it is UTF-8) |
| `records[].key_base64` | string or absent | The key in base64 (if it is not UTF-8) |
| `records[].value` | string or null or absent | The value (if it is UTF-8) |
| `records[].value_base64` | string or absent | The value in base64 (if it is not UTF-8) |
| `records[].headers` | array of objects | The headers, in their order |
| `records[].headers[].name` | string or absent | The name (if it is UTF-8) |
| `records[].headers[].name_base64` | string or absent | The name in base64 (if it is not UTF-8) |
| `records[].headers[].value` | string or null or absent | The value (if it is UTF-8) |
| `records[].headers[].value_base64` | string or absent | The value in base64 (if it is not UTF-8) |
";

/// The page as it is, with the tables as they should be.
pub fn page(found: &str) -> String {
    let by_hand = found.split(BEGIN).next().unwrap_or(found);
    let types = Types::read();
    let mut page = format!("{by_hand}{BEGIN}");
    let mut without_meaning = Vec::new();
    for (command, file, name) in DOCUMENTS {
        write!(page, "\n### kbk {command}\n\n{COLUMNS}").unwrap();
        if ["cat", "grep"].contains(command) {
            page.push_str(RECORDS);
        }
        for row in rows("", &types.members(file, name)) {
            if row.meaning.is_empty() {
                without_meaning.push(format!("{command}: {}", row.path));
            }
            let meaning = row.meaning.replace('|', "\\|").replace('<', "\\<");
            writeln!(page, "| `{}` | {} | {meaning} |", row.path, row.kind).unwrap();
        }
    }
    assert!(
        without_meaning.is_empty(),
        "these members need a doc comment: {without_meaning:#?}"
    );
    page
}

struct Row {
    path: String,
    kind: String,
    meaning: String,
}

fn rows(prefix: &str, fields: &[Field]) -> Vec<Row> {
    let mut rows = Vec::new();
    for field in fields {
        let path = format!("{prefix}{}", field.name);
        let absent = if field.only.is_some() {
            " or absent"
        } else {
            ""
        };
        let mut meaning = field.doc.trim_end_matches('.').to_owned();
        if let Some(only) = &field.only {
            meaning = format!("{meaning} ({only})");
        }
        add(&mut rows, path, &field.kind, absent, meaning);
    }
    rows
}

fn add(rows: &mut Vec<Row>, path: String, kind: &Kind, absent: &str, meaning: String) {
    let name = name(kind);
    rows.push(Row {
        path: path.clone(),
        kind: format!("{name}{absent}"),
        meaning,
    });
    let kind = match kind {
        Kind::Nullable(kind) => kind,
        kind => kind,
    };
    match kind {
        Kind::Object(fields) => rows.extend(self::rows(&format!("{path}."), fields)),
        Kind::Array(element) => match &**element {
            Kind::Object(fields) => rows.extend(self::rows(&format!("{path}[]."), fields)),
            Kind::Plain(_) => {}
            element => add(
                rows,
                format!("{path}[]"),
                element,
                "",
                "An element".to_owned(),
            ),
        },
        Kind::Map(value) => add(rows, format!("{path}.*"), value, "", "A value".to_owned()),
        _ => {}
    }
}

fn name(kind: &Kind) -> String {
    match kind {
        Kind::Plain(name) => (*name).to_owned(),
        Kind::Words(words, others) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            let others = if *others { " or another string" } else { "" };
            format!("{}{others}", words.join(" or "))
        }
        Kind::Nullable(kind) => format!("{} or null", name(kind)),
        Kind::Array(kind) => match &**kind {
            Kind::Plain(name) => format!("array of {name}s"),
            Kind::Object(_) => "array of objects".to_owned(),
            _ => "array".to_owned(),
        },
        Kind::Map(_) | Kind::Object(_) => "object".to_owned(),
    }
}

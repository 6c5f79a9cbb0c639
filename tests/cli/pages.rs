//! Every block of commands or of a file in README.md and docs/ is run by a test, or is listed here with the reason why it cannot be.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::blocks::{Block, blocks};

/// The file of the test that runs a block, or the reason why none does: by its page, and what its first line begins with.
const BLOCKS: &[(&str, &str, Held)] = &[
    (
        "README.md",
        "cargo install --path .",
        Held::No("builds the program"),
    ),
    (
        "README.md",
        "make demo",
        Held::No("builds the program; `kbk demo` itself is run by tests/demo.rs"),
    ),
    ("README.md", "$ kbk demo", Held::By("tests/demo.rs")),
    (
        "README.md",
        "$ export KBK_REPO=",
        Held::By("tests/kafka/how_to.rs"),
    ),
    (
        "docs/how-to.md",
        "export KBK_REPO=",
        Held::No("the setting of all commands, which the test replaces"),
    ),
    (
        "docs/how-to.md",
        "$ kbk ",
        Held::By("tests/kafka/how_to.rs"),
    ),
    (
        "docs/how-to.md",
        "kafka-topics.sh --bootstrap-server",
        Held::No("stops a broker; tests/kafka/kafka_log.rs does the same"),
    ),
    (
        "docs/how-to.md",
        "kbk mount --for-broker",
        Held::By("tests/kafka/mounted_log.rs"),
    ),
    (
        "docs/how-to.md",
        "systemctl stop kafka",
        Held::No("needs a broker's disk; tests/kafka/kafka_log.rs imports one"),
    ),
    (
        "docs/how-to.md",
        "7 * * * *",
        Held::No("needs cron; its command is the one above it"),
    ),
    (
        "docs/how-to.md",
        "30 2 * * *",
        Held::No("needs cron; its commands are the ones above it"),
    ),
    (
        "docs/how-to.md",
        "# /etc/systemd/",
        Held::No("needs systemd; tests/cli/deploy.rs checks the units of deploy/"),
    ),
    (
        "docs/how-to.md",
        "apiVersion: batch/v1",
        Held::No("needs Kubernetes"),
    ),
    (
        "docs/mount.md",
        "kbk mount REPO DIR",
        Held::No("a synopsis; every test of tests/mount mounts"),
    ),
    (
        "docs/mount.md",
        "README.txt",
        Held::No("a list of files; tests/mount/files.rs opens them"),
    ),
    (
        "docs/mount.md",
        "cd DIR/latest/topics/orders/3",
        Held::By("tests/mount/recipes.rs"),
    ),
    (
        "docs/mount.md",
        "/backup/kafka  /mnt/kafka",
        Held::No("a line of /etc/fstab; tests/mount/mount_points.rs calls mount.kbk"),
    ),
    ("docs/mount.md", "[Service]", Held::No("needs systemd")),
    (
        "docs/permissions.md",
        "kafka-acls.sh",
        Held::No("a pattern; tests/kafka/permissions.rs grants what the page lists"),
    ),
    (
        "docs/reference/client-properties.md",
        "sasl.jaas.config=",
        Held::No("a file; src/kafka/settings/tests.rs reads such ones"),
    ),
    (
        "docs/reference/client-properties.md",
        "security.protocol=SASL_SSL",
        Held::No("a file; tests/kafka/oidc.rs logs in with these properties"),
    ),
    (
        "docs/reference/config.md",
        "repo = ",
        Held::By("tests/cli/config.rs"),
    ),
    (
        "docs/reference/json.md",
        "$ kbk status",
        Held::By("tests/kafka/how_to.rs"),
    ),
    (
        "docs/stores.md",
        "export AWS_ACCESS_KEY_ID=",
        Held::No(
            "needs an account; tests/kafka/stores.rs runs the same commands on servers of its own",
        ),
    ),
    (
        "docs/stores.md",
        "$ kbk snapshots -r s3://",
        Held::By("tests/kafka/stores.rs"),
    ),
    (
        "docs/stores.md",
        "repo = \"s3://",
        Held::By("tests/cli/config.rs"),
    ),
    (
        "docs/stores.md",
        "{",
        Held::No("a policy of Amazon's, whose service is not tried"),
    ),
    (
        "docs/how-to.md",
        "duckdb -c ",
        Held::By("tests/kafka/parquet.rs"),
    ),
    (
        "docs/reference/formats.md",
        "import pyarrow",
        Held::By("tests/kafka/parquet.rs"),
    ),
    (
        "docs/verification.md",
        "sed -n 2p evidence.json",
        Held::By("tests/cli/evidence.rs"),
    ),
    (
        "docs/tuning.md",
        "sum by (stage)",
        Held::By("tests/cli/deploy.rs"),
    ),
    (
        "docs/reference/messages.md",
        "warning: no broker of",
        Held::No("lines of an outage; tests/kafka/messages.rs makes one and expects them"),
    ),
];

#[derive(Clone, Copy)]
enum Held {
    By(&'static str),
    No(&'static str),
}

/// Returns README.md and all pages of docs/, except for decisions, which show nothing to run.
fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec!["README.md".to_owned()];
    for folder in ["docs", "docs/reference", "docs/decisions"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            pages.extend(name.ends_with(".md").then(|| format!("{folder}/{name}")));
        }
    }
    pages.sort();
    pages
}

fn is_of(block: &Block, (page, start, _): &(&str, &str, Held)) -> bool {
    block.page == *page && block.lines[0].starts_with(start)
}

#[test]
fn every_block_is_run_or_has_a_reason() {
    let mut unused: BTreeSet<_> = BLOCKS.iter().map(|entry| (entry.0, entry.1)).collect();
    for block in pages().iter().flat_map(|page| blocks(page)) {
        let entry = BLOCKS.iter().find(|entry| is_of(&block, entry));
        let (page, start, held) = entry.unwrap_or_else(|| panic!("who runs this? {block:#?}"));
        unused.remove(&(*page, *start));
        match held {
            Held::By(test) => {
                let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(test);
                let text = fs::read_to_string(path).unwrap();
                assert!(text.contains(page), "{test} does not read {page}");
            }
            Held::No(reason) => assert!(!reason.is_empty()),
        }
    }
    assert!(unused.is_empty(), "no page has these: {unused:?}");
}

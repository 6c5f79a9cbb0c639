//! Every recipe of docs/mount.md works as it is written, on the names that the repository of the test has.

use std::process::Command;

use crate::blocks::blocks;
use crate::mounted::{Mount, kbk};
use crate::world::World;

/// What the page says, and what it is called here. The page's tools are the ones that are run, except for two.
const NAMES: [(&str, &str); 12] = [
    ("orders/3", "orders/0"),
    ("8123456", "7"),
    ("2026-11-22T14", "1970-01-01T00"),
    ("T00:05", "T00:00"),
    ("customer-4711", "offset 7"),
    ("order-42", "key-7"),
    ("/tmp/", "../"),
    ("snapshots/41", "snapshots/1"),
    ("topics/audit/0", "topics/orders/0"),
    // No snapshot of the repository is partial.
    ("snapshots/*/INCOMPLETE.txt", "snapshots/*/snapshot.json"),
    // Not a message of Protocol Buffers.
    ("protoc --decode_raw", "cat"),
    // It would not end.
    ("tail -f", "tail"),
];

#[test]
fn every_recipe_works() {
    let world = World::sample();
    // Without key filters there is no by-key.
    let repository = world.path("");
    let mut compact = kbk(&["compact", "--key-filter", "--repo"]);
    let compacted = compact.arg(&repository).output().unwrap();
    assert!(compacted.status.success(), "{compacted:?}");
    let mount = Mount::of(&world);
    let blocks = blocks("docs/mount.md");
    let recipes = blocks.iter().find(|block| block.heading == "Recipes");
    let (first, recipes) = recipes.unwrap().lines.split_first().unwrap();
    assert_eq!(first, "cd DIR/latest/topics/orders/3");
    for (name, _) in NAMES {
        let is_used = |line: &String| line.contains(name) || name == "T00:05";
        assert!(recipes.iter().chain([first]).any(is_used), "{name}");
    }
    let scratch = tempfile::tempdir().unwrap();
    for recipe in recipes {
        let mut line = format!("{first}; {recipe}");
        for (name, here) in NAMES {
            line = line.replace(name, here);
        }
        let line = line.replace("DIR", mount.path().to_str().unwrap());
        let line = line.replace("../", &format!("{}/", scratch.path().display()));
        let mut bash = Command::new("bash");
        let output = bash.args(["-ec", &format!("set -o pipefail; {line}")]);
        let output = output.output().unwrap();
        // diff(1) finds the topics of both snapshots the same.
        assert!(output.status.success(), "{line}: {output:?}");
        let prints = !recipe.starts_with("cp ") && !recipe.starts_with("diff ");
        assert_eq!(!output.stdout.is_empty(), prints, "{line}");
    }
    assert!(scratch.path().join("orders-3.jsonl").exists());
}

//! Without features the crate is bytes to types and back: no runtime, no object store, no Kafka client.

#![expect(
    clippy::unwrap_used,
    reason = "a test should stop at the first unexpected value"
)]

use std::process::Command;

#[test]
fn the_format_alone_depends_on_no_io_library() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--package",
            "kbk-format",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args([
            "--format",
            "{p}",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    let text = String::from_utf8(tree.stdout).unwrap();
    assert!(
        tree.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let packages: Vec<_> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(packages.contains(&"kbk-format"), "{text}");
    for unwanted in [
        "tokio",
        "object_store",
        "rdkafka",
        "rdkafka-sys",
        "futures-util",
    ] {
        assert!(
            !packages.contains(&unwanted),
            "{unwanted} is a dependency of the format"
        );
    }
}

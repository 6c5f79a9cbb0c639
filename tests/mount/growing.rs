//! A repository that grows under its mount.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::mounted::{Mount, sh, until};
use crate::world::{Row, World};

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|offset| (offset, 1_000 + offset)).collect()
}

#[test]
fn new_snapshots_appear_and_the_old_ones_stay_as_they_were() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let values = mount.latest("topics/payments/0/values");
    let before = fs::read_link(mount.path().join("latest")).unwrap();
    let old = mount.path().join(&before).join("topics/payments/0/values");
    assert_eq!(fs::read_to_string(&values).unwrap().lines().count(), 250);

    world.backup(&[("payments", 0, vec![rows(250, 300)])]);
    until("the new snapshot", || {
        (fs::read_link(mount.path().join("latest")).unwrap() != before).then_some(())
    });
    assert_eq!(fs::read_to_string(&values).unwrap().lines().count(), 300);
    assert_eq!(fs::read_to_string(&old).unwrap().lines().count(), 250);
    assert_eq!(
        sh(&format!("ls {}/snapshots | wc -l", mount.path().display())).trim(),
        "3"
    );
}

/// By its name, as one follows a log that is replaced.
#[test]
fn tail_follows_the_newest_snapshot() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let mut tail = Command::new("tail")
        .args(["-n", "1", "-F", "-s", "0.2"])
        .arg(mount.latest("topics/payments/0/values"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(lines.next().unwrap().ends_with("of offset 249"));
    world.backup(&[("payments", 0, vec![rows(250, 300)])]);
    assert!(lines.any(|line| line.ends_with("of offset 299")));
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn one_snapshot_and_some_topics_can_be_chosen() {
    let world = World::sample();
    let mount = Mount::with(&world, &["--snapshot", "1", "--topic", "pay*"]);
    let listed = sh(&format!(
        "ls {0}/snapshots; ls {0}/snapshots/*/topics",
        mount.path().display()
    ));
    assert_eq!(listed, "1\npayments\n");
}

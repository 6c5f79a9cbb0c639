//! A repository that grows under its mount.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::mounted::{Mount, sh, until};
use crate::world::{Row, World};

fn rows(from: i64, to: i64) -> Vec<Row> {
    (from..to).map(|offset| (offset, 1_000 + offset)).collect()
}

#[test]
fn new_snapshots_appear_and_old_ones_stay_unchanged() {
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
        "4",
        "three snapshots, and by-date"
    );
}

/// `-F` follows a name, like a log that is rotated; `-f` follows the file itself, which grows.
#[test]
fn tail_follows_new_records() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let file = |tree: &str| mount.path().join(tree).join("topics/payments/0/values");
    let mut tails = ["-F", "-f"].map(|how| {
        let mut tail = Command::new("tail")
            .args(["-n", "1", how, "-s", "0.2"])
            .arg(file(if how == "-F" { "latest" } else { "follow" }))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        (how, tail, lines.map(Result::unwrap))
    });
    for (_, _, lines) in &mut tails {
        assert!(lines.next().unwrap().ends_with("of offset 249"));
    }
    for (from, to) in [(250, 300), (300, 310)] {
        world.backup(&[("payments", 0, vec![rows(from, to)])]);
        for (how, _, lines) in &mut tails {
            // `-F` prints the replaced file from its start, `-f` only what was added: the last line is the same.
            let ends = |line: &String| line.ends_with(&format!("of offset {}", to - 1));
            if *how == "-F" {
                assert!(lines.any(|line| ends(&line)));
                continue;
            }
            for offset in from..to {
                let line = lines.next().unwrap();
                assert!(line.ends_with(&format!("of offset {offset}")), "{line}");
            }
        }
    }
    for (how, mut tail, _) in tails {
        tail.kill().unwrap();
        let said = tail.wait_with_output().unwrap().stderr;
        assert!(
            how == "-F" || said.is_empty(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    // A newly opened file, and a copy, have all records.
    for tool in ["cat", "tail -n +1", "dd status=none bs=1000 if="] {
        let tool = if tool.ends_with('=') {
            tool.to_owned()
        } else {
            format!("{tool} ")
        };
        let sum = |tree: &str| sh(&format!("{tool}{} | sha256sum", file(tree).display()));
        assert_eq!(sum("follow"), sum("latest"));
    }
}

#[test]
fn a_mount_can_be_limited_to_a_snapshot_and_topics() {
    let world = World::sample();
    let mount = Mount::with(&world, &["--snapshot", "1", "--topic", "pay*"]);
    let listed = sh(&format!(
        "ls {0}/snapshots; ls {0}/snapshots/*/topics",
        mount.path().display()
    ));
    assert_eq!(listed, "1\nby-date\npayments\n");
}

/// Shippers take a file that is shorter than what they have read of it for a truncated one, and send all of it again.
#[test]
fn a_followed_file_is_never_shorter_than_what_was_read_of_it() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let path = mount.path().join("follow/topics/payments/0/values");
    let mut file = File::open(&path).unwrap();
    let (mut read, mut growths) = (0, 0);
    for from in (250..300).step_by(10) {
        world.backup(&[("payments", 0, vec![rows(from, from + 10)])]);
        let before = growths;
        until("what the backup added", || {
            let more = file.read(&mut [0; 4096]).unwrap() as u64;
            read += more;
            let sizes = [file.metadata(), fs::metadata(&path)].map(|found| found.unwrap().len());
            assert!(
                sizes.iter().all(|size| *size >= read),
                "{sizes:?}, {read} were read"
            );
            growths += usize::from(more > 0);
            (growths > before && more == 0).then_some(())
        });
    }
}

/// Python asks whether each file is a terminal; others poll, or map what they read.
#[test]
fn every_kind_of_file_can_be_polled_and_mapped_and_is_no_terminal() {
    let world = World::sample();
    let mount = Mount::of(&world);
    let script = r#"
import fcntl, mmap, os, select, sys, termios
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        whole = file.read()
        for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
            with mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ) as mapped:
                assert mapped[:] == whole and whole, path
        poll = select.poll()
        poll.register(file, select.POLLIN)
        assert poll.poll(0) == [(file.fileno(), select.POLLIN)], path
        assert select.select([file], [], [], 0)[0] == [file], path
        try:
            termios.tcgetattr(file.fileno())
            raise SystemExit(path)
        except termios.error as error:
            assert error.args[0] == 25, error
"#;
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/python");
    let files = [
        "README.txt",
        "latest/snapshot.json",
        "latest/topics/orders/0/meta.json",
        "latest/topics/orders/0/records.jsonl",
        "follow/topics/orders/0/records.jsonl",
    ];
    let mut command = Command::new(python);
    command.args(["-c", script]);
    command.args(files.map(|file| mount.path().join(file)));
    let output = command
        .output()
        .expect("`scripts/setup python` creates this interpreter");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(mount.stderr(), "");
}

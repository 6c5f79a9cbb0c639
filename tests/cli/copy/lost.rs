//! What a copy says of what is damaged or lost, in the original or in the copy, and what it sends again.

use std::fs;

use serde_json::{Value, json};

use super::{Copies, ok};

#[test]
fn damage_ends_its_partition_and_the_first_line_says_so() {
    let copies = Copies::new();
    let entries = copies.world.entries("orders", 1);
    let damaged = copies.world.path(&entries[1].key);
    let intact = fs::read(&damaged).unwrap();
    let mut bytes = intact.clone();
    bytes[20] ^= 1;
    fs::write(&damaged, bytes).unwrap();

    let ended = copies.copy(&[]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.starts_with("partial: "), "{first}");
    assert!(
        ended.stdout.contains(
            "orders/1: offsets 200 to 400 (exclusive) cannot be copied, nor 1 segment after it"
        ),
        "{}",
        ended.stdout
    );
    // Nothing has replaced it.
    let accepting = copies.copy(&["--accept-replaced"]);
    assert_eq!(accepting.code, Some(3), "{}", accepting.stdout);
    let verified = copies.of_copy(&["verify"]);
    assert_eq!(verified.code, Some(3), "{}", verified.stdout);
    assert!(
        verified.stdout.starts_with("snapshot 2 is partial: "),
        "{}",
        verified.stdout
    );
    // A backup would end the copy, and so must not be what to do.
    for said in [&verified, &copies.of_copy(&["status"])] {
        let again = "run `kbk copy --from ORIGINAL` to this repository again";
        assert!(said.stdout.contains(again), "{}", said.stdout);
        assert!(!said.stdout.contains("kbk backup"), "{}", said.stdout);
    }
    let listed = copies.of_copy(&["ls", "orders", "--json"]);
    assert_eq!(
        ok(&listed).json()["partitions"][1]["incomplete"]["reason"],
        "not_copied"
    );
    let printed = copies.of_copy(&["cat", "orders"]);
    assert_eq!(printed.code, Some(3));

    fs::write(&damaged, intact).unwrap();
    let document = copies.copied(&[]);
    assert_eq!(
        (&document["segments"], &document["findings"]),
        (&json!(1), &json!([]))
    );
    assert_eq!(document["adopted_segments"], json!(1), "{document}");
    let [original, copy] = copies.both(&["cat", "orders"]);
    assert_eq!(original, copy);
}

#[test]
fn a_copy_that_lacks_records_of_a_deleted_topic_is_partial_until_they_are_copied() {
    let copies = Copies::new();
    let mut index = copies.world.forged_index();
    let orders = |row: &&mut Value| row["row"] == "topic" && row["topic"] == "orders";
    index.rows.iter_mut().find(orders).unwrap()["deleted"] = json!(true);
    index.write();
    let damaged = copies.world.path(&copies.world.entries("orders", 1)[1].key);
    let intact = fs::read(&damaged).unwrap();
    fs::write(&damaged, b"damaged").unwrap();

    let latest = ["--snapshot", "latest"];
    let ended = copies.copy(&latest);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let again = copies.copy(&["--json"]).json();
    assert_eq!(again["findings"].as_array().unwrap().len(), 1, "{again}");
    for (args, code) in [(&["status"][..], 3), (&["ls"], 0), (&["snapshots"], 0)] {
        let ended = copies.of_copy(args);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        let partial = "snapshot 2 is partial: 1 of 2 partitions lacks records that the cluster had (1 not copied)";
        assert!(ended.stdout.contains(partial), "{args:?}: {}", ended.stdout);
    }
    let row = ok(&copies.of_copy(&["snapshots", "--json"])).json()["snapshots"][0].clone();
    assert_eq!(row["complete"], json!(false));
    let status = copies.of_copy(&["status", "--json"]).json();
    assert_eq!(status["newest_whole"], json!(null), "{status}");
    let verified = copies.of_copy(&["verify", "--accept-lost", "--json"]);
    assert_eq!(verified.code, Some(3), "{}", verified.stdout);
    let report = verified.json();
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["kind"], &finding["severity"]),
        (&json!("incomplete"), &json!("error"))
    );
    assert_eq!(
        (
            &report["partial_snapshots"],
            &report["incomplete_partitions"]
        ),
        (&json!([2]), &json!(1))
    );
    assert_eq!(report["lost_offsets"], 0);

    // An upkeep of the copy states the same totals; they would not add up otherwise.
    ok(&copies.of_copy(&["prune", "--grace", "0s"]));
    fs::write(&damaged, intact).unwrap();
    assert_eq!(copies.copied(&[])["findings"], json!([]));
    ok(&copies.of_copy(&["status"]));
    ok(&copies.of_copy(&["verify", "--full"]));
}

#[test]
fn what_a_copy_has_lost_is_in_its_original() {
    let copies = Copies::new();
    copies.copied(&[]);
    let lost = copies.world.entries("orders", 0)[0].key.clone();
    fs::remove_file(std::path::Path::new(&copies.copy).join(&lost)).unwrap();
    for args in [&["verify"][..], &["status"]] {
        let ended = copies.of_copy(args);
        assert_eq!(ended.code, Some(3), "{}", ended.stdout);
        let hint = "has it under the same key, unless it has expired there";
        assert!(ended.stdout.contains(hint), "{}", ended.stdout);
        assert!(!ended.stdout.contains("--refresh"), "{}", ended.stdout);
    }
    fs::copy(
        copies.world.path(&lost),
        std::path::Path::new(&copies.copy).join(&lost),
    )
    .unwrap();
    ok(&copies.of_copy(&["verify", "--full"]));
}

#[test]
fn what_an_interrupted_copy_left_is_for_the_next_copy() {
    let copies = Copies::new();
    copies.copied(&["--topic", "payments"]);
    let left = copies.world.entries("orders", 0)[0].key.clone();
    let place = std::path::Path::new(&copies.copy).join(&left);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::copy(copies.world.path(&left), place).unwrap();
    let verified = copies.of_copy(&["verify"]);
    for said in [
        "left by an interrupted `kbk copy` or compaction, or a forgotten snapshot",
        "the next one uses segments that are intact",
    ] {
        assert!(ok(&verified).stdout.contains(said), "{}", verified.stdout);
    }
    assert!(!verified.stdout.contains("backup"), "{}", verified.stdout);
    let stats = copies.of_copy(&["stats"]);
    let young = "may belong to a backup or copy that runs now, or one that was interrupted left them for the next one";
    assert!(ok(&stats).stdout.contains(young), "{}", stats.stdout);
    assert_eq!(copies.copied(&[])["adopted_segments"], 1);
}

#[test]
fn a_snapshot_whose_index_is_damaged_is_left_out_and_named() {
    let copies = Copies::new();
    let snapshot = fs::read(copies.world.path("snapshots/00000000000000000002.json")).unwrap();
    let snapshot: Value = serde_json::from_slice(&snapshot).unwrap();
    let table = snapshot["runs"][0]["tables"][0]["sha256"].as_str().unwrap();
    let damaged = copies.world.path(&format!("index/{table}.idx"));
    let intact = fs::read(&damaged).unwrap();
    let mut bytes = intact.clone();
    bytes[20] ^= 1;
    fs::write(&damaged, bytes).unwrap();

    let ended = copies.copy(&[]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let mut lines = ended.stdout.lines();
    assert!(
        lines.next().unwrap().starts_with("partial: "),
        "{}",
        ended.stdout
    );
    let finding = lines.next().unwrap();
    assert!(
        finding.starts_with(&format!(
            "in the original {}",
            copies.from().trim_end_matches('/')
        )) && finding.contains(": snapshot 2: ")
            && finding.contains(table),
        "{finding}"
    );
    let hint = lines.next().unwrap();
    assert!(hint.contains("run the same command again"), "{hint}");
    let document = copies.copy(&["--json"]).json();
    let finding = &document["findings"][0];
    let repository = finding["repository"].as_str().unwrap();
    assert!(
        copies.from().starts_with(repository.trim_end_matches('/')),
        "{finding}"
    );
    assert!(finding["hint"].is_string(), "{finding}");
    let listed = ok(&copies.of_copy(&["snapshots", "--json"])).json();
    let sequences = listed["snapshots"].as_array().unwrap().iter();
    assert_eq!(
        sequences.map(|row| &row["sequence"]).collect::<Vec<_>>(),
        [1]
    );
    ok(&copies.of_copy(&["verify", "--full"]));

    fs::write(&damaged, intact).unwrap();
    let document = copies.copied(&[]);
    assert_eq!(document["findings"], json!([]));
    let [original, copy] = copies.both(&["cat", "payments"]);
    assert_eq!(original, copy);
}

#[test]
fn what_the_copy_has_lost_is_sent_again_or_named() {
    let copies = Copies::new();
    copies.copied(&[]);
    let copy = std::path::PathBuf::from(&copies.copy);
    let entries = copies.world.entries("payments", 0);
    let bytes: u64 = entries.iter().map(|entry| entry.size).sum();
    let remove = || {
        for entry in &entries {
            fs::remove_file(copy.join(&entry.key)).unwrap();
        }
    };
    remove();
    let dry = copies.copied(&["--dry-run"]);
    assert_eq!(dry["repaired_segments"], json!(entries.len()), "{dry}");
    let ended = copies.copy(&["--dry-run"]);
    assert!(
        ok(&ended).stdout.starts_with("no snapshot was copied ")
            && ended.stdout.contains("they would be sent again"),
        "{}",
        ended.stdout
    );
    assert!(!copy.join(&entries[0].key).exists());
    let document = copies.copied(&[]);
    assert_eq!(
        (&document["repaired_segments"], &document["repaired_bytes"]),
        (&json!(entries.len()), &json!(bytes))
    );
    ok(&copies.of_copy(&["verify", "--full"]));
    assert_eq!(copies.copied(&[])["repaired_segments"], json!(0));

    // Of another size.
    let cut = copy.join(&entries[0].key);
    fs::write(&cut, &fs::read(&cut).unwrap()[1..]).unwrap();
    let ended = copies.copy(&[]);
    assert!(
        ok(&ended).stdout.contains(" had lost 1 segment, ")
            && ended.stdout.contains("they were sent again from "),
        "{}",
        ended.stdout
    );
    ok(&copies.of_copy(&["verify", "--full"]));

    // Of the same size: only sizes are compared, and that is said.
    let mut flipped = fs::read(&cut).unwrap();
    flipped[20] ^= 1;
    fs::write(&cut, flipped).unwrap();
    let ended = copies.copy(&[]);
    assert!(
        ok(&ended)
            .stdout
            .contains("the sizes of 8 segments in the copy; `kbk verify --full` reads their bytes"),
        "{}",
        ended.stdout
    );

    // The original has lost them, too.
    remove();
    for entry in &entries {
        fs::remove_file(copies.world.path(&entry.key)).unwrap();
    }
    let ended = copies.copy(&[]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.starts_with("partial: ")
            && ended.stdout.contains(&entries[0].key)
            && ended
                .stdout
                .contains(&format!("in the copy {}", copies.copy))
            && ended.stdout.contains(" in 1 of 3 partitions; "),
        "{}",
        ended.stdout
    );
    let document = copies.copy(&["--json"]).json();
    assert_eq!(document["findings"][0]["kind"], "damaged_copy");
    assert_eq!(
        copies.copied(&["--topic", "orders"])["findings"],
        json!([]),
        "of a topic that is not selected"
    );
}

/// The original lost its newest snapshot: the copy of the one before is no copy of everything.
#[test]
fn the_newest_snapshot_of_the_original_is_missing_and_the_first_line_says_so() {
    let copies = Copies::new();
    fs::remove_file(copies.world.path("snapshots/00000000000000000002.json")).unwrap();
    let named = "snapshots/latest.json names it as the newest snapshot";
    for args in [&["--dry-run"][..], &[], &[]] {
        let ended = copies.copy(args);
        assert_eq!(
            ended.code,
            Some(3),
            "{args:?}: {}{}",
            ended.stdout,
            ended.stderr
        );
        let first = ended.stdout.lines().next().unwrap();
        assert!(first.starts_with("partial: "), "{args:?}: {first}");
        assert!(ended.stdout.contains(named), "{args:?}: {}", ended.stdout);
    }
    let latest = copies.copy(&["--snapshot", "latest"]);
    assert_eq!(latest.code, Some(1), "{}", latest.stdout);
    assert!(latest.stderr.contains(named), "{}", latest.stderr);
    assert_eq!(copies.copy(&["--snapshot", "1"]).code, Some(0));
}

//! What each command says of a snapshot that lacks records.

use serde_json::json;

use crate::program::Ended;
use crate::world::World;

const WHY: &str = "the backup was stopped at offset 250 of 400";

/// A world whose latest snapshot states that payments/0, which is stored up to offset 250, had 400.
fn interrupted() -> World {
    let world = World::sample();
    world.forge_partition("payments", 0, |partition| {
        partition["high_watermark"] = json!(400);
        partition["incomplete"] = json!({ "reason": "interrupted", "detail": WHY });
    });
    world
}

#[track_caller]
fn first_line_says_so(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.contains("snapshot 2 is partial"), "{first}");
}

#[test]
fn lists_say_that_the_snapshot_is_partial_and_why() {
    let world = interrupted();
    for args in [
        &["ls"][..],
        &["ls", "payments"],
        // The line is about the whole snapshot, whatever part of it is listed.
        &["ls", "orders", "--segments"],
        &["snapshots"],
        &["groups", "list"],
    ] {
        let ended = world.kbk(args);
        first_line_says_so(&ended, 0);
        assert!(ended.stdout.contains(WHY), "{args:?}: {}", ended.stdout);
    }
    let missing = json!([{
        "topic": "payments", "topic_id": "08080808080808080808080808080808", "partition": 0,
        "reason": "interrupted", "detail": WHY, "end_offset": 250, "missing_offsets": 150,
    }]);
    for args in [&["ls"][..], &["groups", "list"]] {
        let json = world.kbk(&[args, &["--json"]].concat()).json();
        assert_eq!(
            (&json["complete"], &json["incomplete"]),
            (&json!(false), &missing)
        );
    }
    let rows = world.kbk(&["ls", "--json"]).json()["topics"].clone();
    let counts = [0, 1].map(|row| rows[row]["incomplete_partitions"].clone());
    assert_eq!(counts, [0, 1]);
    let row = world.kbk(&["ls", "payments", "--json"]).json()["partitions"][0].clone();
    assert_eq!(row["incomplete"]["reason"], "interrupted");
    assert_eq!(row["missing_offsets"], 150);

    let rows = world.kbk(&["snapshots", "--json"]).json()["snapshots"].clone();
    assert_eq!(
        (&rows[0]["complete"], &rows[1]["complete"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(rows[1]["missing_offsets"], 150);
}

#[test]
fn whole_snapshots_are_called_whole() {
    let world = World::sample();
    let json = world.kbk(&["ls", "--json"]).json();
    assert_eq!(
        (&json["complete"], &json["incomplete"]),
        (&json!(true), &json!([]))
    );
    assert!(world.kbk(&["snapshots"]).stdout.contains("complete"));
    // The first snapshot of the interrupted world is whole as well.
    let json = interrupted()
        .kbk(&["ls", "--snapshot", "1", "--json"])
        .json();
    assert_eq!(json["complete"], true);
}

#[test]
fn verify_counts_what_is_missing_and_exits_with_3() {
    let world = interrupted();
    for args in [
        &["verify"][..],
        &["verify", "--full"],
        &["verify", "--accept-lost"],
    ] {
        first_line_says_so(&world.kbk(args), 3);
    }
    for snapshots in ["latest", "all"] {
        let ended = world.kbk(&["verify", "--json", "--snapshot", snapshots]);
        assert_eq!(ended.code, Some(3));
        let json = ended.json();
        assert_eq!(json["partial_snapshots"], json!([2]));
        assert_eq!(json["incomplete_partitions"], 1);
        assert_eq!(json["missing_offsets"], 150);
        let finding = &json["findings"][0];
        assert_eq!(
            (&finding["kind"], &finding["severity"]),
            (&json!("incomplete"), &json!("error"))
        );
        assert_eq!(
            finding["offsets"],
            json!({ "base_offset": 250, "end_offset": 400 })
        );
    }
    for args in [["--snapshot", "1"], ["--topic", "orders"]] {
        let ended = world.kbk(&[&["verify"][..], &args].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    }
}

#[test]
fn cat_warns_where_it_would_go_on() {
    let world = interrupted();
    let ended = world.kbk(&["cat", "payments"]);
    assert_eq!((ended.code, ended.json_lines().len()), (Some(3), 250));
    let first = ended.stderr.lines().next().unwrap();
    assert!(
        first.contains("snapshot 2 is partial") && first.contains(WHY),
        "{first}"
    );
    for args in [
        &["payments", "--to-offset", "250"][..],
        &["orders"],
        &["payments", "--snapshot", "1"],
    ] {
        let ended = world.kbk(&[&["cat"][..], args].concat());
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{args:?}");
    }
    let some = world.kbk(&["cat", "payments", "-n", "3"]);
    assert_eq!(some.code, Some(0), "no more were asked for");
    let newest = world.kbk(&["cat", "payments", "-n", "3", "--reverse"]);
    assert_eq!(
        (newest.code, newest.json_lines().len()),
        (Some(3), 3),
        "the newest ones are missing"
    );
}

/// A partition without a leader may hold any number of records.
#[test]
fn an_unknown_number_is_not_called_zero() {
    let world = World::sample();
    world.forge_partition("payments", 0, |partition| {
        partition["incomplete"] = json!({ "reason": "a_later_word", "detail": "why" });
    });
    let json = world.kbk(&["ls", "--json"]).json();
    assert_eq!(json["incomplete"][0]["missing_offsets"], json!(null));
    assert_eq!(json["incomplete"][0]["reason"], "a_later_word");
    let verified = world.kbk(&["verify", "--json"]);
    assert_eq!(verified.code, Some(3));
    assert_eq!(verified.json()["findings"][0]["offsets"], json!(null));
}

/// What the cluster deleted before it was read cannot be backed up any more, and the snapshot is not partial.
#[test]
fn verify_lists_lost_offsets_until_they_are_accepted() {
    let world = World::sample();
    let mut index = world.forged_index();
    let payments = index.rows_of("partition", "payments", 0).next();
    let topic_id = payments.unwrap()["topic_id"].clone();
    for (from, to) in [(10, 20), (30, 31)] {
        index.insert(json!({
            "row": "lost", "topic": "payments", "topic_id": topic_id, "partition": 0,
            "base_offset": from, "end_offset": to,
        }));
    }
    index.write();
    let ended = world.kbk(&["verify", "--snapshot", "all"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .contains("payments/0, offsets 10 to 20 (exclusive)"),
        "{}",
        ended.stdout
    );
    let json = world.kbk(&["verify", "--json"]).json();
    assert_eq!(
        (&json["lost_offsets"], &json["partial_snapshots"]),
        (&json!(11), &json!([]))
    );

    let accepted = world.kbk(&["verify", "--accept-lost"]);
    assert_eq!(accepted.code, Some(0), "{}", accepted.stdout);
    for text in [
        "payments/0, offsets 10 to 20 (exclusive)",
        "the loss of 11 offsets is accepted",
    ] {
        assert!(accepted.stdout.contains(text), "{}", accepted.stdout);
    }
    let json = world.kbk(&["verify", "--accept-lost", "--json"]).json();
    assert_eq!(json["findings"][1]["severity"], "accepted");
    assert_eq!(json["lost_offsets"], 11);

    // Damage is not accepted along with it.
    world.flip(&world.entries("orders", 0)[0].key, 700);
    assert_eq!(world.kbk(&["verify", "--accept-lost"]).code, Some(3));
}

#[test]
fn what_is_missing_of_a_deleted_topic_is_lost() {
    let world = interrupted();
    let mut index = world.forged_index();
    let mut topics = index.rows.iter_mut().filter(|row| row["row"] == "topic");
    topics.find(|row| row["topic"] == "payments").unwrap()["deleted"] = json!(true);
    index.write();
    assert_eq!(world.kbk(&["ls", "--json"]).json()["complete"], true);
    let ended = world.kbk(&["verify", "--json"]);
    assert_eq!(ended.code, Some(3));
    let json = ended.json();
    assert_eq!(
        (&json["lost_offsets"], &json["missing_offsets"]),
        (&json!(150), &json!(0))
    );
    let finding = &json["findings"][0];
    assert_eq!(finding["kind"], "deleted_before_read");
    // Text names it as listings do.
    let named = format!("payments@{}", finding["topic_id"].as_str().unwrap());
    for args in [&["verify"][..], &["verify", "--depth", "list"]] {
        let said = world.kbk(args).stdout;
        assert!(said.contains(&format!(", {named}/0, ")), "{said}");
    }
    assert!(world.kbk(&["ls"]).stdout.contains(&named));
    assert_eq!(world.kbk(&["verify", "--accept-lost"]).code, Some(0));
    // Records of it are still presented, and still not all.
    assert_eq!(world.kbk(&["cat", "payments"]).code, Some(3));
}

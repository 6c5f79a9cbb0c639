//! `kbk expire`: what goes by its age, what stays, and what the other commands say of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::program::Ended;
use crate::world::World;

#[track_caller]
fn ok(ended: &Ended) -> &Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    ended
}

/// A world whose topic `extra` has old segments of the offsets 0 to 2, and young ones of 3 and 4.
fn aged() -> World {
    let world = World::sample();
    let now = Timestamp::now().as_millisecond();
    for (offset, time) in [(0, 5_000), (1, 5_001), (2, 5_002), (3, now), (4, now)] {
        world.backup(&[("extra", 0, vec![vec![(offset, time)]])]);
    }
    world
}

const EXPIRE: &[&str] = &["expire", "--older-than", "90d", "--topic", "extra"];

#[track_caller]
fn expire(world: &World, more: &[&str]) -> Value {
    ok(&world.kbk(&[EXPIRE, more, &["--json"]].concat())).json()
}

fn offsets(world: &World, more: &[&str]) -> Vec<i64> {
    let printed = world.kbk(&[&["cat", "extra"], more].concat());
    let rows = ok(&printed).json_lines().into_iter();
    rows.map(|row| row["offset"].as_i64().unwrap()).collect()
}

#[test]
fn a_dry_run_changes_nothing_and_a_run_asks_first() {
    let world = aged();
    let before = world.keys();
    let ended = world.kbk(&[EXPIRE, &["--dry-run"]].concat());
    let first = ok(&ended).stdout.lines().next().unwrap();
    assert!(
        first.starts_with("would expire 3 segments with 3 records from before "),
        "{first}"
    );
    let document = expire(&world, &["--dry-run"]);
    let row = &document["partitions"][0];
    assert_eq!(row["offsets"], json!({"base_offset": 0, "end_offset": 3}));
    assert_eq!(
        (
            &row["remaining_records"],
            &row["kept"],
            &document["snapshot"]
        ),
        (&json!(2), &json!(null), &json!(null))
    );
    let ended = world.kbk(EXPIRE);
    assert_eq!(ended.code, Some(2), "there is no terminal");
    assert!(
        ended.stderr.contains("expires 3 segments with 3 records"),
        "{}",
        ended.stderr
    );
    for args in [
        &["expire"][..],
        &["expire", "--yes"],
        &["expire", "--older-than", "0d", "--yes"],
        &["expire", "--older-than", "19000y", "--yes"],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(world.keys(), before);
}

#[test]
fn what_expired_is_gone_and_nobody_calls_it_lost() {
    let world = aged();
    let document = expire(&world, &["--yes"]);
    assert_eq!(
        [
            &document["segments"],
            &document["snapshot"],
            &document["older_snapshots"]
        ],
        [&json!(3), &json!(8), &json!(7)]
    );
    assert_eq!(offsets(&world, &[]), [3, 4]);
    assert_eq!(offsets(&world, &["--snapshot", "7"]), [0, 1, 2, 3, 4]);
    let printed = world.kbk(&["cat", "extra", "--from-offset", "1"]);
    let warning = "expired, and not printed: extra/0 offsets 1 to 3 (exclusive)";
    assert!(ok(&printed).stderr.contains(warning), "{}", printed.stderr);
    assert_eq!(printed.json_lines().len(), 2);
    for (from, to) in [("3", "end"), ("first", "end"), ("0", "0")] {
        let printed = world.kbk(&["cat", "extra", "--from-offset", from, "--to-offset", to]);
        assert!(!ok(&printed).stderr.contains("expired, and"), "{from} {to}");
    }
    let status = world.kbk(&["status"]);
    assert!(
        ok(&status)
            .stdout
            .contains("3 older records had expired by then"),
        "{}",
        status.stdout
    );
    let status = ok(&world.kbk(&["status", "--json"])).json();
    assert_eq!(status["newest"]["expired_records"], 3);
    let stats = ok(&world.kbk(&["stats", "--json"])).json();
    let topics = stats["topics"].as_array().unwrap().iter();
    let extra = topics.clone().find(|row| row["topic"] == "extra").unwrap();
    assert_eq!(
        (&extra["expired_records"], &extra["records"]),
        (&json!(3), &json!(2))
    );
    // The topics that have lost nothing have nothing in the column.
    let listed = ok(&world.kbk(&["ls"])).stdout.clone();
    let heading = listed.lines().next().unwrap();
    let at = heading.find("EXPIRED OFFSETS").unwrap() + "EXPIRED OFFSETS".len();
    let cell = |topic: &str| {
        let line = listed.lines().find(|line| line.starts_with(topic)).unwrap();
        line.get(..at).unwrap_or(line).trim_end().to_owned()
    };
    assert!(cell("extra").ends_with(" 3"), "{listed}");
    assert!(!cell("orders").ends_with(" 3"), "{listed}");
    let topics = ok(&world.kbk(&["ls", "--json"])).json()["topics"].clone();
    let topics = topics.as_array().unwrap().iter();
    let extra = topics.clone().find(|row| row["topic"] == "extra").unwrap();
    assert_eq!(
        (&extra["expired_offsets"], &extra["expired_records"]),
        (&json!(3), &json!(3))
    );
    let row = ok(&world.kbk(&["ls", "extra", "--json"])).json()["partitions"][0].clone();
    let expired = &row["expired"];
    assert_eq!(
        (&row["base_offset"], &row["lost"], &expired["offsets"]),
        (
            &json!(3),
            &json!([]),
            &json!({"base_offset": 0, "end_offset": 3})
        )
    );
    assert_eq!(
        (&expired["snapshot"], &expired["policy"]),
        (&json!(8), &json!("--older-than 90d --topic extra"))
    );
    let verified = world.kbk(&["verify", "--snapshot", "all", "--json"]);
    assert_eq!(ok(&verified).json()["expired_offsets"], 3);
    let verified = world.kbk(&["verify"]);
    assert!(
        ok(&verified).stdout.contains("3 offsets had expired"),
        "{}",
        verified.stdout
    );
    let listed = world.kbk(&["snapshots"]);
    assert!(
        listed.stdout.contains(
            "snapshot 8 is of `kbk expire`, and holds what has not expired of the backup of snapshot 7"
        ),
        "{}",
        listed.stdout
    );
    // Nothing is left to do, and nothing is written.
    let before = world.keys();
    assert_eq!(expire(&world, &["--yes"])["segments"], 0);
    assert_eq!(world.keys(), before);
}

#[test]
fn what_only_older_snapshots_still_have_is_theirs_alone() {
    let world = aged();
    expire(&world, &["--yes"]);
    ok(&world.kbk(&["forget", "--keep-last", "2", "--yes"]));
    let document = ok(&world.kbk(&["stats", "--json"])).json();
    let rows = document["snapshots"].as_array().unwrap();
    assert_eq!((&rows[0]["sequence"], rows.len()), (&json!(7), 3));
    let unique = rows[0]["unique_objects"].as_u64().unwrap();
    assert!(unique >= 3, "its three segments: {document}");
    ok(&world.kbk(&["forget", "7", "--yes"]));
    let pruned = ok(&world.kbk(&["prune", "--grace", "0s", "--dry-run", "--json"])).json();
    let before = &document["prune"]["young"];
    for (of_all, of_snapshot) in [("objects", "unique_objects"), ("bytes", "unique_bytes")] {
        let already = before[of_all].as_u64().unwrap();
        let unique = rows[0][of_snapshot].as_u64().unwrap();
        assert_eq!(
            pruned["deleted"][of_all],
            json!(already + unique),
            "{pruned}"
        );
    }
}

#[test]
fn the_history_of_a_topic_is_named_where_there_may_be_several() {
    let world = World::sample();
    let mut index = world.forged_index();
    let orders = |row: &&mut Value| row["row"] == "topic" && row["topic"] == "orders";
    index.rows.iter_mut().find(orders).unwrap()["deleted"] = json!(true);
    index.write();
    let args = ["expire", "--older-than", "90d", "--dry-run"];
    for (args, payments) in [
        (&args[..], "payments "),
        (&["stats"], "payments "),
        (&["ls", "--partitions"], "payments/0 "),
    ] {
        let ended = world.kbk(args);
        let lines = || ok(&ended).stdout.lines();
        assert!(
            lines().any(|it| it.starts_with("orders@")),
            "{args:?}: {}",
            ended.stdout
        );
        assert!(
            lines().any(|it| it.starts_with(payments)),
            "{args:?}: {}",
            ended.stdout
        );
    }
}

#[test]
fn objects_go_once_no_snapshot_names_them() {
    let world = aged();
    let old: Vec<String> = world.entries("extra", 0)[..3]
        .iter()
        .map(|entry| entry.key.clone())
        .collect();
    expire(&world, &["--yes"]);
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    assert!(old.iter().all(|key| world.keys().contains(key)));
    // Of one period, what has expired takes the place of the backup.
    let kept = ok(&world.kbk(&["forget", "--keep-daily", "1", "--yes", "--json"])).json();
    assert_eq!(kept["kept"], 1, "{kept}");
    ok(&world.kbk(&["prune", "--grace", "0s"]));
    assert!(!old.iter().any(|key| world.keys().contains(key)));
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
    assert_eq!(offsets(&world, &[]), [3, 4]);
}

#[test]
fn all_records_may_expire_and_the_next_backup_continues() {
    let world = World::sample();
    let document = ok(&world.kbk(&["expire", "--older-than", "1d", "--yes", "--json"])).json();
    assert_eq!(document["records"], 1_450, "{document}");
    for row in document["partitions"].as_array().unwrap() {
        assert_eq!(row["remaining_records"], 0);
    }
    let printed = world.kbk(&["cat", "payments"]);
    assert_eq!(ok(&printed).stdout, "");
    assert!(
        printed
            .stderr
            .contains("offsets 0 to 250 (exclusive) have expired"),
        "{}",
        printed.stderr
    );
    ok(&world.kbk(&["verify"]));
    ok(&world.kbk(&["groups", "list"]));
    world.backup(&[("payments", 0, vec![vec![(250, 9_000)]])]);
    let row = ok(&world.kbk(&["ls", "payments", "--json"])).json()["partitions"][0].clone();
    assert_eq!(
        (&row["base_offset"], &row["end_offset"], &row["records"]),
        (&json!(250), &json!(251), &json!(1))
    );
    ok(&world.kbk(&["verify", "--snapshot", "all"]));
}

#[test]
fn younger_records_keep_what_follows_them() {
    let world = World::sample();
    let now = Timestamp::now().as_millisecond();
    world.backup(&[("extra", 0, vec![vec![(0, now)], vec![(1, 5_000)]])]);
    let document = expire(&world, &["--yes"]);
    assert_eq!(document["segments"], 0);
    assert_eq!(
        document["partitions"][0]["kept"],
        json!({
            "because": "younger_records",
            "offsets": {"base_offset": 0, "end_offset": 1},
            "max_timestamp": now,
        })
    );
    let first = first_line(&world, &["--dry-run"]);
    assert!(
        first.ends_with("; older ones in 1 partition stay for now"),
        "{first}"
    );
}

#[track_caller]
fn first_line(world: &World, more: &[&str]) -> String {
    let ended = world.kbk(&[EXPIRE, more].concat());
    ended.stdout.lines().next().unwrap().to_owned()
}

/// Expires, and finds that older records stay for a reason that lasts.
#[track_caller]
fn kept_for_good(world: &World, because: &str, words: &str) -> Value {
    let first = first_line(world, &["--dry-run"]);
    assert!(
        first.ends_with("; older ones in 1 partition will not expire"),
        "{first}"
    );
    let listed = world.kbk(&[EXPIRE, &["--dry-run"]].concat());
    assert!(listed.stdout.contains(words), "{}", listed.stdout);
    let ended = world.kbk(&[EXPIRE, &["--yes", "--json"]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["keep_forever"], 1);
    assert_eq!(document["partitions"][0]["kept"]["because"], because);
    document
}

#[test]
fn segments_without_timestamps_keep_what_follows_them() {
    let world = World::sample();
    let segments = vec![vec![(0, 5_000)], vec![(1, -1)], vec![(2, 5_000)]];
    world.backup(&[("extra", 0, segments)]);
    let words = "extra/0: offsets 1 to 2 (exclusive) stay, and what follows them: none of their records has a timestamp";
    let document = kept_for_good(&world, "no_timestamps", words);
    assert_eq!(document["segments"], 1);
    assert_eq!(offsets(&world, &[]), [1, 2]);
}

#[test]
fn records_from_the_future_keep_what_follows_them_and_are_named() {
    for (time, words) in [
        (
            4_000_000_000_000,
            "is of 2096-10-02T07:06:40.000Z, which is in the future",
        ),
        (
            i64::MAX,
            "is of @9223372036854775807ms, which is in the future",
        ),
    ] {
        let world = World::sample();
        let segments = vec![
            vec![(0, 5_000)],
            vec![(1, 5_000), (2, time)],
            vec![(3, 5_000)],
        ];
        world.backup(&[("extra", 0, segments)]);
        let document = kept_for_good(&world, "future_records", words);
        assert_eq!(document["segments"], 1);
        assert_eq!(offsets(&world, &[]), [1, 2, 3]);
    }
}

#[test]
fn the_last_segment_stays_where_its_last_record_cannot_be_read() {
    let world = World::sample();
    let segments = vec![vec![(0, 5_000)], vec![(1, 5_000)], vec![(2, 5_000)]];
    world.backup(&[("extra", 0, segments)]);
    let last = world.entries("extra", 0)[2].key.clone();
    std::fs::remove_file(world.path(&last)).unwrap();
    let document = kept_for_good(&world, "unreadable", "the last record cannot be read");
    assert_eq!(document["segments"], 2);
    let left = world.entries("extra", 0);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].key, last);
}

#[test]
fn a_clock_that_makes_the_last_backup_old_expires_nothing() {
    let world = aged();
    let backed_up = "2001-02-03T04:05:06Z";
    world.forge_snapshot(|snapshot| snapshot["created_at"] = json!(backed_up));
    let before = world.keys();
    for more in ["--dry-run", "--yes"] {
        let ended = world.kbk(&[EXPIRE, &[more]].concat());
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(
            ended.stderr.contains(backed_up) && ended.stderr.contains("--allow-old-backup"),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(world.keys(), before);
    let document = expire(&world, &["--yes", "--allow-old-backup"]);
    assert_eq!(document["segments"], 3);

    let world = aged();
    world.forge_snapshot(|snapshot| snapshot["created_at"] = json!("2096-02-03T04:05:06Z"));
    let ended = world.kbk(&[EXPIRE, &["--dry-run"]].concat());
    assert!(
        ok(&ended).stderr.contains("if it is behind"),
        "{}",
        ended.stderr
    );
}

#[test]
fn topics_have_spans_of_their_own_in_several_runs() {
    let world = World::sample();
    let day = 86_400_000;
    let now = Timestamp::now().as_millisecond();
    let segments = || {
        vec![
            vec![(0, now - 60 * day)],
            vec![(1, now - 10 * day)],
            vec![(2, now)],
        ]
    };
    for topic in ["clicks-a", "clicks-de", "orders-a"] {
        world.backup(&[(topic, 0, segments())]);
    }
    let expire = |older_than: &str, topic: &str| {
        let args = [
            "expire",
            "--older-than",
            older_than,
            "--topic",
            topic,
            "--yes",
        ];
        let ended = world.kbk(&args);
        ok(&ended).stdout.clone()
    };
    let printed = expire("5d", "clicks-*");
    let rows: Vec<&str> = printed.lines().skip(2).take(2).collect();
    for (row, topic) in rows.iter().zip(["clicks-a ", "clicks-de "]) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert!(row.starts_with(topic), "{printed}");
        assert_eq!((cells[1], cells[2], cells[3]), ("1", "2", "2"), "{printed}");
        assert_eq!(cells.last(), Some(&"1"), "{printed}");
    }
    expire("30d", "orders-*");
    for (topic, left) in [("clicks-a", 1), ("clicks-de", 1), ("orders-a", 2)] {
        assert_eq!(world.entries(topic, 0).len(), left, "{topic}");
    }
    // What a topic was expired by stays with it.
    let listed = ok(&world.kbk(&["ls", "clicks-a", "--json"])).json();
    assert_eq!(
        listed["partitions"][0]["expired"]["policy"],
        "--older-than 5d --topic clicks-*"
    );
}

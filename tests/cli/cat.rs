//! `kbk cat`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::program::kbk;
use crate::world::{World, key_of, value_of};

fn offsets(lines: &[Value]) -> Vec<i64> {
    lines
        .iter()
        .map(|line| line["offset"].as_i64().unwrap())
        .collect()
}

#[test]
fn prints_records_as_json_lines_in_order() {
    let world = World::sample();
    let ended = world.kbk(&["cat", "orders"]);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
    let lines = ended.json_lines();
    assert_eq!(lines.len(), 1_200);
    for (i, line) in lines.iter().enumerate() {
        let (partition, offset) = (i / 600, (i % 600) as i64);
        assert_eq!(line["topic"], "orders");
        assert_eq!(line["partition"], partition);
        assert_eq!(line["offset"], offset);
        assert_eq!(line["timestamp"], 1_000 + offset * 10);
        let (seconds, ms) = (1 + offset / 100, offset % 100 * 10);
        assert_eq!(
            line["time"],
            format!("1970-01-01T00:00:{seconds:02}.{ms:03}Z")
        );
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert_eq!(line["key"], text(key_of(offset)));
        assert_eq!(line["value"], text(value_of(offset)));
        assert_eq!(line["headers"], serde_json::json!([]));
    }
    let document = world.kbk(&["cat", "orders", "--json"]).json();
    assert_eq!(document["records"], Value::from(ended.json_lines()));
}

#[test]
fn selects_by_partition_offset_time_and_count() {
    let world = World::sample();
    let chosen = |args: &[&str]| {
        let ended = world.kbk(&[&["cat", "orders", "-p", "1"], args].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        let lines = ended.json_lines();
        assert!(lines.iter().all(|line| line["partition"] == 1));
        offsets(&lines)
    };
    assert_eq!(chosen(&["--offset", "199", "-n", "3"]), [199, 200, 201]);
    assert_eq!(chosen(&["--offset", "-2"]), [598, 599]);
    assert_eq!(chosen(&["--offset", "last"]), [599]);
    assert_eq!(
        chosen(&["--from-offset", "398", "--to-offset", "401"]),
        [398, 399, 400],
        "the end is exclusive"
    );
    assert_eq!(chosen(&["--to-offset", "1"]), [0]);
    assert_eq!(
        chosen(&["--from-offset", "-3", "--to-offset", "-1"]),
        [597, 598]
    );
    assert_eq!(
        chosen(&["--from-offset", "-1", "--to-offset", "end"]),
        [599]
    );
    assert_eq!(chosen(&["--from-offset", "3", "--to-offset", "3"]), [0; 0]);
    assert_eq!(
        chosen(&["--since", "@1020ms", "--until", "@1040ms"]),
        [2, 3, 4]
    );
    assert_eq!(chosen(&["--until", "@0"]), [0; 0]);
    assert_eq!(chosen(&["-n", "0"]), [0; 0]);
    assert_eq!(
        chosen(&["--offset", "600"]),
        [0; 0],
        "the end offset is exclusive"
    );

    let ended = world.kbk(&["cat", "payments", "--snapshot", "1"]);
    assert_eq!(ended.json_lines().len(), 100, "the second snapshot has 250");
    assert_eq!(
        world
            .kbk(&["cat", "payments", "-n", "7"])
            .json_lines()
            .len(),
        7
    );
}

#[test]
fn topics_and_partitions_are_selected_by_lists_and_patterns() {
    let world = World::sample();
    let places = |args: &[&str]| {
        let ended = world.kbk(&[&["cat", "--to-offset", "1"], args].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        let place = |line: &Value| {
            let topic = line["topic"].as_str().unwrap();
            format!("{topic}/{}", line["partition"])
        };
        ended.json_lines().iter().map(place).collect::<Vec<_>>()
    };
    let all = ["orders/0", "orders/1", "payments/0"];
    assert_eq!(places(&["*"]), all);
    assert_eq!(places(&["payments", "orders"]), all);
    assert_eq!(places(&["/.*s/"]), all);
    assert_eq!(places(&["*/0"]), ["orders/0", "payments/0"]);
    assert_eq!(places(&["orders/1", "/orders/0-1", "ord*/0,1"]), all[..2]);
    assert_eq!(places(&["orders", "-p", "1"]), ["orders/1"]);
    assert_eq!(places(&["orders", "-p", "1", "-p", "0"]), all[..2]);
    let snapshot = world.latest();
    let topic = snapshot
        .topics
        .iter()
        .find(|topic| &*topic.name == "orders");
    let id = topic.unwrap().topic_id.to_string();
    assert_eq!(places(&[&format!("orders@{}/1", &id[..8])]), ["orders/1"]);
}

#[test]
fn a_selection_that_does_not_exist_is_named() {
    let world = World::sample();
    for (args, code, message) in [
        (&["cat", "order"][..], 1, "`orders`"),
        (&["cat", "orders", "-p", "2"], 1, "2 partitions"),
        (&["cat", "orders", "--snapshot", "9"], 1, "no snapshot 9"),
        (
            &["cat", "orders", "--since", "@2", "--until", "@1"],
            2,
            "--since is later",
        ),
        (&["cat", "orders", "--since", "yesterday"], 2, "not a time"),
        (&["cat", "orders", "--offset", "x"], 2, "not an offset"),
        (
            &["cat", "orders", "--from-offset", "3", "--to-offset", "1"],
            2,
            "--from-offset is after --to-offset",
        ),
        (&["cat", "orders/0-2"], 1, "it has 2 partitions"),
        (&["cat", "orders/0-2147483647"], 1, "no partition 2:"),
        (&["cat", "orders/x"], 2, "`0,3,5-7`"),
        (&["cat", "ordr*/0"], 1, "`orders`"),
        (&["cat", "orders/0", "-p", "1"], 2, "given twice"),
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty());
    }
}

#[test]
fn a_selection_of_nothing_says_what_there_is() {
    let world = World::sample();
    for args in [
        &["cat", "orders", "-p", "1", "--from-offset", "99999"][..],
        &[
            "cat",
            "orders",
            "-p",
            "1",
            "--since",
            "2030-01-01T00:00:00Z",
        ],
    ] {
        let ended = world.kbk(args);
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(0), ""),
            "{}",
            ended.stderr
        );
        let says = "no record is selected: orders/1 has the offsets 0 to 600 (exclusive)";
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
    assert_eq!(world.kbk(&["cat", "orders", "-n", "0"]).stderr, "");
}

#[test]
fn reverse_is_the_reverse_and_keys_are_a_filter_whatever_else_is_selected() {
    let mut world = World::new();
    world.content = |offset| {
        let key = match offset % 4 {
            0 => None,
            1 => Some(Vec::new()),
            _ => Some(format!("k{}", offset % 3).into_bytes()),
        };
        (key, value_of(offset))
    };
    let rows = |from: i64, to: i64| {
        (from..to)
            .map(|o| (o, o * 7_919 % 1_000))
            .collect::<Vec<_>>()
    };
    let segments = vec![rows(0, 130), rows(130, 300)];
    world.backup(&[
        ("t", 0, segments.clone()),
        ("t", 1, segments),
        ("u", 0, vec![rows(0, 40)]),
    ]);
    let lines = |args: &[&str]| {
        let ended = world.kbk(&[&["cat"], args].concat());
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        ended.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let reversed = |args: &[&str]| lines(&[args, &["--reverse"]].concat());
    for selection in [
        &["t", "u"][..],
        &["t/1"],
        &["t", "--from-offset", "120", "--to-offset", "140"],
        &["t", "--offset", "-7"],
        &["*", "--since", "@200ms", "--until", "@300ms"],
        &["t/0", "--from-offset", "100", "--since", "@900ms"],
    ] {
        let all = lines(selection);
        assert!(!all.is_empty());
        let backwards: Vec<_> = all.iter().rev().cloned().collect();
        assert_eq!(reversed(selection), backwards, "{selection:?}");
        for count in ["0", "1", "5", "100000"] {
            let counted = [selection, &["-n", count]].concat();
            let taken = |all: &[String]| all[..all.len().min(count.parse().unwrap())].to_vec();
            assert_eq!(lines(&counted), taken(&all));
            assert_eq!(reversed(&counted), taken(&backwards));
        }
        for (options, keys) in [
            (&["--key", "k1"][..], &["\"k1\""][..]),
            (&["--key-null"], &["null"]),
            (&["--key", ""], &["\"\""]),
            (
                &["--key-hex", "6b30", "--key-base64", "azI=", "--key-null"],
                &["\"k0\"", "\"k2\"", "null"],
            ),
            (&["--key", "none"], &[]),
        ] {
            let has_key = |line: &&String| {
                let fields = keys.iter().map(|key| format!("\"key\":{key},"));
                fields.into_iter().any(|field| line.contains(&field))
            };
            let expected: Vec<_> = all.iter().filter(has_key).cloned().collect();
            let with_key = [selection, options].concat();
            assert_eq!(lines(&with_key), expected, "{with_key:?}");
            let expected: Vec<_> = expected.into_iter().rev().take(2).collect();
            assert_eq!(reversed(&[&with_key[..], &["-n", "2"]].concat()), expected);
        }
    }
    let none = world.kbk(&["cat", "t/0", "--key", "none"]);
    assert_eq!((none.code, &*none.stdout), (Some(0), ""));
    assert!(
        none.stderr.contains("no record is selected"),
        "{}",
        none.stderr
    );
    assert_eq!(world.kbk(&["cat", "t", "--key", "none", "-q"]).stderr, "");
}

/// Whatever is damaged, what is around it is printed, and the offsets that are missing are named.
#[test]
fn damage_is_named_and_the_rest_is_printed() {
    let world = World::sample();
    let entries = world.entries("orders", 0);
    let damaged_block = entries[1].footer_position as usize - 100;
    let file = world.path(&entries[1].key).display().to_string();
    let name = entries[1].key.rsplit('/').next().unwrap();
    for missing in [false, true] {
        match missing {
            true => fs::remove_file(world.path(&entries[1].key)).unwrap(),
            false => world.flip(&entries[1].key, damaged_block),
        }
        let sources = match missing {
            true => &["orders/0"][..],
            false => &["orders/0", &file],
        };
        for source in sources {
            for reverse in [&[][..], &["--reverse"]] {
                let ended = world.kbk(&[&["cat", source, "--json"], reverse].concat());
                assert_eq!(ended.code, Some(3), "{source}");
                let document = ended.json();
                let rows = document["unprinted"].as_array().unwrap();
                let [row] = &rows[..] else {
                    panic!("{rows:#?}");
                };
                assert_eq!(
                    (&row["name"], &row["topic"]),
                    (&(*source).into(), &"orders".into())
                );
                assert!(row["reason"].as_str().unwrap().contains(name));
                let (base, end) = (row["base_offset"].as_i64(), row["end_offset"].as_i64());
                let (base, end) = (base.unwrap(), end.unwrap());
                if missing {
                    assert_eq!((base, end), (200, 400));
                }
                let mut found = offsets(document["records"].as_array().unwrap());
                if !reverse.is_empty() {
                    found.reverse();
                }
                let all = match *source {
                    "orders/0" => 0..600,
                    _ => 200..400,
                };
                let expected = all.filter(|at| !(base..end).contains(at));
                assert!(
                    found.iter().copied().eq(expected),
                    "{source}: {}",
                    found.len()
                );
                for said in [name, source, &format!("{base}")] {
                    assert!(ended.stderr.contains(said), "{}", ended.stderr);
                }
            }
        }
    }
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let world = World::new();
    let rows = (0..20_000).map(|offset| (offset, offset)).collect();
    world.backup(&[("big", 0, vec![rows])]);
    let mut command = kbk(&["cat", "big"]);
    command.env("KBK_REPO", world.path(""));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("\"offset\":0,"));
    drop(lines);
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert!(
        ended.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

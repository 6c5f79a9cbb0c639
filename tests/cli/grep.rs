//! `kbk grep`.

use std::fs;

use serde_json::{Value, json};

use crate::program::{kbk, run};
use crate::world::{World, value_of};

/// A world whose records have keys and values of every kind, and timestamps in no order, some of which are -1.
fn world() -> World {
    let mut world = World::new();
    world.content = |offset| {
        let key = match offset % 5 {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(vec![0xff, 0, b'\n']),
            rest => Some(format!("k{rest}-{}", offset % 7).into_bytes()),
        };
        let value = match offset % 3 {
            0 => format!(
                "{{\"id\":{},\"s\":\"{}\",\"in\":{{\"x\":[1,{offset}]}}}}",
                offset % 4,
                offset % 4
            )
            .into(),
            1 => value_of(offset),
            _ => vec![0xfe, b'"', offset as u8],
        };
        (key, value)
    };
    let rows = |from: i64, to: i64| {
        let time = |o: i64| if o % 11 == 0 { -1 } else { o * 7_919 % 1_000 };
        (from..to).map(|o| (o, time(o))).collect::<Vec<_>>()
    };
    let segments = vec![rows(0, 130), rows(130, 300)];
    world.backup(&[
        ("t", 0, segments.clone()),
        ("t", 1, segments),
        ("u", 0, vec![rows(0, 40)]),
    ]);
    world
}

const SELECTIONS: &[&[&str]] = &[
    &["t", "u"],
    &["*", "-p", "0"],
    &["t/1", "--from-offset", "100", "--to-offset", "140"],
    &["t", "--offset", "-7"],
    &["*", "--since", "@200ms", "--until", "@300ms"],
    &["*", "--until", "@-1ms"],
];

/// Options, and what they select of the JSON lines.
type Condition = (&'static [&'static str], fn(&Value) -> bool);

fn value(line: &Value) -> Option<Value> {
    serde_json::from_str(line["value"].as_str()?).ok()
}

fn key(line: &Value) -> &str {
    line["key"].as_str().unwrap_or("-")
}

const CONDITIONS: &[Condition] = &[
    (&[], |_| true),
    (&["--key", "k3-0", "--key", ""], |it| {
        it["key"] == "k3-0" || it["key"] == ""
    }),
    (&["--key-hex", "ff000a", "--key-null"], |it| {
        it["key_base64"] == "/wAK" || it.get("key").is_some_and(Value::is_null)
    }),
    (&["--key-prefix", "k3"], |it| key(it).starts_with("k3")),
    (&["--key-prefix-hex", "ff", "--key", "k4-1"], |it| {
        it.get("key_base64").is_some() || it["key"] == "k4-1"
    }),
    (&["--key-regex", "^k[34]-[0-2]$"], |it| {
        key(it).len() == 4 && key(it).ends_with(['0', '1', '2'])
    }),
    (&["-e", "(?i)OFFSET 1", "--value-regex", "value"], |it| {
        it["value"]
            .as_str()
            .is_some_and(|value| value.contains("offset 1"))
    }),
    (&["-e", "(?-u)\\xfe"], |it| it.get("value_base64").is_some()),
    (&["--where", "/id=2"], |it| {
        value(it).is_some_and(|it| it["id"] == 2)
    }),
    (&["--where", "/s=2", "--where", "/in/x/1!=6"], |it| {
        value(it).is_some_and(|it| it["s"] == "2" && it["in"]["x"][1] != 6)
    }),
    (&["--where", "/s=\"1\"", "--where", "!/no"], |it| {
        value(it).is_some_and(|it| it["s"] == "1")
    }),
    (&["--where", "/in", "--invert-match"], |it| {
        value(it).is_none()
    }),
    (&["--tombstones"], |_| false),
    (&["--header", "trace"], |_| false),
    (
        &["--key-null", "--where", "/id=0", "--invert-match"],
        |it| {
            !(it.get("key").is_some_and(Value::is_null)
                && value(it).is_some_and(|it| it["id"] == 0))
        },
    ),
];

#[test]
fn cat_and_grep_select_the_same_records_in_the_same_order() {
    let world = world();
    let stdout = |args: &[&str]| {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.stderr);
        ended.stdout
    };
    for selection in SELECTIONS {
        let all = stdout(&[&["cat"], *selection].concat());
        let all: Vec<(&str, Value)> = all
            .lines()
            .map(|line| (line, serde_json::from_str(line).unwrap()))
            .collect();
        for (options, selects) in CONDITIONS {
            let expected: Vec<&str> = all
                .iter()
                .filter(|(_, json)| selects(json))
                .map(|(line, _)| *line)
                .collect();
            let args = [*selection, *options].concat();
            for command in ["cat", "grep"] {
                let found = stdout(&[&[command], &args[..]].concat());
                assert_eq!(
                    found.lines().collect::<Vec<_>>(),
                    expected,
                    "{command} {args:?}"
                );
            }
            let reversed: Vec<&str> = expected.iter().rev().take(3).copied().collect();
            let found = stdout(&[&["grep"], &args[..], &["--reverse", "-n", "3"]].concat());
            assert_eq!(found.lines().collect::<Vec<_>>(), reversed, "{args:?}");
            let count = stdout(&[&["grep", "--count"], &args[..]].concat());
            assert_eq!(count, format!("{}\n", expected.len()), "{args:?}");
        }
    }
}

#[test]
fn formats_are_those_of_cat() {
    let world = world();
    for format in ["jsonl", "csv", "value", "key-value", "hex", "%p %o %K\\n"] {
        let print = |command| {
            let args = [command, "*", "--since", "@100ms", "-f", format, "-n", "70"];
            let mut kbk = kbk(&args);
            kbk.env("KBK_REPO", world.path("")).output().unwrap().stdout
        };
        let found = print("grep");
        assert!(!found.is_empty() && found == print("cat"), "{format}");
    }
}

#[test]
fn partitions_are_listed_and_counted() {
    let world = world();
    let list = world.kbk(&["grep", "*", "-l", "--key", "k3-0"]);
    assert_eq!((list.code, &*list.stdout), (Some(0), "t/0\nt/1\nu/0\n"));
    let list = world.kbk(&["grep", "*", "-l", "--where", "/in/x/1=45"]);
    assert_eq!((list.code, &*list.stdout), (Some(0), "t/0\nt/1\n"));
    let both = world.kbk(&["grep", "*", "-l", "--count", "--key", "k3-3"]);
    assert_eq!(
        (both.code, &*both.stdout),
        (Some(0), "t/0:9\nt/1:9\nu/0:2\n")
    );
    let document = world
        .kbk(&["grep", "*", "-l", "--count", "--key", "k3-3", "--json"])
        .json();
    assert_eq!(
        (&document["matched"], &document["complete"]),
        (&json!(20), &json!(true))
    );
    assert_eq!(document["unsearched"], json!([]));
    let rows = document["partitions"].as_array().unwrap();
    let row = |row: &Value| {
        (
            row["name"].clone(),
            row["partition"].clone(),
            row["matched"].clone(),
        )
    };
    assert_eq!(row(&rows[2]), (json!("u/0"), json!(0), json!(2)));
    let document = world.kbk(&["grep", "t", "-l", "--json"]).json();
    assert_eq!(
        (&document["matched"], &document["partitions"][0]["matched"]),
        (&json!(2), &Value::Null)
    );
    let document = world
        .kbk(&["grep", "t/1", "u", "--json", "--key", "k3-3", "-n", "10"])
        .json();
    assert_eq!(document["records"].as_array().unwrap().len(), 10);
    assert_eq!(
        (&document["matched"], &document["partitions"][1]["matched"]),
        (&json!(10), &json!(1))
    );
}

#[test]
fn nothing_found_is_said_and_no_failure() {
    let world = world();
    for options in [&[][..], &["-l"], &["--sort", "time"]] {
        let ended = world.kbk(&[&["grep", "u", "--key", "none"], options].concat());
        assert_eq!((ended.code, &*ended.stdout), (Some(0), ""), "{options:?}");
        let says = "no record matches: everything that is selected was searched";
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
        let args = [&["grep", "u", "--key", "none", "--json"], options].concat();
        let document = world.kbk(&args).json();
        assert_eq!(
            (&document["verdict"], &document["matched"]),
            (&json!("ok"), &json!(0))
        );
    }
    let count = world.kbk(&["grep", "u", "--key", "none", "--count"]);
    assert_eq!(
        (count.code, &*count.stdout, &*count.stderr),
        (Some(0), "0\n", "")
    );
    let none = world.kbk(&["grep", "u", "-n", "0"]);
    assert_eq!((none.code, &*none.stdout, &*none.stderr), (Some(0), "", ""));
}

#[test]
fn records_are_sorted_by_time_over_all_partitions() {
    let world = world();
    let lines = |args: &[&str]| {
        let ended = world.kbk(&[&["grep", "u", "t"], args].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for options in [
        &[][..],
        &["--key-prefix", "k3"],
        &["--since", "@500ms"],
        &["--until", "@3ms"],
    ] {
        let mut expected = lines(options);
        // The sort is stable: equal timestamps keep the order of topic, partition and offset.
        expected.sort_by_key(|line| {
            serde_json::from_str::<Value>(line).unwrap()["timestamp"]
                .as_i64()
                .unwrap()
        });
        let sorted = [options, &["--sort", "time"]].concat();
        assert_eq!(lines(&sorted), expected, "{options:?}");
        for count in ["1", "7", "1000"] {
            let some = [&sorted[..], &["-n", count]].concat();
            let count: usize = count.parse().unwrap();
            assert_eq!(
                lines(&some),
                expected[..count.min(expected.len())],
                "{options:?} {count}"
            );
            let reversed: Vec<_> = expected.iter().rev().take(count).cloned().collect();
            assert_eq!(lines(&[&some[..], &["--reverse"]].concat()), reversed);
        }
    }
}

#[test]
fn what_cannot_be_searched_is_named_and_never_said_to_have_nothing() {
    let world = World::sample();
    let entries = world.entries("orders", 0);
    fs::remove_file(world.path(&entries[2].key)).unwrap();
    world.flip(&entries[1].key, entries[1].footer_position as usize - 100);
    for (options, stdout_lines) in [
        (&["--key", "key-599"][..], 1),
        (&["--key", "key-599", "--sort", "time"], 1),
        (&["--key", "key-599", "--count"], 1),
    ] {
        let ended = world.kbk(&[&["grep", "orders"], options].concat());
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert_eq!(
            ended.stdout.lines().count(),
            stdout_lines,
            "of orders/1: {}",
            ended.stdout
        );
        assert!(
            ended
                .stderr
                .contains("not searched: orders/0 offsets 400 to 600 (exclusive): "),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stderr.contains("there may be more such records"),
            "{}",
            ended.stderr
        );
        let document = world
            .kbk(&[&["grep", "orders", "--json"], options].concat())
            .json();
        assert_eq!(
            (&document["verdict"], &document["matched"]),
            (&json!("findings"), &json!(1))
        );
        let row = &document["unsearched"].as_array().unwrap()[0];
        assert_eq!(
            [
                &row["name"],
                &row["topic"],
                &row["partition"],
                &row["base_offset"],
                &row["end_offset"]
            ],
            [
                &json!("orders/0"),
                &json!("orders"),
                &json!(0),
                &json!(400),
                &json!(600)
            ]
        );
    }
    // Everything is needed, the damaged block too.
    let document = world.kbk(&["grep", "orders/0", "--json"]).json();
    let rows = document["unsearched"].as_array().unwrap();
    assert_eq!(
        (rows.len(), document["verdict"].as_str()),
        (2, Some("findings"))
    );
    let unsearched: i64 = rows
        .iter()
        .map(|row| row["end_offset"].as_i64().unwrap() - row["base_offset"].as_i64().unwrap())
        .sum();
    assert_eq!(
        document["records"].as_array().unwrap().len() as i64,
        600 - unsearched
    );
    // It is not said that there is no such record.
    let none = world.kbk(&["grep", "orders/0", "--key", "key-599"]);
    assert_eq!((none.code, &*none.stdout), (Some(3), ""));
    assert!(
        none.stderr
            .contains("no record is selected in what could be searched"),
        "{}",
        none.stderr
    );
    // What is not needed is not looked at.
    let whole = world.kbk(&["grep", "orders/0", "--key", "key-9", "--to-offset", "200"]);
    assert_eq!((whole.code, &*whole.stderr), (Some(0), ""));
    let found = world.kbk(&["grep", "orders/0", "-n", "1"]);
    assert_eq!((found.code, &*found.stderr), (Some(0), ""));
}

#[test]
fn a_partial_snapshot_is_said_to_be_partial() {
    let world = World::sample();
    world.forge_partition("payments", 0, |partition| {
        partition["high_watermark"] = json!(400);
        partition["incomplete"] = json!({ "reason": "interrupted", "detail": "it was stopped" });
    });
    for options in [&["--count"][..], &["-l"], &[]] {
        let ended = world.kbk(&[&["grep", "payments"], options].concat());
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(
            ended.stderr.contains("snapshot 2 is partial"),
            "{}",
            ended.stderr
        );
        let document = world
            .kbk(&[&["grep", "payments", "--json"], options].concat())
            .json();
        assert_eq!(
            (&document["complete"], &document["verdict"]),
            (&json!(false), &json!("findings"))
        );
        assert_eq!(document["incomplete"][0]["missing_offsets"], 150);
    }
    let ended = world.kbk(&["grep", "payments", "--count", "--to-offset", "100"]);
    assert_eq!(
        (ended.code, &*ended.stdout, &*ended.stderr),
        (Some(0), "100\n", "")
    );
}

#[test]
fn files_are_searched_without_their_repository() {
    let world = World::sample();
    let entries = world.entries("orders", 0);
    let files: Vec<String> = entries
        .iter()
        .map(|entry| world.path(&entry.key).display().to_string())
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let found = run(&[
        &["grep"],
        &files[..],
        &["--key-regex", "-(7|399)$", "-f", "%o\\n"],
    ]
    .concat());
    assert_eq!(
        (found.code, &*found.stdout, &*found.stderr),
        (Some(0), "7\n399\n", "")
    );
    let listed = run(&[&["grep"], &files[..], &["-l", "--key", "key-399"]].concat());
    assert_eq!(listed.stdout, format!("{}\n", files[1]));
    // A file whose footer is lost cannot be searched; the others are.
    world.harm(&entries[0].key, |bytes| bytes.truncate(bytes.len() - 10));
    let rest = run(&[
        &["grep"],
        &files[..],
        &["--key-regex", "-(7|399)$", "-f", "%o\\n"],
    ]
    .concat());
    assert_eq!((rest.code, &*rest.stdout), (Some(3), "399\n"));
    assert!(rest.stderr.contains(files[0]), "{}", rest.stderr);
    let document = run(&[&["grep"], &files[..], &["--count", "--json"]].concat()).json();
    assert_eq!(
        (&document["matched"], &document["repository"]),
        (&json!(400), &Value::Null)
    );
    assert_eq!(document["unsearched"][0]["base_offset"], Value::Null);

    let golden = "fixtures/golden/v1/codec-zstd.kseg";
    for (header, offsets) in [
        ("trace=9e3779b1", "1\n"),
        ("content-type=application/json", "0\n1\n2\n"),
        ("trace", "0\n1\n2\n"),
        ("Trace", ""),
    ] {
        let found = run(&["grep", golden, "--header", header, "-f", "%o\\n", "-n", "3"]);
        assert_eq!(
            (found.code, &*found.stdout),
            (Some(0), offsets),
            "{}",
            found.stderr
        );
    }
    let tombstones = run(&[
        "grep",
        "fixtures/golden/v1/null-empty-keys-values.kseg",
        "--tombstones",
        "--count",
    ]);
    assert_eq!((tombstones.code, &*tombstones.stdout), (Some(0), "5\n"));
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let world = World::sample();
    for (args, says) in [
        (&["--invert-match"][..], "none is given"),
        (&["--where", "id=1"], "does not begin with a JSON pointer"),
        (&["--where", "/id={"], "is not JSON"),
        (&["-e", "("], "unclosed group"),
        (&["--key-regex", "a{2,1}"], "is not a regular expression"),
        (&["--count", "-f", "csv"], "cannot be used with"),
        (&["-l", "-n", "1"], "cannot be used with"),
        (&["--count", "--sort", "time"], "cannot be used with"),
        (&["--key-prefix-hex", "f"], "is not hex"),
        (&["--sort", "key"], "invalid value"),
        (&["--since", "@2", "--until", "@1"], "--since is later"),
    ] {
        let ended = world.kbk(&[&["grep", "orders"], args].concat());
        assert_eq!(
            (ended.code, &*ended.stdout),
            (Some(2), ""),
            "{args:?}: {}",
            ended.stderr
        );
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
}

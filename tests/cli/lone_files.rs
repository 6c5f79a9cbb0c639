//! `kbk cat` and `kbk verify` of segment files without their repository.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::program::{Ended, kbk, run};
use crate::world::World;

/// Copies segments of orders/0 to a folder, and returns their paths.
fn copies(world: &World) -> Vec<String> {
    let entries = world.entries("orders", 0);
    let copy = |(number, entry): (usize, &kbk_format::repo::SegmentEntry)| {
        let copy = world.folder.path().join(format!("{number}.kseg"));
        fs::copy(world.path(&entry.key), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    };
    entries.iter().enumerate().map(copy).collect()
}

fn harm(file: &str, harm: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    harm(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn offsets(ended: &Ended) -> Vec<i64> {
    let lines = ended.stdout.lines();
    let offset = |line: &str| line.split(' ').next().unwrap().parse().unwrap();
    lines.map(offset).collect()
}

#[test]
fn files_print_what_their_repository_prints() {
    let world = World::sample();
    let files = copies(&world);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    for args in [
        &[][..],
        &["--reverse"],
        &["--reverse", "-n", "250"],
        &["--from-offset", "150", "--to-offset", "420"],
        &["--since", "@3", "--until", "@5", "--reverse"],
        &["--key", "key-7", "--key", "key-399"],
        &["--format", "csv"],
    ] {
        let of_files = run(&[&["cat"], &files[..], args].concat());
        let of_topic = world.kbk(&[&["cat", "orders/0"], args].concat());
        assert_eq!((of_files.code, &*of_files.stderr), (Some(0), ""));
        assert!(!of_topic.stdout.is_empty());
        assert_eq!(of_files.stdout, of_topic.stdout, "{args:?}");
    }
    let document = run(&["cat", files[1], "--json", "--offset", "-1"]).json();
    assert_eq!(
        document["records"][0]["offset"], 399,
        "the last of that file"
    );
    assert_eq!(document["verdict"], "ok");
    let none = run(&["cat", files[1], "--offset", "400"]);
    assert_eq!((none.code, &*none.stdout), (Some(0), ""));
    let says = "1.kseg has the offsets 200 to 400 (exclusive)";
    assert!(none.stderr.contains(says), "{}", none.stderr);
}

#[test]
fn the_name_decides_whatever_repository_is_given() {
    let world = World::new();
    let rows = |from: i64| (from..from + 3).map(|offset| (offset, 1)).collect();
    world.backup(&[("a.kseg", 0, vec![rows(0)]), ("other", 0, vec![rows(10)])]);
    let file = world.folder.path().join("a.kseg");
    fs::copy(world.path(&world.entries("other", 0)[0].key), &file).unwrap();
    // In a folder with files of the names of topics.
    fs::copy(&file, world.folder.path().join("other")).unwrap();
    let cat = |operand: &str| {
        let mut command = kbk(&["cat", operand, "-f", "%o\\n"]);
        command.env("KBK_REPO", world.path(""));
        command.current_dir(world.folder.path());
        finished(command)
    };
    assert_eq!(offsets(&cat("a.kseg")), [10, 11, 12], "the file");
    assert_eq!(offsets(&cat("./other")), [10, 11, 12], "the file");
    assert_eq!(offsets(&cat("other")), [10, 11, 12], "the topic");
    let snapshot = world.latest();
    let id = snapshot.topics[0].topic_id.to_string();
    for topic in [&format!("a.kseg@{}", &id[..8]), "/a\\.kseg/", "a.kseg/0"] {
        assert_eq!(offsets(&cat(topic)), [0, 1, 2], "{topic}");
    }
    fs::remove_file(file).unwrap();
    let missing = cat("a.kseg");
    assert_eq!(missing.code, Some(1));
    assert!(missing.stderr.contains("NAME@ID"), "{}", missing.stderr);
    let mut verify = kbk(&["verify", "other", "--json"]);
    verify.env("KBK_REPO", world.path(""));
    verify.current_dir(world.folder.path());
    let document = finished(verify).json();
    assert_eq!(document["repository"], Value::Null);
    assert_eq!(document["files"][0]["file"], "other");
}

fn finished(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn damage_in_a_file_is_left_out_by_cat_and_is_a_finding_of_verify() {
    let world = World::sample();
    let files = copies(&world);
    harm(&files[1], |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let cat = |args: &[&str]| {
        let ended = run(&[&["cat", "-f", "%o %s\\n"], &files[..], args].concat());
        assert_eq!(ended.code, Some(3));
        assert!(ended.stderr.contains("1.kseg"), "{}", ended.stderr);
        offsets(&ended)
    };
    let (up, mut down) = (cat(&[]), cat(&["--reverse"]));
    down.reverse();
    assert_eq!(up, down);
    assert!((400..600).contains(&up.len()), "{}", up.len());
    assert!(up.is_sorted() && up[0] == 0 && up[up.len() - 1] == 599);

    for args in [&[][..], &["--full"]] {
        let ended = run(&[&["verify"], &files[..], args].concat());
        assert_eq!(ended.code, Some(3));
        assert!(
            ended
                .stdout
                .contains("\n\ndamaged block, orders/0, offsets ")
                && ended.stdout.contains("600 records in 3 files")
                && ended.stdout.contains("1 finding\n"),
            "{}",
            ended.stdout
        );
    }
    let document = run(&[&["verify", "--json"], &files[..]].concat()).json();
    assert_eq!(document["verdict"], "findings");
    let states: Vec<bool> = document["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["intact"].as_bool().unwrap())
        .collect();
    assert_eq!(states, [true, false, true]);
    assert_eq!(document["findings"][0]["kind"], "damaged_block");
    let finding = &document["findings"][0];
    assert_eq!(finding["key"], files[1]);
    let topic_id = &document["files"][1]["topic_id"];
    assert!(topic_id.is_string());
    assert_eq!(
        (
            &finding["topic"],
            &finding["topic_id"],
            &finding["partition"]
        ),
        (&json!("orders"), topic_id, &json!(0))
    );
}

#[test]
fn verify_says_what_a_file_cannot_prove() {
    let world = World::sample();
    let file = copies(&world).remove(2);
    for full in [&[][..], &["--full"]] {
        let ended = run(&[&["verify", &file], full].concat());
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        let verdict = match full.is_empty() {
            true => "every byte is intact",
            false => "every byte and every record is intact",
        };
        assert!(ended.stdout.contains(verdict), "{}", ended.stdout);
        assert!(
            ended
                .stdout
                .contains("\nnot verified: without a repository")
        );
    }
    let document = run(&["verify", &file, "--json"]).json();
    let found = &document["files"][0];
    let expected =
        json!({ "topic": "orders", "partition": 0, "from": 400, "end": 600, "records": 200 });
    let found = json!({
        "topic": found["topic"], "partition": found["partition"], "from": found["base_offset"],
        "end": found["end_offset"], "records": found["records"],
    });
    assert_eq!(found, expected);
    assert_eq!(document["compared_with_repository"], false);
    assert_eq!(document["verdict"], "ok");
}

#[test]
fn a_file_that_was_cut_off_says_how_far_it_reaches() {
    let world = World::sample();
    let file = copies(&world).remove(1);
    harm(&file, |bytes| bytes.truncate(bytes.len() * 2 / 3));
    let ended = run(&["verify", &file, "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let finding = &ended.json()["findings"][0];
    assert_eq!(finding["kind"], "damaged_segment");
    let message = finding["message"].as_str().unwrap();
    assert!(message.contains("its blocks reach to offset "), "{message}");
    assert_eq!(ended.json()["files"][0]["end_offset"], Value::Null);
    // Which blocks are left is said, and what writes a segment of them.
    let proved = ended.json()["files"][0]["proved"].clone();
    let (blocks, records) = (&proved["blocks"], &proved["records"]);
    let says =
        format!("a scan finds {blocks} intact blocks, with {records} records: offsets 200 to ");
    assert!(message.contains(&says), "{message}");
    assert_eq!(proved["offsets"][0]["base_offset"], 200);
    let recover = format!("kbk recover {file} -o ");
    let next_step = finding["next_step"].as_str().unwrap();
    assert!(next_step.starts_with(&recover), "{next_step}");
    let new = world.folder.path().join("new.kseg");
    let recovered = run(&["recover", &file, "-o", new.to_str().unwrap(), "--json"]);
    assert_eq!(recovered.code, Some(3), "{}", recovered.stderr);
    let printed = run(&["cat", new.to_str().unwrap(), "-f", "%o\\n"]);
    assert_eq!(offsets(&printed).len() as u64, records.as_u64().unwrap());
    // Its header, which is intact, says what it is of.
    let document = ended.json();
    for said in [&document["files"][0], finding] {
        assert_eq!(
            (&said["topic"], &said["partition"]),
            (&json!("orders"), &json!(0))
        );
    }
    let ended = run(&["cat", &file]);
    assert_eq!((ended.code, &*ended.stdout), (Some(3), ""));
    assert!(
        ended.stderr.contains("it is damaged") && ended.stderr.contains("kbk inspect"),
        "{}",
        ended.stderr
    );
}

/// Neither its beginning nor its end says that it is a segment, but its blocks do.
#[test]
fn blocks_are_looked_for_in_a_file_without_beginning_and_end() {
    let world = World::sample();
    let file = copies(&world).remove(1);
    harm(&file, |bytes| {
        bytes[..16].fill(0);
        bytes.truncate(bytes.len() - 10);
    });
    let ended = run(&["verify", &file, "--json"]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    let finding = &document["findings"][0];
    assert_eq!(finding["kind"], "damaged_segment");
    assert_eq!(document["files"][0]["proved"]["records"], 200);
    let next_step = finding["next_step"].as_str().unwrap();
    assert!(next_step.starts_with("kbk recover "), "{next_step}");
}

#[test]
fn what_is_not_a_segment_file_is_named_and_refused_alone() {
    let world = World::sample();
    let file = copies(&world).remove(0);
    let at = |name: &str| world.folder.path().join(name).to_str().unwrap().to_owned();
    let (letter, folder) = (at("letter.kseg"), at("folder.kseg"));
    fs::write(&letter, "dear").unwrap();
    fs::create_dir(&folder).unwrap();
    for (operand, says) in [
        (
            &*letter,
            "is not a segment: it neither begins nor ends as one",
        ),
        (&folder, "it is not a regular file"),
        (&at("none.kseg"), "No such file"),
        ("/dev/null", ""),
    ] {
        if operand.ends_with(".kseg") {
            // The others are printed and searched, in either order; alone, it is an error.
            for files in [[&*file, operand], [operand, &file]] {
                for command in ["cat", "grep"] {
                    let ended = run(&[&[command, "-f", "%o\\n"], &files[..]].concat());
                    assert_eq!(ended.code, Some(3), "{command} {operand}");
                    let named = format!("ed: {operand}: ");
                    assert!(ended.stderr.contains(&named), "{}", ended.stderr);
                    assert!(ended.stderr.contains(says), "{}", ended.stderr);
                    assert_eq!(offsets(&ended), Vec::from_iter(0..200), "{operand}");
                    let document = run(&[&[command, "--json"], &files[..]].concat()).json();
                    let unread = match command {
                        "cat" => &document["unprinted"],
                        _ => &document["unsearched"],
                    };
                    assert_eq!(unread[0]["name"], operand);
                    assert_eq!(unread.as_array().map(Vec::len), Some(1));
                }
            }
            for command in ["cat", "grep"] {
                let ended = run(&[command, operand]);
                assert_eq!((ended.code, &*ended.stdout), (Some(1), ""), "{operand}");
                assert!(ended.stderr.contains(says), "{}", ended.stderr);
                assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
            }
        }
        // Every operand is reported.
        let ended = run(&["verify", &file, operand, "--json"]);
        assert_eq!(ended.code, Some(3), "{operand}: {}", ended.stderr);
        let report = ended.json();
        let intact = |at: usize| report["files"][at]["intact"].clone();
        assert_eq!(
            (intact(0), intact(1)),
            (json!(true), json!(false)),
            "{operand}"
        );
        assert_eq!(report["findings"][0]["key"], operand);
        let kind = if operand == letter {
            "not_a_segment"
        } else {
            "unreadable"
        };
        assert_eq!(report["findings"][0]["kind"], kind);
        let text = run(&["verify", operand, &file]).stdout;
        let state = if operand == letter {
            "damaged"
        } else {
            "not read"
        };
        assert!(text.contains(state) && text.contains("  intact "), "{text}");
        let alone = run(&["verify", operand]);
        let code = if operand == letter { 3 } else { 1 };
        assert_eq!(alone.code, Some(code), "{operand}: {}", alone.stderr);
    }
    let none = run(&["verify", &folder, &at("none.kseg")]);
    assert_eq!((none.code, &*none.stdout), (Some(1), ""));
    let ended = run(&["cat", "-"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("standard input"), "{}", ended.stderr);
    for option in [
        &["--topic", "x"][..],
        &["--snapshot", "1"],
        &["--accept-replaced"],
    ] {
        let ended = run(&[&["verify", &file], option].concat());
        assert_eq!(ended.code, Some(2), "{option:?}");
    }
    // What the configuration file says of repositories gives way.
    let config = at("kbk.toml");
    fs::write(&config, "[verify]\nsnapshot = \"3\"\ntopic = \"x\"\n").unwrap();
    let ended = run(&["verify", &file, "--config", &config]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

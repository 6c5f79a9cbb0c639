//! `kbk recover` of segment files, and in a repository.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::program::run;
use crate::world::World;

/// Copies a segment of orders/0, with its bytes changed, and returns the path of the copy and that of a new file beside it.
fn copy(world: &World, name: &str, harm: impl FnOnce(&mut Vec<u8>)) -> (String, String) {
    let entry = world.entries("orders", 0).remove(1);
    let mut bytes = fs::read(world.path(&entry.key)).unwrap();
    harm(&mut bytes);
    let file = world.folder.path().join(format!("{name}.kseg"));
    fs::write(&file, bytes).unwrap();
    let new = world.folder.path().join(format!("{name}-new.kseg"));
    (
        file.to_str().unwrap().to_owned(),
        new.to_str().unwrap().to_owned(),
    )
}

#[test]
fn a_damaged_batch_is_named_and_the_others_of_its_block_are_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/broken/v1");
    let file = fixtures.join("batches-flip-in-a-batch.kseg");
    let new = folder.path().join("new.kseg");
    let ended = run(&[
        "recover",
        file.to_str().unwrap(),
        "-o",
        new.to_str().unwrap(),
    ]);
    assert_eq!((ended.code, &*ended.stderr), (Some(3), ""));
    let stdout = &ended.stdout;
    assert!(
        stdout.starts_with("recovered 12 records of 14: 2 records lost, in 1 range of 2 offsets"),
        "{stdout}"
    );
    assert!(stdout.contains("their batch is damaged"), "{stdout}");
    let blocks = "3 intact blocks, and the intact batches of 1 damaged block;";
    assert!(stdout.contains(blocks), "{stdout}");
}

#[test]
fn a_damaged_block_is_named_and_the_others_are_recovered() {
    let world = World::sample();
    let (file, new) = copy(&world, "damaged", |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let report = world.folder.path().join("lost.json");
    let report = report.to_str().unwrap();
    let ended = run(&["recover", &file, "-o", &new, "--report", report]);
    assert_eq!((ended.code, &*ended.stderr), (Some(3), ""));
    let first = ended.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("recovered ") && first.contains(" of 200: ") && first.contains(" lost"),
        "{first}"
    );
    let saved: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let (records, lost) = (&saved["records"], &saved["lost_records"]);
    assert_eq!(records.as_u64().unwrap() + lost.as_u64().unwrap(), 200);
    assert_eq!(saved["losses"][0]["reason"], "damaged_block");
    assert_eq!(saved["complete"], false);

    let verified = run(&["verify", "--full", &new, "--json"]);
    assert_eq!(verified.code, Some(3), "{}", verified.stdout);
    let verified = verified.json();
    assert_eq!(verified["records"], *records);
    assert_eq!(verified["files"][0]["intact"], false);
    let damaged = &verified["files"][0]["damaged_offsets"];
    assert_eq!(damaged, &saved["lost_offsets"]);
    let (finding, loss) = (&verified["findings"][0], &saved["losses"][0]);
    assert_eq!(finding["kind"], "lost_to_damage");
    for end in ["base_offset", "end_offset"] {
        assert_eq!(finding["offsets"][end], loss[end]);
    }
    for (args, code, state, severity) in [
        (&[][..], 3, " lacks records ", ""),
        (&["--accept-lost"], 0, " lacks records ", "accepted: "),
    ] {
        let ended = run(&[&["verify", &new], args].concat());
        assert_eq!(ended.code, Some(code), "{}", ended.stdout);
        let said = format!("\n{severity}lost to damage, orders/0, offsets ");
        assert!(
            ended.stdout.contains(state) && ended.stdout.contains(&said),
            "{}",
            ended.stdout
        );
        assert!(!ended.stdout.contains("damaged block"), "{}", ended.stdout);
    }
    let accepted = run(&["verify", "--accept-lost", &new, "--json"]).json();
    assert_eq!(accepted["files"][0]["intact"], true);
    let inspected = run(&["inspect", &new, "--json"]).json();
    assert_eq!(inspected["footer"]["gaps"][0]["reason"], "damaged");
    let printed = run(&["cat", &new, "-f", "%o\\n"]);
    let printed = printed.stdout.lines().count() as u64;
    assert_eq!(printed, records.as_u64().unwrap());

    let again = run(&["recover", &file, "-o", &new]);
    assert_eq!((again.code, &*again.stdout), (Some(1), ""));
    assert!(again.stderr.contains("it exists"), "{}", again.stderr);
    let dry = run(&["recover", &file, "-o", report, "--dry-run"]);
    assert_eq!(dry.code, Some(1), "an existing file is refused in any case");
}

#[test]
fn an_intact_file_loses_nothing_and_a_cut_one_says_that_more_may_be_lost() {
    let world = World::sample();
    let (file, new) = copy(&world, "intact", |_| {});
    let ended = run(&["recover", &file, "-o", &new]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended
            .stdout
            .starts_with("recovered all 200 records: nothing is lost\n"),
        "{}",
        ended.stdout
    );
    let (file, new) = copy(&world, "cut", |bytes| bytes.truncate(bytes.len() * 2 / 3));
    let ended = run(&["recover", &file, "-o", &new]);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("where it ended is not known"),
        "{}",
        ended.stdout
    );
    let json = run(&[
        "recover",
        &file,
        "-o",
        &format!("{new}2"),
        "--dry-run",
        "--json",
    ]);
    let json = json.json();
    assert_eq!(json["verdict"], "findings");
    assert_eq!(
        (&json["output"], &json["dry_run"]),
        (&Value::Null, &Value::Bool(true))
    );
    assert_eq!(json["end"]["is_proved"], false);
}

#[test]
fn what_is_no_segment_is_refused_and_nothing_is_written() {
    let world = World::sample();
    let (file, new) = copy(&world, "zeros", |bytes| bytes.fill(0));
    let ended = run(&["recover", &file, "-o", &new]);
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(ended.stderr.contains("of a segment"), "{}", ended.stderr);
    assert!(fs::metadata(&new).is_err());
    for arguments in [
        &["recover", &file][..],
        &["recover", "-o", &new],
        &["recover", &file, "-o", &new, "--as", "x"],
        &["recover", &file, "-o", &new, "--topic", "orders"],
        &["recover", &file, "-o", &new, "--from", "/elsewhere"],
        &["recover", &file, "-o", "-"],
    ] {
        assert_eq!(run(arguments).code, Some(2), "{arguments:?}");
    }
}

#[test]
fn a_report_replaces_nothing_but_a_report() {
    let world = World::sample();
    let (file, new) = copy(&world, "intact", |_| {});
    let report = world.folder.path().join("report.json");
    fs::write(&report, "mine").unwrap();
    let ended = run(&[
        "recover",
        &file,
        "-o",
        &new,
        "--report",
        report.to_str().unwrap(),
    ]);
    assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
    assert!(
        ended.stderr.contains("is something else"),
        "{}",
        ended.stderr
    );
    assert_eq!(fs::read_to_string(&report).unwrap(), "mine");
    assert!(fs::metadata(&new).is_err());
    fs::remove_file(&report).unwrap();
    for _ in 0..2 {
        let args = [
            "recover",
            &file,
            "-o",
            &new,
            "--report",
            report.to_str().unwrap(),
        ];
        assert_eq!(run(&args).code, Some(0));
        fs::remove_file(&new).unwrap();
    }
}

#[test]
fn a_name_that_only_the_caller_gave_is_called_unproved() {
    let world = World::sample();
    // Neither the file header nor its copy in the footer is left.
    let (file, new) = copy(&world, "headless", |bytes| {
        bytes[..64].fill(0);
        bytes.truncate(bytes.len() / 2);
    });
    let args = ["recover", &file, "-o", &new, "--as", "orders/7"];
    let ended = run(&args);
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let said = "that it is of orders/7 is what --as says";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    let (file, new) = copy(&world, "intact", |_| {});
    let args = ["recover", &file, "-o", &new, "--as", "orders/0", "--json"];
    let proved = run(&args).json();
    assert_eq!(proved["segment"]["partition_unproved"], false);
}

/// Damages the block in the middle of the second segment of orders/0, and returns the segment's key.
fn damage(world: &World) -> String {
    let key = world.entries("orders", 0).remove(1).key;
    world.harm(&key, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    key
}

/// Copies a repository to another folder.
fn copy_of(world: &World) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for key in world.keys() {
        let to = copy.path().join(&key);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(world.path(&key), to).unwrap();
    }
    copy
}

#[test]
fn a_damaged_repository_is_recovered_and_what_is_lost_is_said_everywhere() {
    let world = World::sample();
    let key = damage(&world);
    let harmed = fs::read(world.path(&key)).unwrap();
    let keys = world.keys();
    let sequence = world.latest().sequence;
    assert_eq!(world.kbk(&["verify"]).code, Some(3));
    let planned = world.kbk(&["recover", "--dry-run", "--json"]);
    assert_eq!(planned.code, Some(3), "{}", planned.stderr);
    assert_eq!(planned.json()["snapshot"], Value::Null);
    let asked = world.kbk(&["recover"]);
    assert_eq!(asked.code, Some(2), "{}", asked.stderr);
    assert!(asked.stderr.contains("no terminal"), "{}", asked.stderr);
    assert_eq!(world.keys(), keys, "nothing was written so far");

    let report = world.folder.path().join("lost.json");
    let report = report.to_str().unwrap();
    let done = world.kbk(&["recover", "--yes", "--report", report]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let first = done.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("recovered ") && first.contains(" lost, at "),
        "{first}"
    );
    assert_eq!(
        fs::read(world.path(&key)).unwrap(),
        harmed,
        "the old object stays"
    );
    let saved: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    for name in ["records", "lost_records", "lost_offsets"] {
        assert_eq!(saved[name], planned.json()[name], "{name}");
    }
    assert_eq!(saved["snapshot"], sequence + 1);
    let row = &saved["recovered"][0];
    assert_eq!(row["key"], Value::from(key));
    assert_eq!(row["losses"][0]["reason"], "damaged_block");
    let (records, lost) = (saved["records"].as_u64(), saved["lost_records"].as_u64());
    let (records, lost) = (records.unwrap(), lost.unwrap());
    assert!(records + lost == 200 && lost > 0, "{saved}");

    for depth in ["blocks", "records", "hash"] {
        let verified = world.kbk(&["verify", "--depth", depth, "--json"]);
        assert_eq!(verified.code, Some(3));
        let verified = verified.json();
        assert_eq!(verified["findings"].as_array().unwrap().len(), 1);
        assert_eq!(verified["findings"][0]["kind"], "lost_to_damage");
        assert_eq!(verified["damaged_offsets"], saved["lost_offsets"]);
        assert_eq!(verified["missing_offsets"], saved["lost_offsets"]);
        assert_eq!(verified["partial_snapshots"][0], sequence + 1);
    }
    let accepted = world.kbk(&["verify", "--accept-lost"]);
    assert_eq!(accepted.code, Some(0), "{}", accepted.stdout);
    let partial = format!("snapshot {} is partial: ", sequence + 1);
    let why = "since segments were damaged";
    for args in [
        &["ls"][..],
        &["ls", "orders"],
        &["snapshots"],
        &["groups", "list"],
    ] {
        let listed = world.kbk(args);
        let first = listed.stdout.lines().next().unwrap();
        assert!(first.contains(&partial) && first.contains(why), "{first}");
    }
    let printed = world.kbk(&["cat", "orders/0"]);
    assert_eq!(printed.code, Some(3));
    assert!(printed.stderr.contains(why), "{}", printed.stderr);
    assert_eq!(printed.stdout.lines().count() as u64, 400 + records);
    // What is not damaged is not called so.
    let printed = world.kbk(&["cat", "orders/0", "--to-offset", "200"]);
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    let out = world.folder.path().join("exported");
    let exported = world.kbk(&[
        "export",
        "--format",
        "jsonl",
        out.to_str().unwrap(),
        "orders",
    ]);
    assert_eq!(exported.code, Some(3), "{}", exported.stderr);
    let compared = world.kbk(&["diff", &sequence.to_string(), &(sequence + 1).to_string()]);
    assert_eq!(compared.code, Some(3));
    assert!(compared.stdout.contains(why), "{}", compared.stdout);

    // The snapshots before name the damaged segment, and are whole no more; the first one does not have it.
    let named = |number: u64| {
        let arguments = ["ls", "--snapshot", &number.to_string(), "--json"];
        let listed = world.kbk(&arguments).json();
        (listed["complete"].clone(), listed["incomplete"].clone())
    };
    let (complete, incomplete) = named(sequence);
    assert_eq!(complete, false);
    assert_eq!(incomplete[0]["reason"], "damaged");
    let detail = incomplete[0]["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("replaced them, after snapshot {sequence}")),
        "{detail}"
    );
    let listed = world.kbk(&["snapshots", "--json"]).json();
    let mut whole = None;
    for row in listed["snapshots"].as_array().unwrap() {
        let number = row["sequence"].as_u64().unwrap();
        assert_eq!(row["complete"], named(number).0, "{row}");
        if row["complete"] == true {
            whole = Some(number);
        }
    }
    let status = world.kbk(&["status", "--json", "--no-cluster"]).json();
    assert_eq!(
        status["newest_whole"]["sequence"].as_u64(),
        whole,
        "{status}"
    );
    let kept = world
        .kbk(&["forget", "--keep-last", "1", "--dry-run", "--json"])
        .json();
    for row in kept["snapshots"].as_array().unwrap() {
        let number = row["sequence"].as_u64().unwrap();
        assert_eq!(row["complete"], named(number).0, "{row}");
    }

    // Nothing is left to do, which commits nothing; what is lost stays a finding.
    let again = world.kbk(&["recover", "--yes"]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let first = again.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("nothing to recover: ") && first.contains("lost still"),
        "{first}"
    );
    assert_eq!(world.latest().sequence, sequence + 1);
}

#[test]
fn a_copy_makes_it_whole_again() {
    let world = World::sample();
    let copy = copy_of(&world);
    let from = copy.path().to_str().unwrap();
    damage(&world);
    let missing = world.entries("payments", 0).remove(0).key;
    fs::remove_file(world.path(&missing)).unwrap();
    let done = world.kbk(&["recover", "--from", from, "--json"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let done = done.json();
    assert_eq!(
        (&done["lost_offsets"], &done["damaged_offsets"]),
        (&0.into(), &0.into())
    );
    assert_eq!(done["recovered"].as_array().unwrap().len(), 2);
    for row in done["recovered"].as_array().unwrap() {
        let sources = row["sources"].as_array().unwrap();
        assert!(
            sources.iter().any(|it| it["repository"] != Value::Null),
            "{row}"
        );
    }
    let verified = world.kbk(&["verify", "--full"]);
    assert_eq!(verified.code, Some(0), "{}", verified.stdout);

    // Later is not too late.
    damage(&world);
    assert_eq!(world.kbk(&["recover", "--yes"]).code, Some(3));
    let done = world.kbk(&["recover", "--from", from]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    assert_eq!(world.kbk(&["verify", "--full"]).code, Some(0));

    let itself = world.path("");
    let refused = world.kbk(&["recover", "--from", itself.to_str().unwrap()]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn a_partial_snapshot_is_called_partial_where_nothing_is_damaged() {
    let world = World::sample();
    let copy = copy_of(&world);
    world.forge_partition("payments", 0, |partition| {
        partition["high_watermark"] = json!(400);
        partition["incomplete"] = json!({ "reason": "unreadable", "detail": "a batch is damaged" });
    });
    let from = copy.path().to_str().unwrap();
    for args in [
        &["recover"][..],
        &["recover", "--dry-run"],
        &["recover", "--from", from],
    ] {
        let ended = world.kbk(args);
        assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
        let first = ended.stdout.lines().next().unwrap();
        for part in [
            "nothing to recover: ",
            "none is damaged, but snapshot 2 is partial: 1 of ",
            "(1 unreadable): payments/0: a batch is damaged",
            "`kbk verify`",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        let json = world.kbk(&[args, &["--json"]].concat()).json();
        assert_eq!(
            (&json["verdict"], &json["complete"]),
            (&json!("findings"), &json!(false))
        );
        assert_eq!(json["incomplete"][0]["reason"], "unreadable");
        assert_eq!(json["lost_ranges"], json!([]));
    }
    let others = world.kbk(&["recover", "--topic", "orders"]);
    assert_eq!(others.code, Some(0), "{}", others.stdout);
    assert!(!others.stdout.contains("partial"), "{}", others.stdout);

    // What is recovered does not make it whole.
    damage(&world);
    let ended = world.kbk(&["recover", "--from", from]);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let first = ended.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("recovered ") && first.contains(", but snapshot 3 is partial: "),
        "{first}"
    );
}

#[test]
fn a_report_names_what_earlier_recoveries_lost_and_where_it_is_from() {
    let world = World::sample();
    let copy = copy_of(&world);
    damage(&world);
    let report = world.folder.path().join("lost.json");
    let report = report.to_str().unwrap();
    let saved = || serde_json::from_slice::<Value>(&fs::read(report).unwrap()).unwrap();
    assert_eq!(
        world.kbk(&["recover", "--yes", "--report", report]).code,
        Some(3)
    );
    let first = saved();
    let loss = &first["recovered"][0]["losses"][0];
    let named = json!([{
        "topic": "orders", "topic_id": first["recovered"][0]["topic_id"], "partition": 0,
        "base_offset": loss["base_offset"], "end_offset": loss["end_offset"],
    }]);
    assert_eq!(first["lost_ranges"], named);
    let again = world.kbk(&["recover", "--report", report]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let range = format!(
        "\norders/0: offsets {} to {} (exclusive) are stated as lost",
        loss["base_offset"], loss["end_offset"]
    );
    assert!(again.stdout.contains(&range), "{}", again.stdout);
    let second = saved();
    assert_eq!(second["lost_ranges"], named);
    assert_eq!(second["recovered"], json!([]));
    assert_eq!(
        (&first["verified_snapshot"], &first["snapshot"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(
        (&second["verified_snapshot"], &second["snapshot"]),
        (&json!(3), &json!(null))
    );
    let repository = world.path("");
    assert_eq!(second["repository"], json!(repository.to_str().unwrap()));
    let writer = second["writer"].as_str().unwrap();
    assert!(writer.contains(env!("CARGO_PKG_VERSION")), "{writer}");
    let time = second["time"].as_str().unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");

    let from = copy.path().to_str().unwrap();
    let would = world.kbk(&["recover", "--from", from, "--dry-run", "--json"]);
    assert_eq!(would.code, Some(0), "{}", would.stdout);
    let filled = world.kbk(&["recover", "--from", from, "--report", report]);
    assert_eq!(filled.code, Some(0), "{}", filled.stdout);
    assert_eq!(saved()["lost_ranges"], json!([]));
}

#[test]
fn objects_that_are_gone_are_not_called_still_there() {
    let said = "the damaged objects are still there";
    let world = World::sample();
    let missing = world.entries("payments", 0).remove(0).key;
    fs::remove_file(world.path(&missing)).unwrap();
    let done = world.kbk(&["recover", "--yes"]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    assert!(done.stdout.starts_with("recovered "), "{}", done.stdout);
    assert!(!done.stdout.contains(said), "{}", done.stdout);
    damage(&world);
    let done = world.kbk(&["recover", "--yes"]);
    assert!(done.stdout.contains(said), "{}", done.stdout);
}

#[test]
fn metrics_say_that_the_recovered_snapshot_lacks_records() {
    let world = World::sample();
    let lost = world.entries("orders", 0).remove(1);
    fs::remove_file(world.path(&lost.key)).unwrap();
    let metrics = world.folder.path().join("recover.prom");
    let to_file = ["--metrics-textfile", metrics.to_str().unwrap()];
    let ended = world.kbk(&[&["recover", "--yes"], &to_file[..]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let text = fs::read_to_string(metrics).unwrap();
    let of = |name: &str| {
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with(name) && line.contains("\"recover\""));
        let value = found.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name}: {text}"))
    };
    assert_eq!(of("kbk_last_commit_snapshot"), 3.0, "{text}");
    assert_eq!(of("kbk_last_commit_complete"), 0.0, "{text}");
    assert!(of("kbk_bytes_read_total") > 0.0, "{text}");
}

#[test]
fn nothing_is_done_where_two_options_name_one_file() {
    let world = World::sample();
    let (file, new) = copy(&world, "whole", |_| {});
    let refused = run(&["recover", &file, "-o", &new, "--report", &new]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let says = "-o/--output and --report name the same file, ";
    assert!(refused.stderr.contains(says), "{}", refused.stderr);
    assert!(!fs::exists(&new).unwrap());
}

#[test]
fn a_copy_that_has_nothing_more_says_why() {
    let world = World::sample();
    let key = damage(&world);
    let copy = copy_of(&world);
    let from = copy.path().to_str().unwrap();
    let at_once = world.kbk(&["recover", "--from", from, "--dry-run"]);
    assert_eq!(at_once.code, Some(3), "{}", at_once.stderr);
    let why = format!("{key} of {from} is damaged at ");
    assert!(at_once.stdout.contains(&why), "{}", at_once.stdout);

    // What was lost before is not filled, either.
    assert_eq!(world.kbk(&["recover", "--yes"]).code, Some(3));
    let again = world.kbk(&["recover", "--from", from]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let why = format!("{key} of {from} was not used: what is lost here was lost or removed there");
    assert!(again.stdout.contains(&why), "{}", again.stdout);

    fs::remove_file(copy.path().join(&key)).unwrap();
    let gone = world.kbk(&["recover", "--from", from, "--json"]);
    assert_eq!(gone.code, Some(3), "{}", gone.stderr);
    let not_taken = gone.json()["not_taken"][0].as_str().unwrap().to_owned();
    let why = format!("{key} of {from} was not used: it is missing there");
    assert_eq!(not_taken, why);
}

#[test]
fn what_to_do_leads_somewhere() {
    let world = World::sample();
    let missing = world.entries("orders", 0).remove(1).key;
    let bytes = fs::read(world.path(&missing)).unwrap();
    fs::remove_file(world.path(&missing)).unwrap();
    let verified = world.kbk(&["verify", "--json"]).json();
    let hint = verified["findings"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("`kbk recover`"), "{hint}");
    fs::write(world.path(&missing), bytes).unwrap();

    // A recovery cannot use another snapshot.
    let tables = world.keys();
    let tables: Vec<&String> = tables
        .iter()
        .filter(|key| key.starts_with("index/"))
        .collect();
    assert!(!tables.is_empty());
    for table in tables {
        let bytes = fs::read(world.path(table)).unwrap();
        fs::remove_file(world.path(table)).unwrap();
        let done = world.kbk(&["recover", "--dry-run"]);
        let said = format!("{}{}", done.stdout, done.stderr);
        assert_ne!(done.code, Some(0), "{said}");
        for word in ["another snapshot", "an older snapshot"] {
            assert!(!said.contains(word), "{said}");
        }
        assert!(
            said.contains("a recovery needs the newest snapshot and its index"),
            "{said}"
        );
        fs::write(world.path(table), bytes).unwrap();
    }
}

#[test]
fn swapped_segments_are_recovered_and_named() {
    let world = World::sample();
    let [first, second] = [0, 1].map(|at| world.entries("orders", 0).remove(at).key);
    let [one, other] = [&first, &second].map(|key| fs::read(world.path(key)).unwrap());
    fs::write(world.path(&first), other).unwrap();
    fs::write(world.path(&second), one).unwrap();
    let done = world.kbk(&["recover"]);
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let named = format!(" of {first} from {second}, which has the name of another segment");
    assert!(done.stdout.contains(&named), "{}", done.stdout);
    assert_eq!(world.kbk(&["verify", "--full"]).code, Some(0));
}

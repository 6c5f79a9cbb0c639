//! `kbk recover` of segment files.

use std::fs;

use serde_json::Value;

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
        let said = format!("\n{severity}lost to damage, offsets ");
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
        &["recover"][..],
        &["recover", &file],
        &["recover", &file, "-o", &new, "--as", "x"],
    ] {
        assert_eq!(run(arguments).code, Some(2), "{arguments:?}");
    }
}

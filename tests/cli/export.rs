//! `kbk export`: what it says of what it does not write.

use kbk_format::Segment;
use serde_json::{Value, json};

use crate::program::Ended;
use crate::world::World;

#[test]
fn an_export_without_damaged_records_is_not_called_complete() {
    let world = World::sample();
    let damaged = world.entries("orders", 0)[1].clone();
    world.flip(&damaged.key, 400);
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    let export = ["export", "--format", "jsonl", out, "--json"];
    let of_others = world.kbk(&[&export[..], &["payments"]].concat());
    assert_eq!(of_others.code, Some(0), "{}", of_others.stderr);
    assert_eq!(of_others.json()["complete"], true);
    let ended = world.kbk(&[&export[..], &["orders"]].concat());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let document = ended.json();
    assert_eq!(document["findings"][0]["kind"], "damaged_records");
    assert_eq!(
        (&document["complete"], &document["incomplete"]),
        (&json!(false), &json!([])),
        "{document}"
    );
}

#[test]
fn offsets_that_nothing_has_are_warned_of() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    let export = ["export", "--format", "jsonl", out, "orders"];
    let ended = world.kbk(&[&export[..], &["--from-offset", "99999"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let says = "no record is selected: no partition has any of these offsets and times";
    assert!(ended.stderr.contains(says), "{}", ended.stderr);
}

#[test]
fn a_dry_run_counts_exactly_and_writes_nothing() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let folder = out.to_str().unwrap();
    for format in ["jsonl", "kafka-log", "parquet"] {
        for selection in [&[][..], &["--since", "@2005ms", "--to-offset", "-7"]] {
            let export = ["export", folder, "orders", "--format", format, "--json"];
            let export = [&export[..], selection].concat();
            let planned = world.kbk(&[&export[..], &["--dry-run"]].concat());
            assert_eq!(planned.code, Some(0), "{}", planned.stderr);
            assert!(!out.exists());
            let planned = planned.json();
            let done = world.kbk(&export);
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            let done = done.json();
            let dry = (&planned["dry_run"], &done["dry_run"]);
            assert_eq!(dry, (&json!(true), &json!(false)));
            let counts = |document: &Value| -> Vec<Value> {
                let rows = document["partitions"].as_array().unwrap().iter();
                let of = |row: &Value| {
                    let members = ["name", "records", "base_offset", "end_offset"];
                    members.map(|member| row[member].clone()).to_vec().into()
                };
                rows.map(of).collect()
            };
            assert_eq!(counts(&planned), counts(&done), "{format} {selection:?}");
            assert!(done["records"].as_u64() > Some(0));
            let refused = world.kbk(&[&export[..], &["--dry-run"]].concat());
            assert_eq!(refused.code, Some(2), "{}", refused.stderr);
            std::fs::remove_dir_all(&out).unwrap();
        }
    }
    let shown = world.kbk(&["export", folder, "orders", "-f", "parquet", "--dry-run"]);
    let first = shown.stdout.lines().next().unwrap();
    let says = "would export 2 partitions of snapshot 2 to ";
    assert!(first.starts_with(says), "{first}");
    let says = "1,200 records, counted and not read";
    assert!(first.ends_with(says), "{first}");
}

/// Returns the exit code, the number of records, and the kinds and offsets of findings.
fn found(ended: &Ended) -> (Option<i32>, Value, Vec<Value>) {
    let document = ended.json();
    let findings = document["findings"].as_array().unwrap().iter();
    let findings = findings.map(|it| json!([it["kind"], it["partition"], it["offsets"]]));
    (ended.code, document["records"].clone(), findings.collect())
}

#[test]
fn a_dry_run_counts_and_names_what_the_export_will() {
    let world = World::sample();
    let [first, second] = [0, 1].map(|number| world.entries("orders", 0)[number].clone());
    let gone = world.entries("orders", 1)[2].clone();
    // Within the footer, within the header of a block that is cut, and all of a segment.
    let footer = (second.key.as_str(), second.size as usize - 100);
    let bytes = std::fs::read(world.path(&first.key)).unwrap();
    let blocks = Segment::open_whole(&bytes).unwrap().index().range(0..1);
    let cut_block = (first.key.as_str(), blocks.unwrap().start as usize + 40);
    std::fs::remove_file(world.path(&gone.key)).unwrap();
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    for (key, position) in [footer, cut_block] {
        world.flip(key, position);
        for selection in [&[][..], &["--from-offset", "3", "--to-offset", "-7"]] {
            let export = ["export", out, "orders", "-f", "jsonl", "--json"];
            let export = [&export[..], selection].concat();
            let planned = world.kbk(&[&export[..], &["--dry-run"]].concat());
            let done = world.kbk(&export);
            assert_eq!(planned.json()["complete"], false);
            assert_eq!(done.json()["unread_records"], 0);
            let (code, records, findings) = found(&done);
            let is_read = !selection.is_empty() || (key, position) == footer;
            if is_read {
                assert_eq!(found(&planned), (code, records.clone(), findings));
                assert_eq!(planned.json()["unread_records"], records);
            } else {
                // The blocks were not read, which is what it says.
                let unread = planned.json()["unread_records"].as_u64().unwrap();
                assert!(Some(unread) > records.as_u64() && planned.code == Some(3));
            }
            std::fs::remove_dir_all(out).unwrap();
        }
        world.flip(key, position);
    }
    let shown = world.kbk(&["export", out, "payments", "-f", "parquet", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let second = shown.stdout.lines().nth(1).unwrap();
    assert!(
        second.starts_with("whether they are intact is not known: "),
        "{second}"
    );
}

#[test]
fn folders_of_dates_that_go_are_named() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let place = out.join("topic=orders/partition=0");
    let dates = ["1969-12-31", "1970-01-01", "2026-11-28"].map(|date| format!("date={date}"));
    let put = || {
        for date in &dates {
            std::fs::create_dir_all(place.join(date)).unwrap();
            std::fs::write(place.join(date).join("old.parquet"), "").unwrap();
        }
    };
    put();
    let by_date = ["--partition-by", "topic,partition,date", "--overwrite"];
    let export = ["export", out.to_str().unwrap(), "orders/0", "-f", "parquet"];
    let export = [&export[..], &by_date].concat();
    let planned = world.kbk(&[&export[..], &["--dry-run"]].concat());
    assert_eq!(planned.code, Some(0), "{}", planned.stderr);
    let range = "2 folders (topic=orders/partition=0/date=1969-12-31 to topic=orders/partition=0/date=2026-11-28)";
    for says in [
        format!("{range} would be removed, and any other without a selected record"),
        "would be replaced as a whole, if all selected records can be read: 1 partition\n"
            .to_owned(),
    ] {
        assert!(planned.stdout.contains(&says), "{says}: {}", planned.stdout);
    }
    assert!(place.join(&dates[0]).exists());
    let done = world.kbk(&export);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(
        done.stderr.contains(&format!("{range} go with it")),
        "{}",
        done.stderr
    );
    assert!(
        done.stdout.contains(&format!("{range} removed")),
        "{}",
        done.stdout
    );
    put();
    for dry_run in [&["--dry-run"][..], &[]] {
        let document = world
            .kbk(&[&export[..], &["--json"], dry_run].concat())
            .json();
        let partition = &document["partitions"][0];
        assert_eq!(partition["replaced"], true);
        assert_eq!(partition["removed"], json!([dates[0], dates[2]]));
    }
    assert!(!place.join(&dates[1]).join("old.parquet").exists());
    assert!(place.join(&dates[1]).exists() && !place.join(&dates[2]).exists());
    std::fs::remove_dir_all(&out).unwrap();
    let first = world.kbk(&[&export[..], &["--json"]].concat()).json();
    let partition = &first["partitions"][0];
    assert_eq!(
        (&partition["replaced"], &partition["removed"]),
        (&json!(false), &json!([]))
    );
}

#[test]
fn options_of_other_formats_are_refused() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let out = out.to_str().unwrap();
    for (format, option, value, says) in [
        (
            "jsonl",
            "--compression",
            "zstd",
            "--compression is for --format kafka-log and parquet only",
        ),
        (
            "parquet",
            "--segment-bytes",
            "1048576",
            "--segment-bytes is for --format kafka-log only",
        ),
        (
            "kafka-log",
            "--partition-by",
            "topic,partition",
            "--partition-by is for --format parquet only",
        ),
        (
            "kafka-log",
            "--file-size",
            "1GiB",
            "--file-size is for --format parquet only",
        ),
        (
            "parquet",
            "--compression",
            "snappy",
            "`snappy` is not a compression of --format parquet",
        ),
        (
            "kafka-log",
            "--compression",
            "zstd:3",
            "`zstd:3` is not a codec of Kafka",
        ),
    ] {
        let ended = world.kbk(&["export", out, "--format", format, option, value]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[test]
fn an_export_counts_what_it_reads_in_its_metrics() {
    let world = World::sample();
    let out = world.folder.path().join("out");
    let file = world.folder.path().join("export.prom");
    let export = ["export", out.to_str().unwrap(), "orders", "-f", "parquet"];
    let to_file = ["--metrics-textfile", file.to_str().unwrap()];
    let ended = world.kbk(&[&export[..], &to_file].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let text = std::fs::read_to_string(file).unwrap();
    let of = |name: &str| {
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with(name) && line.contains("\"export\""));
        let value = found.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("{name}: {text}"))
    };
    let read = of("kbk_bytes_read_total");
    assert!(read > 0.0 && read <= of("kbk_run_expected_bytes"), "{text}");
}

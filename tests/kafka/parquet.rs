//! `kbk export --format parquet`: what pyarrow and DuckDB read is what the repository holds, whatever the records, and nothing half is there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use kbk_format::{Header, Headers, Record, TimestampType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::one_partition::OnePartition;
use crate::support::pages::blocks;
use crate::support::process::{Finished, Running, run};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::{self, Random};
use crate::support::{seed, soak};

const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/venv/bin/python");
const READER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/spec_reader/read_parquet.py"
);
const TOPIC: &str = "strange.topic_1-x";
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The records of a repository, with their offsets and types.
type Records = Vec<(i64, TimestampType, Message)>;

/// Writes two segments, of both types, with a gap between them.
fn store(repo: &Repo, messages: &[Message]) -> Records {
    use TimestampType::{CreateTime, LogAppendTime};
    let repository = OnePartition::create(&repo.path(), TOPIC);
    let (first, second) = messages.split_at(messages.len() / 2);
    let mut stored = Records::new();
    let mut segments = Vec::new();
    let mut base_offset = 5;
    for (timestamp_type, messages) in [(CreateTime, first), (LogAppendTime, second)] {
        let segment = repository.segment_of(timestamp_type, base_offset, |writer| {
            for (offset, message) in (base_offset..).zip(messages) {
                let headers = message.headers.iter().map(|(name, value)| Header {
                    name,
                    value: value.as_deref(),
                });
                let headers: Vec<Header<'_>> = headers.collect();
                let record = Record {
                    offset,
                    timestamp: message.timestamp,
                    control: false,
                    key: message.key.as_deref(),
                    value: message.value.as_deref(),
                    headers: Headers::Slice(&headers),
                };
                writer.push(&record).expect("in order");
                stored.push((offset, timestamp_type, message.clone()));
            }
            base_offset + messages.len() as i64 + 3
        });
        base_offset = segment.end_offset;
        segments.push(segment);
    }
    repository.commit(segments);
    stored
}

/// Returns records of every kind: those that a broker keeps, and times that none does.
fn hostile() -> Vec<Message> {
    let mut messages = samples::hostile();
    let times = [
        0,
        -1,
        -2,
        1,
        DAY_MS - 1,
        DAY_MS,
        i64::MIN,
        i64::MAX,
        253_402_300_799_999,
        253_402_300_800_000,
        -62_135_596_800_000,
        -62_135_596_800_001,
        1_700_000_000_000_000_000,
    ];
    messages.extend(times.map(|time| samples::plain(time, "when?")));
    let mut random = Random::new(7);
    messages.extend([10 << 20, 1, (1 << 20) - 4, 3 << 20].map(|size| Message {
        value: Some(random.bytes(size)),
        ..samples::plain(1_700_000_000_000, "")
    }));
    // Enough for several pages, with runs of nulls and of empty lists that end within groups of eight.
    messages.extend(samples::mixed(3).take(3_000));
    messages
}

fn shown(bytes: &[u8]) -> Value {
    match bytes.len() {
        0..=4096 => HEXLOWER.encode(bytes).into(),
        _ => format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes))).into(),
    }
}

/// Returns a record as read_parquet.py prints it.
fn row((offset, timestamp_type, message): &(i64, TimestampType, Message), by_date: bool) -> Value {
    let time = message.timestamp;
    let is_date = time != -1 && (-62_135_596_800_000..=253_402_300_799_999).contains(&time);
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_deref().map_or(Value::Null, shown);
    let headers = message.headers.iter().map(|(name, value)| {
        let (text, not_text) = match std::str::from_utf8(name) {
            Ok(text) => (text.into(), Value::Null),
            Err(_) => (Value::Null, shown(name)),
        };
        json!([text, not_text, bytes(value)])
    });
    let headers: Vec<Value> = headers.collect();
    let mut row = json!([
        TOPIC,
        0,
        offset,
        is_date.then_some(time),
        (time != -1 && !is_date).then_some(time),
        format!("{timestamp_type:?}"),
        bytes(&message.key),
        bytes(&message.value),
        headers
    ]);
    if by_date {
        let days = jiff::Span::new().days(time.div_euclid(DAY_MS).clamp(-719_162, 2_932_896));
        let date = jiff::civil::date(1970, 1, 1).checked_add(days);
        let date = date.ok().filter(|_| is_date).map(|date| date.to_string());
        row.as_array_mut().expect("an array").push(date.into());
    }
    row
}

fn rows(stored: &Records, by_date: bool) -> Vec<Value> {
    stored.iter().map(|record| row(record, by_date)).collect()
}

/// Reads files by pyarrow or DuckDB.
#[track_caller]
fn read(reader: &str, pattern: &Path, condition: &str) -> Vec<Value> {
    let mut python = Command::new(PYTHON);
    python.arg(READER).arg(reader).arg(pattern).arg(condition);
    let read = run(&mut python).expect_code(0);
    let lines = read.stdout.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("JSON")
}

fn export(repo: &Repo, out: &Path, args: &[&str]) -> Command {
    let mut command = repo.kbk(&["export", "--json", "--format", "parquet"]);
    command.arg(out).args(args);
    command
}

/// Returns the files below a folder, whatever their names.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => _ = found.insert(path),
        }
    }
    found
}

#[track_caller]
fn assert_equal(found: &[Value], expected: &[Value], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{what}");
    }
}

#[test]
fn pyarrow_and_duckdb_read_what_was_exported() {
    let repo = Repo::missing();
    let stored = store(&repo, &hostile());
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let layouts: [(&str, &[&str], &str); 4] = [
        ("plain", &[], "*/*.parquet"),
        (
            "small",
            &["--file-size", "1MiB", "--compression", "zstd:1"],
            "*/*.parquet",
        ),
        (
            "hive",
            &["--partition-by", "topic,partition", "--compression", "none"],
            "topic=*/partition=*/*.parquet",
        ),
        (
            "dates",
            &["--partition-by", "topic,partition,date"],
            "topic=*/partition=*/date=*/*.parquet",
        ),
    ];
    for (name, args, pattern) in layouts {
        let folder = out.path().join(name);
        let report = run(&mut export(&repo, &folder, args)).expect_code(0).json();
        assert_eq!(report["records"], stored.len(), "{report:#}");
        assert_eq!(report["partitions"][0]["segments"], files(&folder).len());
        let bytes: u64 = files(&folder)
            .iter()
            .map(|file| fs::metadata(file).expect("a file").len())
            .sum();
        assert_eq!(report["bytes"], bytes);
        let expected = rows(&stored, name == "dates");
        for reader in ["pyarrow", "duckdb"] {
            let found = read(reader, &folder.join(pattern), "true");
            assert_equal(&found, &expected, &format!("{name} by {reader}"));
        }
    }

    // Where no folder names a date: pyarrow cannot infer its type.
    let has_no_date = |record: &&(i64, TimestampType, Message)| row(record, true)[9].is_null();
    let undated = stored.iter().find(has_no_date).expect("a record");
    let bounds = [undated.0, undated.0 + 1].map(|offset| offset.to_string());
    let args = ["--partition-by", "topic,partition,date"];
    let bounds = ["--from-offset", &bounds[0], "--to-offset", &bounds[1]];
    let folder = out.path().join("undated");
    run(&mut export(
        &repo,
        &folder,
        &[args.as_slice(), &bounds].concat(),
    ))
    .expect_code(0);
    for reader in ["pyarrow", "duckdb"] {
        let found = read(
            reader,
            &folder.join("topic=*/partition=*/date=*/*.parquet"),
            "true",
        );
        assert_equal(&found, &[row(undated, true)], reader);
    }

    // Conditions on folders, and on columns with statistics.
    let dates = out
        .path()
        .join("dates/topic=*/partition=*/date=*/*.parquet");
    let all = rows(&stored, true);
    let of = |chosen: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|row| chosen(row)).cloned().collect()
    };
    let cases: [(&str, Vec<Value>); 4] = [
        ("date = '1970-01-01'", of(&|row| row[9] == "1970-01-01")),
        ("date is null", of(&|row| row[9].is_null())),
        (
            "topic = 'strange.topic_1-x' and \"offset\" between 7 and 9",
            of(&|row| (7..=9).contains(&row[2].as_i64().expect("an offset"))),
        ),
        (
            "\"timestamp\" < '1970-01-01 00:00:01' and timestamp_type = 'CreateTime'",
            of(&|row| row[3].as_i64().is_some_and(|time| time < 1000) && row[5] == "CreateTime"),
        ),
    ];
    for (condition, expected) in cases {
        assert!(
            !expected.is_empty() && expected.len() < all.len(),
            "{condition}"
        );
        assert_equal(&read("duckdb", &dates, condition), &expected, condition);
    }
}

#[test]
fn a_parquet_file_states_where_it_is_from() {
    let repo = Repo::missing();
    let stored = store(&repo, &hostile());
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let args = ["--from-offset", "6", "--file-size", "1MiB"];
    run(&mut export(&repo, out.path(), &args)).expect_code(0);
    let identity = fs::read(repo.path().join("kbk.json")).expect("an identity");
    let identity: Value = serde_json::from_slice(&identity).expect("JSON");
    let files = read("metadata", &out.path().join("*/*.parquet"), "");
    let end = stored.last().expect("a record").0 + 4;
    let mut next = 6;
    for file in &files {
        let stated = &file["stated"];
        assert_eq!(
            stated["kbk.repository"], identity["repository_id"],
            "{file:#}"
        );
        let constant = [
            ("kbk.version", env!("CARGO_PKG_VERSION")),
            ("kbk.snapshot", "1"),
            ("kbk.topic", TOPIC),
            ("kbk.partition", "0"),
            ("kbk.missing", "[]"),
        ];
        for (name, value) in constant {
            assert_eq!(stated[name], value, "{file:#}");
        }
        assert_eq!(stated["kbk.base_offset"], next.to_string(), "{file:#}");
        next = stated["kbk.end_offset"]
            .as_str()
            .expect("an offset")
            .parse()
            .expect("a number");
        for group in file["groups"].as_array().expect("row groups") {
            assert_eq!(group["sorted_by"], json!([["offset", false]]));
            let column = |name: &str| &group["columns"][name];
            assert!(!column("offset")["min"].is_null(), "{group:#}");
            for large in ["key", "value", "headers.list.element.value"] {
                let text = column(large)["max"].as_str().unwrap_or_default();
                assert!(text.len() < 300, "at most 64 bytes, escaped: {group:#}");
            }
            assert_eq!(column("value")["compression"], "ZSTD");
        }
    }
    assert_eq!(
        next, end,
        "the files speak for all offsets that were selected"
    );
    let first = &files[0]["groups"][0]["columns"];
    assert_eq!(
        (&first["offset"]["min"], &first["topic"]["max"]),
        (&json!("6"), &json!(TOPIC))
    );
}

#[test]
fn a_damaged_block_is_named_in_the_file_and_nothing_else_is_missing() {
    let repo = Repo::missing();
    let stored = store(
        &repo,
        &samples::documents(5).take(6_000).collect::<Vec<_>>(),
    );
    let segment = repo.segments().into_keys().next().expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).expect("written");
    for (layout, pattern) in [
        (None, "*/*.parquet"),
        (
            Some("topic,partition,date"),
            "topic=*/partition=*/date=*/*.parquet",
        ),
    ] {
        let out = TempDir::with_prefix("kbk-export-").expect("a folder");
        let args: Vec<&str> = layout
            .iter()
            .flat_map(|it| ["--partition-by", it])
            .collect();
        let report = run(&mut export(&repo, out.path(), &args))
            .expect_code(3)
            .json();
        assert_eq!(report["complete"], false, "{report:#}");
        let offsets = &report["findings"][0]["offsets"];
        assert_eq!(report["findings"].as_array().map(Vec::len), Some(1));
        let bound = |name: &str| offsets[name].as_i64().expect("an offset");
        let missing = bound("base_offset")..bound("end_offset");
        let mut left = stored.clone();
        left.retain(|(offset, ..)| !missing.contains(offset));
        assert!(left.len() < stored.len());
        for reader in ["pyarrow", "duckdb"] {
            let found = read(reader, &out.path().join(pattern), "true");
            assert_equal(&found, &rows(&left, layout.is_some()), pattern);
        }
        let said = read("metadata", &out.path().join(pattern), "");
        let said = said.iter().filter(|file| {
            let missing = file["stated"]["kbk.missing"].as_str().expect("JSON");
            serde_json::from_str::<Value>(missing).expect("JSON") == json!([offsets])
        });
        assert!(said.count() >= 1);
    }

    // What is left of nothing is a file without rows. (pyarrow has no type for a column of folders that is null in all of them.)
    for segment in repo.segments().into_keys() {
        fs::remove_file(segment).expect("removed");
    }
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let args = ["--partition-by", "topic,partition,date", "--to-offset", "9"];
    run(&mut export(&repo, out.path(), &args)).expect_code(3);
    let pattern = out.path().join("topic=*/partition=*/date=*/*.parquet");
    let said = read("metadata", &pattern, "");
    assert_eq!((said.len(), &said[0]["rows"]), (1, &json!(0)), "{said:#?}");
    let missing = said[0]["stated"]["kbk.missing"].as_str().expect("JSON");
    assert_eq!(missing, r#"[{"base_offset":5,"end_offset":9}]"#);
    assert_equal(&read("duckdb", &pattern, "true"), &[], "nothing");
}

#[test]
fn many_dates_take_several_passes_and_every_record_is_there_once() {
    let repo = Repo::missing();
    // Two records of each of 100 days, in no order of days, and some without.
    let times = (0..300).map(|n| (n * 37 % 100) * DAY_MS * 3);
    let messages = times.enumerate().map(|(n, time)| match n % 50 {
        49 => samples::plain(-1, "no time"),
        _ => samples::plain(time, "some day"),
    });
    let stored = store(&repo, &messages.collect::<Vec<_>>());
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let args = ["--partition-by", "topic,partition,date"];
    let report = run(&mut export(&repo, out.path(), &args))
        .expect_code(0)
        .json();
    assert_eq!(report["records"], stored.len());
    assert_eq!(
        report["partitions"][0]["segments"], 99,
        "a file per day but two, and of those without"
    );
    let pattern = out.path().join("topic=*/partition=*/date=*/*.parquet");
    for reader in ["pyarrow", "duckdb"] {
        assert_equal(
            &read(reader, &pattern, "true"),
            &rows(&stored, true),
            reader,
        );
    }
}

#[test]
fn a_killed_export_leaves_nothing_half_and_the_next_is_whole() {
    let repo = Repo::missing();
    let stored = store(
        &repo,
        &samples::documents(9).take(40_000).collect::<Vec<_>>(),
    );
    // What is named like a file of Parquet is one, and where readers look, all of the partition are.
    let all = |out: &Path| {
        let mut named: Vec<PathBuf> = files(out).into_iter().collect();
        named.retain(|file| file.extension().is_some_and(|it| it == "parquet"));
        for file in &named {
            assert!(
                fs::read(file).expect("a file").ends_with(b"PAR1"),
                "{file:?}"
            );
        }
        named.retain(|file| !file.to_string_lossy().contains("/."));
        named
    };
    let args = ["--file-size", "4MiB", "--overwrite"];
    let began = Instant::now();
    let undisturbed = TempDir::with_prefix("kbk-export-").expect("a folder");
    run(&mut export(&repo, undisturbed.path(), &args)).expect_code(0);
    let mut whole = began.elapsed();
    let expected = all(undisturbed.path()).len();
    assert!(expected > 1);
    let mut random = Random::new(seed());
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let mut left = if soak() { 60 } else { 12 };
    while left > 0 {
        let moment = Duration::from_micros(random.below(whole.as_micros() as u64));
        let done: Finished =
            Running::spawn(&mut export(&repo, out.path(), &args)).kill_after(moment);
        if done.status.signal() == Some(libc::SIGKILL) {
            left -= 1;
        } else {
            // It finished before the kill: this round does not count.
            whole = moment;
        }
        let there = all(out.path());
        assert!(
            [0, expected].contains(&there.len()),
            "after {moment:?}: {there:#?}"
        );
    }
    run(&mut export(&repo, out.path(), &args)).expect_code(0);
    assert_eq!(files(out.path()).len(), expected, "nothing else is left");
    let found = read("duckdb", &out.path().join("**/*.parquet"), "true");
    assert_equal(&found, &rows(&stored, false), "after kills");
    let refused = run(&mut export(&repo, out.path(), &args[..2])).expect_code(2);
    assert!(refused.stderr.contains("it exists already"), "{refused:#?}");
}

/// Returns the SQL of the block in docs/how-to.md.
fn queries() -> Vec<String> {
    let blocks = blocks("docs/how-to.md");
    let block = blocks
        .iter()
        .find(|block| block.lines[0].starts_with("duckdb -c "))
        .expect("the block is there");
    let query = |line: &String| {
        let text = line
            .strip_prefix("duckdb -c \"")
            .and_then(|it| it.strip_suffix('"'));
        text.expect("one query").replace("\\\"", "\"")
    };
    block.lines.iter().map(query).collect()
}

#[test]
fn the_program_of_the_page_opens_an_export_without_dates() {
    let blocks = blocks("docs/reference/formats.md");
    let block = blocks
        .iter()
        .find(|block| block.lines[0].starts_with("import pyarrow"))
        .expect("the block is there");
    let message = |timestamp| samples::plain(timestamp, "{}");
    for (messages, dates) in [
        (vec![message(-1), message(-1)], "[None]"),
        (
            vec![message(-1), message(DAY_MS)],
            "[None, datetime.date(1970, 1, 2)]",
        ),
    ] {
        let repo = Repo::missing();
        store(&repo, &messages);
        let out = TempDir::with_prefix("kbk-export-").expect("a folder");
        let args = ["--partition-by", "topic,partition,date"];
        run(&mut export(&repo, &out.path().join("lake"), &args)).expect_code(0);
        let shown =
            "print(sorted(set(lake.to_table()['date'].to_pylist()), key=str, reverse=True))";
        let program = format!("{}\n{shown}", block.lines.join("\n"));
        let mut python = Command::new(PYTHON);
        python.args(["-c", &program]).current_dir(out.path());
        assert_eq!(run(&mut python).expect_code(0).stdout.trim(), dates);
    }
}

#[test]
fn the_queries_of_the_page_work() {
    let repo = Repo::missing();
    let day = |n: i64| Message {
        headers: vec![(b"trace".to_vec(), Some(format!("trace-{n}").into_bytes()))],
        ..samples::plain(n * DAY_MS, &json!({ "sum": n }).to_string())
    };
    store(&repo, &[day(1), day(1), day(2), day(3)]);
    let out = TempDir::with_prefix("kbk-export-").expect("a folder");
    let args = ["--partition-by", "topic,partition,date"];
    run(&mut export(&repo, &out.path().join("lake"), &args)).expect_code(0);
    let answers = queries().into_iter().map(|query| {
        let query = query.replace("'orders'", &format!("'{TOPIC}'"));
        let mut python = Command::new(PYTHON);
        let program = "import duckdb, sys; print(*duckdb.sql(sys.argv[1]).fetchall(), sep='\\n')";
        python.args(["-c", program, &query]).current_dir(out.path());
        run(&mut python).expect_code(0).stdout
    });
    let answers: Vec<String> = answers.collect();
    let [by_day, traces, missing] = &answers[..] else {
        panic!("{answers:#?}")
    };
    assert_eq!(by_day.lines().count(), 3, "{by_day}");
    assert!(
        by_day.starts_with("(datetime.date(1970, 1, 2), 2, 2.0)"),
        "{by_day}"
    );
    assert_eq!(traces.lines().count(), 4, "{traces}");
    assert!(traces.contains("'trace-3'"), "{traces}");
    assert_eq!(missing.lines().collect::<Vec<_>>(), ["('[]',)"; 3]);
}

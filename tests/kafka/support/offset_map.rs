//! The offset map of a restore as SPEC.md defines it, read without kbk's code and compared with the brokers' records.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::broker::Broker;
use super::consume;
use super::record::Message;
use super::repo::Repo;

/// Returns the names of the restores in a repository, finished or not.
pub(crate) fn restores(repo: &Repo) -> Vec<String> {
    let Ok(entries) = fs::read_dir(repo.path().join("restores")) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a folder can be listed");
        let begun = entry.path().join("begun.json").exists();
        begun.then(|| entry.file_name().into_string().expect("ASCII"))
    };
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort();
    names
}

/// Reports whether a restore is marked done.
pub(crate) fn is_done(repo: &Repo, restore: &str) -> bool {
    folder(repo, restore).join("done.json").exists()
}

/// Fails the test unless all stored pages are referenced. `<key>#<number>`, left by a kill during a write, is not an
/// object (SPEC section 11.6).
#[track_caller]
fn assert_nothing_left_over(repo: &Repo, restore: &str) {
    let folder = folder(repo, restore);
    let done = json(&folder.join("done.json"));
    let mut needed = Vec::new();
    for entry in done["partitions"].as_array().expect("an array") {
        let mut page = entry["page"].as_str().map(str::to_owned);
        while let Some(sha256) = page {
            let name = format!("{}.json", &sha256[..32]);
            page = json(&folder.join("map").join(&name))["previous"]
                .as_str()
                .map(str::to_owned);
            needed.push(name);
        }
    }
    needed.sort();
    let entries = fs::read_dir(folder.join("map")).expect("there are pages");
    let mut there: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("it can be listed")
                .file_name()
                .into_string()
                .expect("ASCII")
        })
        .collect();
    there.retain(|name| !name.contains('#'));
    there.sort();
    assert_eq!(there, needed);
}

/// Returns the target partition and offset of each record of a partition, by its offset in the backup.
pub(crate) fn read(
    repo: &Repo,
    restore: &str,
    topic: &str,
    partition: i32,
) -> BTreeMap<i64, (i32, i64)> {
    let folder = folder(repo, restore);
    let done = json(&folder.join("done.json"));
    let partitions = done["partitions"].as_array().expect("an array");
    let of_it = |entry: &&Value| entry["topic"] == topic && entry["partition"] == partition;
    let entry = partitions.iter().find(of_it).expect("the partition");
    let mut page = entry["page"].as_str().map(str::to_owned);
    let mut map = BTreeMap::new();
    while let Some(sha256) = page {
        let found = json(&folder.join(format!("map/{}.json", &sha256[..32])));
        assert_eq!(found["sha256"], sha256);
        for run in found["runs"].as_array().expect("an array") {
            let number = |at: usize| run[at].as_i64().expect("a number");
            let target = i32::try_from(number(1)).expect("a partition");
            for record in 0..number(3) {
                let twice = map.insert(number(0) + record, (target, number(2) + record));
                assert_eq!(twice, None, "a record is mapped once");
            }
        }
        page = found["previous"].as_str().map(str::to_owned);
    }
    assert_eq!(entry["records"], map.len());
    map
}

/// Fails the test unless the map is one to one between the records of `topic` and those of `target`, and mapped records
/// are equal.
#[track_caller]
pub(crate) fn assert_exact(
    broker: &Broker,
    repo: &Repo,
    restore: &str,
    (topic, target): (&str, &str),
    partitions: i32,
) {
    let pairs: Vec<_> = (0..partitions)
        .map(|partition| (partition, partition))
        .collect();
    assert_exact_at(broker, repo, restore, (topic, target), &pairs);
}

/// Checks the same with a partition map: partition `pair.0` of the topic is partition `pair.1` of the target.
#[track_caller]
pub(crate) fn assert_exact_at(
    broker: &Broker,
    repo: &Repo,
    restore: &str,
    (topic, target): (&str, &str),
    pairs: &[(i32, i32)],
) {
    assert_nothing_left_over(repo, restore);
    for &(source, partition) in pairs {
        let map = read(repo, restore, topic, source);
        let sources = consume::read_all(broker, topic, source);
        let targets = consume::read_all(broker, target, partition);
        assert_eq!((map.len(), map.len()), (sources.len(), targets.len()));
        for ((source, target), mapped) in sources.iter().zip(&targets).zip(&map) {
            assert_eq!(mapped, (&source.offset, &(partition, target.offset)));
            assert_eq!(source.message, target.message);
        }
    }
}

/// A record's partition and offset in the topic, and in the target.
pub(crate) struct Moved {
    pub(crate) source: (i32, i64),
    pub(crate) target: (i32, i64),
    pub(crate) message: Message,
}

/// Checks the same for a repartitioned topic; returns its records in the order of the source partitions.
#[track_caller]
pub(crate) fn assert_exact_repartitioned(
    broker: &Broker,
    repo: &Repo,
    restore: &str,
    (topic, sources): (&str, i32),
    (topic_of_target, targets): (&str, i32),
) -> Vec<Moved> {
    assert_nothing_left_over(repo, restore);
    let mut there = BTreeMap::new();
    for partition in 0..targets {
        let records = consume::read_all(broker, topic_of_target, partition).into_iter();
        there.extend(records.map(|record| ((partition, record.offset), record.message)));
    }
    let mut moved = Vec::new();
    for partition in 0..sources {
        let map = read(repo, restore, topic, partition);
        let records = consume::read_all(broker, topic, partition);
        assert_eq!(map.len(), records.len());
        for (record, (offset, target)) in records.into_iter().zip(map) {
            assert_eq!(record.offset, offset);
            let found = there.remove(&target).unwrap_or_else(|| {
                let held = consume::bounds(broker, topic_of_target, target.0);
                let left = there.range((target.0, 0)..(target.0 + 1, 0));
                panic!(
                    "{partition}/{offset} is mapped to {target:?}: not there, or mapped to twice; [start, stable, end] {held:?}, left of \
                     it {:?} to {:?}",
                    left.clone().next(),
                    left.last()
                )
            });
            assert!(
                found == record.message,
                "{partition}/{offset} at {target:?}"
            );
            moved.push(Moved {
                source: (partition, offset),
                target,
                message: found,
            });
        }
    }
    assert!(
        there.is_empty(),
        "{} unexpected records in the target",
        there.len()
    );
    moved
}

fn folder(repo: &Repo, restore: &str) -> PathBuf {
    repo.path().join("restores").join(restore)
}

fn json(path: &PathBuf) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

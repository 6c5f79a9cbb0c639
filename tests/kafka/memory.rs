//! Backup, verify, restore and cat need at most 150 MB, whatever the size of the topic.

use std::fs;
use std::process::Command;

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::stores::{BUCKET, ObjectServer, Protocol};
use crate::support::{consume, offset_map, samples, soak, synthetic, topics};

const LIMIT_BYTES: u64 = 150_000_000;
const PARTITIONS: i32 = 16;

#[test]
fn memory_is_bounded_at_default_settings() {
    let records = if soak() { 2_000_000 } else { 400_000 };
    let broker = Broker::shared();
    let topic = topics::unique("large");
    topics::create(broker, &topic, PARTITIONS, &[]);
    produce_bulk(
        broker,
        "lz4",
        (&topic, PARTITIONS),
        samples::documents(1).take(records),
    );

    let repo = Repo::new();
    check("backup", &mut repo.backup(broker, &["--topic", &topic]));
    check("verify", &mut repo.kbk(&["verify"]));
    check("verify --full", &mut repo.kbk(&["verify", "--full"]));
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    check("restore", &mut repo.restore(broker, &["--map", &map]));
    check("cat", &mut cat_into_nothing(&repo, &topic));
    topics::delete(broker, &topic);
    topics::delete(broker, &target);
}

/// What a broker sends grows a hundredfold in memory, by decompression or by the client's overhead per small
/// record.
#[test]
fn memory_is_bounded_for_topics_that_compress_well() {
    let records = if soak() { 4_000_000 } else { 1_000_000 };
    let broker = Broker::shared();
    for (name, record_bytes) in [("repetitive", 1_000), ("tiny", 40)] {
        let topic = topics::unique(name);
        topics::create(broker, &topic, PARTITIONS, &[]);
        produce_bulk(
            broker,
            "zstd",
            (&topic, PARTITIONS),
            samples::repetitive(record_bytes).take(records),
        );
        let repo = Repo::new();
        check(name, &mut repo.backup(broker, &["--topic", &topic]));
        let target = format!("{topic}-restored");
        let map = format!("{topic}={target}");
        let mut restore = repo.restore(broker, &["--map", &map, "--verify"]);
        check(&format!("{name}, restored and compared"), &mut restore);
        topics::delete(broker, &topic);
        topics::delete(broker, &target);
    }
}

/// An offset map stores runs. Dense offsets are a single run; a gap every ten records makes a run for every ten records, and one behind every
/// record makes more runs than a transaction of tiny records may have.
#[test]
fn memory_is_bounded_at_any_size_of_offset_map() {
    let end = if soak() { 10_000_000 } else { 2_000_000 };
    let broker = Broker::shared();
    for (name, gap_every, records) in [
        ("dense", i64::MAX, end),
        ("gaps", 10, end - end / 10),
        ("all-gaps", 2, end / 2),
    ] {
        let topic = topics::unique(name);
        let repo = Repo::missing();
        let offsets = (0..end).filter(|offset| offset % gap_every != gap_every - 1);
        synthetic::make(&repo, &topic, offsets, end);
        check(name, &mut repo.restore(broker, &[]));
        let restore = offset_map::restores(&repo).pop().expect("it has begun");
        let map = offset_map::read(&repo, &restore, &topic, 0);
        assert_eq!(map.len() as i64, records);
        // Each value is the record's offset in the source.
        let target = consume::offsets(broker, &topic, 0);
        let last = consume::read(broker, &topic, 0, target.end - 10..target.end);
        for record in last {
            let value = record.message.value.expect("a value");
            let source: i64 = String::from_utf8_lossy(&value).parse().expect("a number");
            assert_eq!(map[&source], (0, record.offset));
        }
        let mut list = repo.kbk(&[
            "groups",
            "map",
            &format!("{topic}/0"),
            "9",
            &(end - 2).to_string(),
        ]);
        check("groups map", &mut list);
        topics::delete(broker, &topic);
    }
}

/// A bucket of many small segments: one in each of many partitions, and many in one partition.
#[test]
fn memory_is_bounded_for_many_small_segments_in_a_bucket() {
    let (partitions, segments) = if soak() { (2_000, 3_000) } else { (150, 300) };
    let server = &ObjectServer::start(Protocol::S3);
    let broker = Broker::shared();
    let topic = &topics::unique("small");
    topics::create(broker, topic, partitions, &[]);
    let records = (0..partitions).map(|_| samples::plain(samples::now_ms(), "value"));
    produce_bulk(broker, "none", (topic, partitions), records);
    let cluster = ["-b", broker.bootstrap()];
    let backup = ["backup", "--init", "--topic", topic];
    check(
        "backup of many partitions",
        &mut server.kbk("many", &[&backup, &cluster[..]].concat()),
    );
    check(
        "an idle one",
        &mut server.kbk("many", &[&backup, &cluster[..]].concat()),
    );
    read_in_little_memory(server, "many", topic);
    topics::delete(broker, topic);

    let repo = Repo::missing();
    synthetic::make_segments(&repo, topic, segments);
    let objects = server.data().join(BUCKET).join("deep");
    fs::rename(repo.path(), objects).expect("objects are files of this server");
    read_in_little_memory(server, "deep", topic);
}

fn read_in_little_memory(server: &ObjectServer, prefix: &str, topic: &str) {
    let broker = Broker::shared();
    let map = format!("{topic}={topic}-restored");
    let restore = [
        "restore",
        "--dry-run",
        "--map",
        &map,
        "-b",
        broker.bootstrap(),
    ];
    for args in [&["verify"][..], &["verify", "--full"], &restore] {
        check(
            &format!("{prefix}: {}", args.join(" ")),
            &mut server.kbk(prefix, args),
        );
    }
    let cat = server.kbk(prefix, &["cat", topic]);
    check(&format!("{prefix}: cat"), &mut into_nothing(&cat));
}

/// The output would not fit in the test's own memory.
fn cat_into_nothing(repo: &Repo, topic: &str) -> Command {
    into_nothing(&repo.kbk(&["cat", topic]))
}

/// Returns the command without its output.
fn into_nothing(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" >/dev/null"#]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn check(what: &str, command: &mut Command) {
    let finished = run(command).expect_code(0);
    println!("{what}: {} MB", finished.max_rss_bytes / 1_000_000);
    assert!(
        finished.max_rss_bytes <= LIMIT_BYTES,
        "{what} took {} bytes",
        finished.max_rss_bytes
    );
}

//! Limits of the target cluster: what a topic accepted once is accepted again, and what a target would refuse or delete is said first.

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::{produce, produce_bulk};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const HOUR_MS: i64 = 3_600_000;

/// A record that fits Kafka's default limit only compressed.
fn compressible() -> Message {
    Message {
        value: Some(br#"{"status":"shipped"},"#.repeat(250_000)),
        ..samples::plain(samples::now_ms(), "")
    }
}

#[test]
fn a_record_that_fits_only_compressed_is_restored() {
    let broker = Broker::shared();
    let topic = topics::unique("compressed");
    topics::create(broker, &topic, 1, &[]);
    produce(broker, "zstd", (&topic, 0), [&compressible()]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    for args in [&[][..], &["--no-transactions"]] {
        let target = topics::unique("compressed-restored");
        let map = format!("{topic}={target}");
        let args = [&["--map", &map], args].concat();
        run(&mut repo.restore(broker, &args)).expect_code(0);
        assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 1);
        topics::assert_config(broker, &target, &topics::config(broker, &topic));
    }
    for (codec, args) in [
        ("producer", &[][..]),
        ("producer", &["--no-transactions"]),
        ("gzip", &[]),
    ] {
        let target = topics::unique("compressed-existing");
        topics::create(broker, &target, 1, &[("compression.type", codec)]);
        let map = format!("{topic}={target}");
        let args = [&["--map", &map], args].concat();
        run(&mut repo.restore(broker, &args)).expect_code(0);
        assert_eq!(consume::assert_same(broker, (&topic, &target), 1), 1);
    }
    let target = topics::unique("uncompressed");
    topics::create(broker, &target, 1, &[("compression.type", "uncompressed")]);
    let map = format!("{topic}={target}");
    let refused = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
    let says = "which would not be compressed: raise its max.message.bytes";
    assert!(refused.stderr.contains(says), "{refused:#?}");
    assert_eq!(consume::bounds(broker, &target, 0), [0; 3]);
}

#[test]
fn each_topic_is_compressed_as_it_was() {
    const RECORDS: usize = 20_000;
    let broker = Broker::shared();
    let prefix = topics::unique("codec");
    let codecs = ["gzip", "zstd", "snappy"];
    let of = |codec: &str| format!("{prefix}-{codec}");
    for codec in codecs {
        topics::create(broker, &of(codec), 1, &[("compression.type", codec)]);
        let records = samples::documents(4).take(RECORDS);
        produce_bulk(broker, codec, (&of(codec), 1), records);
    }
    let repo = Repo::new();
    let all = format!("{prefix}-*");
    run(&mut repo.backup(broker, &["--topic", &all])).expect_code(0);
    let map = format!("{prefix}-(.*)={prefix}-$1-restored");
    run(&mut repo.restore(broker, &["--map-regex", &map])).expect_code(0);
    for codec in codecs {
        let restored = format!("{}-restored", of(codec));
        consume::assert_same(broker, (&of(codec), &restored), 1);
        let saved = topics::stored_bytes(broker, &of(codec));
        let found = topics::stored_bytes(broker, &restored);
        assert!(
            found < saved + saved / 10,
            "{codec}: {saved} bytes became {found}"
        );
    }
}

#[test]
fn a_cluster_with_a_low_limit_accepts_what_it_accepted() {
    let broker = Broker::start(&[("message.max.bytes", "300000")]);
    let topic = topics::unique("low-limit");
    topics::create(&broker, &topic, 2, &[]);
    produce_bulk(
        &broker,
        "gzip",
        (&topic, 2),
        samples::documents(4).take(5_000),
    );
    let repo = Repo::new();
    run(&mut repo.backup(&broker, &["--topic", &topic])).expect_code(0);
    for transactions in [&[][..], &["--no-transactions"]] {
        for exists in [false, true] {
            let target = topics::unique("low-limit-restored");
            if exists {
                topics::create(&broker, &target, 2, &[]);
            }
            let map = format!("{topic}={target}");
            let args = [&["--map", &map], transactions].concat();
            run(&mut repo.restore(&broker, &args)).expect_code(0);
            consume::assert_same(&broker, (&topic, &target), 2);
        }
    }
}

/// Brokers compress again where the topic says so, so that batches are stored as they are.
#[test]
fn a_limit_that_was_lowered_after_large_records_is_set_once_they_are_restored() {
    let broker = Broker::shared();
    // Half of it does not compress.
    let mut state = 1u32;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let large = Message {
        value: Some(noise.take(1 << 20).chain(vec![0; 1 << 20]).collect()),
        ..samples::plain(samples::now_ms(), "")
    };
    let small = samples::plain(samples::now_ms(), "small");
    for kept in ["producer", "zstd"] {
        let topic = topics::unique("lowered");
        let with = |limit: &'static str| [("max.message.bytes", limit), ("compression.type", kept)];
        topics::create(broker, &topic, 1, &with("4000000"));
        produce(broker, "none", (&topic, 0), [&small, &large, &small]);
        topics::reconfigure(broker, &topic, &with("1000"));
        let repo = Repo::new();
        run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
        for client in ["wire", "librdkafka"] {
            let target = topics::unique("lowered-restored");
            let map = format!("{topic}={target}");
            let args = ["--map", &map, "--verify", "--client", client];
            run(&mut repo.restore(broker, &args)).expect_code(0);
            consume::assert_same(broker, (&topic, &target), 1);
            let saved = with("1000").map(|(key, value)| (key.to_owned(), value.to_owned()));
            topics::assert_config(broker, &target, &saved.into());
        }
    }
}

#[test]
fn limits_of_an_existing_target_are_reported_before_anything_is_written() {
    let broker = Broker::shared();
    let topic = topics::unique("limited");
    topics::create(broker, &topic, 1, &topics::ANY_TIME);
    let at = |ms: i64| samples::plain(samples::now_ms() + ms, "a record");
    let records = [at(-2 * HOUR_MS), at(0), at(2 * HOUR_MS)];
    produce(broker, "none", (&topic, 0), &records);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let [retention, after] = topics::ANY_TIME;
    for (limit, says) in [
        (("retention.bytes", "100"), "raise its retention.bytes"),
        (
            ("message.timestamp.after.max.ms", "3600000"),
            "message.timestamp.after.max.ms=3600000, and refuses",
        ),
        (
            ("message.timestamp.before.max.ms", "3600000"),
            "message.timestamp.before.max.ms=3600000, and refuses",
        ),
    ] {
        let target = topics::unique("limited-target");
        let mut config = vec![retention, after];
        config.retain(|(key, _)| *key != limit.0);
        config.push(limit);
        topics::create(broker, &target, 1, &config);
        let map = format!("{topic}={target}");
        let refused = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
        assert!(refused.stderr.contains(says), "{refused:#?}");
        assert_eq!(consume::bounds(broker, &target, 0), [0; 3]);
    }
}

//! A topic of thousands of partitions: brokers take their time to create it, and it is saved, restored and compared all the same.

use crate::support::broker::Broker;
use crate::support::process::{Finished, run};
use crate::support::produce::produce_bulk;
use crate::support::repo::Repo;
use crate::support::{consume, samples, soak, topics};

/// Beside what any backup takes, each partition has a segment that is being filled, and rows.
const LIMIT_BYTES: u64 = 200_000_000;

/// In `make soak` five times as many: creating them, and writing as many segments to a disk, takes two minutes and more.
#[test]
fn thousands_of_partitions_are_saved_and_restored() {
    let partitions = if soak() { 5_000 } else { 1_000 };
    let broker = &Broker::start(&[]);
    let topic = "many";
    topics::create(broker, topic, partitions, &[]);
    let records = usize::try_from(partitions).expect("a count") * 2;
    let sent = (0..records).map(|_| samples::plain(samples::now_ms(), "value"));
    produce_bulk(broker, "lz4", (topic, partitions), sent);
    let repo = Repo::new();
    let saved = measured("backup", run(&mut repo.backup(broker, &["--topic", topic])));
    assert_eq!(saved.json()["records"], records);
    let idle = measured(
        "an idle backup",
        run(&mut repo.backup(broker, &["--topic", topic])),
    );
    assert_eq!(idle.json()["records"], 0);
    let args = ["--map", "many=copy", "--verify"];
    let restored = measured("restore", run(&mut repo.restore(broker, &args)));
    assert_eq!(restored.json()["records"], records);
    measured(
        "verify",
        run(&mut repo.kbk(&["verify", "--full", "--json"])),
    );
    assert_eq!(consume::partitions(broker, "copy"), partitions);
    let probed = [0, 1, partitions / 2, partitions - 1];
    for partition in probed {
        let [source, copy] =
            ["many", "copy"].map(|name| consume::read_all(broker, name, partition));
        let messages = |read| crate::support::record::messages(read);
        assert_eq!(messages(source), messages(copy), "{partition}");
    }
}

fn measured(what: &str, finished: Finished) -> Finished {
    let finished = finished.expect_code(0);
    let Finished {
        max_rss_bytes,
        cpu_seconds,
        ..
    } = finished;
    println!(
        "{what}: {} MB, {cpu_seconds:.1} CPU-seconds",
        max_rss_bytes / 1_000_000
    );
    assert!(
        max_rss_bytes <= LIMIT_BYTES,
        "{what} took {max_rss_bytes} bytes"
    );
    finished
}

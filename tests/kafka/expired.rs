//! Records that have expired are gone from the newest snapshot, and the next backup continues where it was.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

const DAY_MS: i64 = 86_400_000;

fn aged(days: i64, count: i64) -> Vec<Message> {
    let then = samples::now_ms() - days * DAY_MS;
    (0..count)
        .map(|at| samples::plain(then + at, &format!("{days} {at}")))
        .collect()
}

fn backup(repo: &Repo, broker: &Broker, topic: &str) -> Value {
    let finished = run(&mut repo.backup(broker, &["--topic", topic]));
    finished.expect_code(0).json()
}

#[test]
fn a_backup_continues_where_all_or_some_records_have_expired() {
    let broker = Broker::shared();
    let topic = topics::unique("ageing");
    topics::create(broker, &topic, 2, &topics::ANY_TIME);
    // Of the first partition everything is old, of the second one the first segment.
    produce(broker, "none", (&topic, 0), &aged(200, 100));
    produce(broker, "none", (&topic, 1), &aged(200, 50));
    let repo = Repo::new();
    backup(&repo, broker, &topic);
    produce(broker, "none", (&topic, 1), &aged(1, 30));
    backup(&repo, broker, &topic);

    let expire = [
        "expire",
        "--older-than",
        "90d",
        "--topic",
        &topic,
        "--yes",
        "--json",
    ];
    let expired = run(&mut repo.kbk(&expire)).expect_code(0).json();
    assert_eq!(
        (
            &expired["segments"],
            &expired["records"],
            &expired["snapshot"]
        ),
        (&json!(2), &json!(150), &json!(3))
    );
    assert_eq!(repo.verify()["expired_offsets"], 150);
    repo.verify_by_spec();

    produce(broker, "none", (&topic, 0), &aged(0, 20));
    produce(broker, "none", (&topic, 1), &aged(0, 10));
    let third = backup(&repo, broker, &topic);
    assert_eq!(third["records"], 30);
    assert_eq!(repo.verify()["records"], 60);
    repo.verify_by_spec();
    for (partition, first) in [(0, 100), (1, 50)] {
        let stored = repo.read_by_spec(&topic, partition);
        assert_eq!(stored[0].0, first);
        let stored: Vec<Message> = stored.into_iter().map(|(_, message)| message).collect();
        let all = messages(consume::read_all(broker, &topic, partition));
        assert_eq!(stored, all[usize::try_from(first).unwrap()..]);
    }
    let target = format!("{topic}-restored");
    let restored = repo.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(
        (
            &restored["records"],
            &restored["expired_offsets"],
            &restored["lost_offsets"]
        ),
        (&json!(60), &json!(150), &json!(0))
    );
    let diff = [
        "diff",
        "--live",
        "--topic",
        &topic,
        "-b",
        broker.bootstrap(),
    ];
    let compared = run(&mut repo.kbk(&diff)).expect_code(0).stdout;
    let expired = "not compared: 150 offsets that expired in the repository";
    assert!(compared.contains(expired), "{compared}");
    let status = ["status", "--topic", &topic, "-b", broker.bootstrap()];
    let status = run(&mut repo.kbk(&status)).expect_code(0).stdout;
    let every = "the snapshot has every offset of 1 topic of the cluster, but for 150 older offsets that have expired\n";
    assert!(status.contains(every), "{status}");
}

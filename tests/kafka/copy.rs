//! A copy holds what the original holds, can be restored, and is continued by a backup once the original is lost.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::{Message, messages};
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

fn records(first: i64, count: i64) -> Vec<Message> {
    let now = samples::now_ms();
    let record = |at| samples::plain(now + at, &format!("{at}"));
    (first..first + count).map(record).collect()
}

fn backup(repo: &Repo, broker: &Broker, topic: &str) -> Value {
    let finished = run(&mut repo.backup(broker, &["--topic", topic]));
    finished.expect_code(0).json()
}

#[test]
fn a_copy_is_restored_and_continued() {
    let broker = Broker::shared();
    let topic = topics::unique("copied");
    topics::create(broker, &topic, 2, &topics::ANY_TIME);
    let (repo, copy) = (Repo::new(), Repo::new());
    let from = repo.path();
    let arguments = ["copy", "--from", from.to_str().unwrap(), "--json"];
    let copied = || run(&mut copy.kbk(&arguments)).expect_code(0).json();

    produce(broker, "none", (&topic, 0), &records(0, 100));
    backup(&repo, broker, &topic);
    produce(broker, "none", (&topic, 1), &records(100, 50));
    backup(&repo, broker, &topic);
    let first = copied();
    assert_eq!(
        (
            &first["segments"],
            &first["accounted"]["records"],
            &first["accounted"]["whole_partitions"]
        ),
        (&json!(2), &json!(150), &json!(2))
    );
    // A number is left out: the snapshot of a forget is not copied.
    run(&mut repo.kbk(&["forget", "1", "--yes"])).expect_code(0);
    produce(broker, "none", (&topic, 0), &records(150, 30));
    backup(&repo, broker, &topic);
    let second = copied();
    assert_eq!(
        (&second["segments"], &second["accounted"]["records"]),
        (&json!(1), &json!(180))
    );
    let [snapshot] = &second["snapshots"].as_array().unwrap()[..] else {
        panic!("{second}")
    };
    assert_eq!(
        (&snapshot["origin"], &snapshot["snapshot"]),
        (&json!(4), &json!(4))
    );
    assert_eq!(copy.verify()["records"], 180);
    copy.verify_by_spec();

    let target = format!("{topic}-restored");
    let restored = copy.restore_as(broker, &[(&topic, &target)]);
    assert_eq!(restored["records"], json!(180));
    for partition in 0..2 {
        assert_eq!(
            messages(consume::read_all(broker, &target, partition)),
            messages(consume::read_all(broker, &topic, partition))
        );
    }

    // The original is lost: a backup into the copy reads only what is new, and gets a number above all others.
    produce(broker, "none", (&topic, 1), &records(180, 20));
    let continued = backup(&copy, broker, &topic);
    assert_eq!(
        (&continued["records"], &continued["snapshot"]),
        (&json!(20), &json!(5))
    );
    let ended = continued["findings"].as_array().unwrap().iter();
    let mut ended = ended.filter(|it| it["finding"] == "ends_copy");
    assert!(
        ended
            .next()
            .is_some_and(|it| it["origin_repository"].is_string()),
        "{continued}"
    );
    assert_eq!(copy.verify()["records"], 200);
    copy.verify_by_spec();
    backup(&repo, broker, &topic);
    let refused = run(&mut copy.kbk(&arguments)).expect_code(1).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("is of a backup of its own"), "{refused}");
}

//! `kbk status` with a cluster: what the newest snapshot lacks, and what no backup can have any more.

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{samples, topics};

fn some(count: usize) -> Vec<Message> {
    samples::mixed(1).take(count).collect()
}

fn status(repo: &Repo, broker: &Broker, pattern: &str, json: bool) -> Finished {
    let mut command = repo.kbk(&["status", "-b", broker.bootstrap(), "--topic", pattern]);
    if json {
        command.arg("--json");
    }
    run(&mut command)
}

/// Returns state, partitions behind, new and lost offsets.
fn lag(status: &Value, topic: &str) -> [Value; 4] {
    let mut rows = status["topics"].as_array().expect("topics").iter();
    let row = rows.find(|row| row["topic"] == topic).expect("the topic");
    ["state", "partitions_behind", "new_offsets", "lost_offsets"].map(|name| row[name].clone())
}

#[test]
fn status_says_what_became_of_each_topic_since_its_backup() {
    let broker = Broker::shared();
    let base = topics::unique("status");
    let pattern = format!("{base}*");
    let named = |name: &str| format!("{base}-{name}");
    let [same, more, lost, gone, again, new] =
        ["same", "more", "lost", "gone", "again", "new"].map(named);
    for topic in [&same, &more, &lost, &gone, &again] {
        topics::create(broker, topic, 2, &[]);
        produce(broker, "none", (topic, 0), &some(100));
    }
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &pattern])).expect_code(0);
    let finished = status(&repo, broker, &pattern, false).expect_code(0);
    let says = "the snapshot has every offset of 5 topics of the cluster";
    assert!(finished.stdout.contains(says), "{}", finished.stdout);

    produce(broker, "none", (&more, 1), &some(30));
    topics::delete(broker, &gone);
    topics::delete(broker, &again);
    topics::create(broker, &again, 1, &[]);
    produce(broker, "none", (&again, 0), &some(7));
    topics::create(broker, &new, 3, &[]);
    produce(broker, "none", (&new, 2), &some(20));
    let found = status(&repo, broker, &pattern, true).expect_code(0).json();
    assert_eq!(
        lag(&found, &same),
        [json!("up_to_date"), json!(0), json!(0), json!(0)]
    );
    assert_eq!(
        lag(&found, &more),
        [json!("behind"), json!(1), json!(30), json!(0)]
    );
    assert_eq!(
        lag(&found, &gone),
        [json!("gone"), json!(0), json!(0), json!(0)]
    );
    assert_eq!(
        lag(&found, &again),
        [json!("recreated"), json!(1), json!(7), json!(0)]
    );
    assert_eq!(
        lag(&found, &new),
        [json!("not_backed_up"), json!(1), json!(20), json!(0)]
    );
    let shown = status(&repo, broker, &pattern, false).expect_code(0).stdout;
    assert!(shown.contains("4 of 6 topics"), "{shown}");
    assert!(shown.contains("lacks 57 offsets"), "{shown}");

    produce(broker, "none", (&lost, 0), &some(50));
    topics::delete_records(broker, (&lost, 0), 120);
    let finished = status(&repo, broker, &pattern, false).expect_code(3);
    let first = finished.stdout.lines().next().expect("a line");
    let says = format!("has deleted 20 offsets that no backup has read, the first in {lost}");
    assert!(first.contains(&says), "{first}");
    let found = status(&repo, broker, &pattern, true).expect_code(3).json();
    assert_eq!(
        lag(&found, &lost),
        [json!("behind"), json!(1), json!(30), json!(20)]
    );
}

#[test]
fn the_age_is_known_without_the_cluster() {
    let broker = Broker::shared();
    let topic = topics::unique("status-alone");
    topics::create(broker, &topic, 1, &[]);
    let repo = Repo::new();
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let mut command = repo.kbk(&["status", "-b", "127.0.0.1:1", "--timeout", "2s", "--json"]);
    let found = run(&mut command).expect_code(3).json();
    assert_eq!(found["newest"]["sequence"], 1);
    let finding = found["findings"][0].as_str().expect("a finding");
    assert!(
        finding.contains("cannot compare with the cluster"),
        "{finding}"
    );
    assert_eq!(found["topics"], json!(null));
    let mut command = repo.kbk(&["status", "--no-cluster", "--max-age", "1h"]);
    run(command.env("KBK_BOOTSTRAP_SERVER", "127.0.0.1:1")).expect_code(0);
}

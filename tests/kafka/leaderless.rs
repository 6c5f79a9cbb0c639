//! A disk of a broker is gone, and with it the only replica of some partitions: the others are backed up, and these are named.

use std::thread;

use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::process::run;
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics, wait};

const PARTITIONS: i32 = 4;

#[test]
fn partitions_without_a_leader_do_not_keep_the_others_from_being_saved() {
    let folders = [("log.dirs", "data,more"), ("metadata.log.dir", "data")];
    let mut broker = Broker::start(&folders);
    topics::create(&broker, "half", PARTITIONS, &[]);
    let records: Vec<Message> = samples::mixed(1).take(30).collect();
    for partition in 0..PARTITIONS {
        produce(&broker, "none", ("half", partition), &records[..20]);
    }
    let [old, new] = [Repo::new(), Repo::new()];
    let whole = run(&mut old.backup(&broker, &[])).expect_code(0).json();
    assert_eq!(whole["complete"], true);

    broker.lose_folder("more");
    let leaders = wait::until("the broker to notice", || {
        let leaders = topics::leaders(&broker, "half");
        leaders.contains(&-1).then_some(leaders)
    });
    let with_leader = |led: bool| {
        let numbered = (0..)
            .zip(&leaders)
            .filter(move |(_, leader)| (**leader >= 0) == led);
        numbered
            .map(|(partition, _)| partition)
            .collect::<Vec<i32>>()
    };
    let (led, lost) = (with_leader(true), with_leader(false));
    assert!(!led.is_empty(), "{leaders:?}");
    for partition in &led {
        produce(&broker, "none", ("half", *partition), &records[20..]);
    }

    // Both wait for leaders, side by side. The first backup of a repository does not even know where these partitions begin.
    let (finished, first) = thread::scope(|scope| {
        let first = scope.spawn(|| run(&mut new.backup(&broker, &["--no-groups"])));
        let finished = run(&mut old.backup(&broker, &[]));
        (finished, first.join().expect("it ended"))
    });
    let finished = finished.expect_code(3);
    let (report, stderr) = (finished.json(), &finished.stderr);
    assert_eq!(report["records"], 10 * led.len());
    let finding = json!({ "finding": "no_leader", "topic": "half", "partitions": lost });
    let findings = report["findings"].as_array().expect("an array");
    assert!(findings.contains(&finding), "{report:#}");
    let named = "half: partition";
    assert!(
        stderr.contains(named) && stderr.contains("without a leader"),
        "{stderr}"
    );
    let groups = |finding: &&Value| finding["finding"] == "groups_missing";
    assert_eq!(findings.iter().filter(groups).count(), 1, "{report:#}");
    assert_eq!(incomplete(&report), lost);

    assert_eq!(incomplete(&first.expect_code(3).json()), lost);
    assert_eq!(
        new.verify_by_spec()["incomplete"].as_array().map(Vec::len),
        Some(lost.len())
    );
    for repo in [&old, &new] {
        let verified = run(&mut repo.kbk(&["verify", "--full", "--json"])).expect_code(3);
        assert_eq!(verified.json()["incomplete_partitions"], lost.len());
    }
    // Groups and transactions have no coordinator here.
    let (there, target) = (Broker::shared(), topics::unique("half"));
    let map = format!("half={target}");
    let args = ["--map", &map, "--allow-partial", "--verify"];
    run(&mut new.restore(there, &args)).expect_code(3);
    for partition in led {
        assert_eq!(consume::digest(there, &target, partition).records, 30);
    }
}

fn incomplete(report: &Value) -> Vec<i32> {
    let rows = report["incomplete"].as_array().expect("an array");
    let partition = |row: &Value| {
        assert_eq!(
            (&row["topic"], &row["reason"]),
            (&json!("half"), &json!("no_leader"))
        );
        i32::try_from(row["partition"].as_i64().expect("a number")).expect("a partition")
    };
    rows.iter().map(partition).collect()
}

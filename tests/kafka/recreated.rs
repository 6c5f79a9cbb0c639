//! A topic that was deleted and created again is two topics: each is reached, and nothing is left out in silence.

use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::repo::Repo;
use crate::support::{consume, samples, topics};

/// Backs up a topic of 10 records, and then another one of the same name, of 5. Returns their ids, the older one first.
fn two_of_a_name(broker: &Broker, repo: &Repo) -> (String, [String; 2]) {
    let topic = topics::unique("again");
    for count in [10, 5] {
        topics::create(broker, &topic, 1, &[]);
        let records: Vec<_> = samples::mixed(count).take(count as usize).collect();
        produce(broker, "none", (&topic, 0), &records);
        run(&mut repo.backup(broker, &["--topic", &topic])).json();
        if count == 10 {
            topics::delete(broker, &topic);
        }
    }
    let listed = run(&mut repo.kbk(&["ls", "--json"])).expect_code(0).json();
    let rows = listed["topics"].as_array().expect("an array");
    let id = |deleted: bool| {
        let row = rows
            .iter()
            .find(|row| row["deleted"] == deleted)
            .expect("a row");
        row["topic_id"].as_str().expect("a string").to_owned()
    };
    (topic, [id(true), id(false)])
}

fn lines(repo: &Repo, topic: &str) -> usize {
    let printed = run(&mut repo.kbk(&["cat", topic])).expect_code(0);
    printed.stdout.lines().count()
}

#[test]
fn every_topic_of_a_name_is_reached_and_what_is_left_out_is_named() {
    let broker = Broker::shared();
    let repo = Repo::new();
    let (topic, [older, newer]) = two_of_a_name(broker, &repo);
    let [old, new] = [&older, &newer].map(|id| format!("{topic}@{}", &id[..8]));
    let old_whole = format!("{topic}@{older}");
    for (name, records) in [(&topic, 5), (&old, 10), (&new, 5), (&old_whole, 10)] {
        assert_eq!(lines(&repo, name), records, "{name}");
        let listed = run(&mut repo.kbk(&["ls", name, "--json"]))
            .expect_code(0)
            .json();
        assert_eq!(listed["partitions"][0]["records"], records, "{name}");
        let verified = run(&mut repo.kbk(&["verify", "--json", "--topic", name])).expect_code(0);
        let expected = if *name == topic { 15 } else { records };
        assert_eq!(verified.json()["records"], expected, "{name}");
    }
    let listed = run(&mut repo.kbk(&["ls"])).expect_code(0);
    assert!(listed.stdout.contains(&old_whole), "{}", listed.stdout);

    // A file of offsets names topics in the same way, and what it leaves out is named, too.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let copies = [format!("{topic}-by-id"), format!("{topic}-by-name")];
    let lines = format!("{old},0,2,6\n{topic},0,1,\n");
    std::fs::write(path, lines).expect("written");
    let maps = [
        format!("{old_whole}={}", copies[0]),
        format!("{topic}={}", copies[1]),
    ];
    let args = ["--offsets", path, "--map", &maps[0], "--map", &maps[1]];
    let report = run(&mut repo.restore(broker, &args)).expect_code(0).json();
    assert_eq!(report["records"], 8, "{report}");
    assert_eq!(report["left_out"], serde_json::json!([]));
    assert_eq!(consume::read_all(broker, &copies[0], 0).len(), 4);
    assert_eq!(consume::read_all(broker, &copies[1], 0).len(), 4);
    std::fs::write(path, format!("{topic},0,,\n")).expect("written");
    let args = ["--offsets", path, "--map", &maps[1], "--dry-run"];
    let plan = run(&mut repo.restore(broker, &args)).json();
    assert_eq!(plan["left_out"][0], *old_whole);
    std::fs::write(path, format!("{topic},0,,\n{new},0,,\n")).expect("written");
    let twice = run(&mut repo.restore(broker, &["--offsets", path])).expect_code(2);
    assert!(twice.stderr.contains("is already in line 1"), "{twice:#?}");

    let restore = |args: &[&str]| run(&mut repo.restore(broker, args));
    let left_out = |finished: &Finished, expected: &[&str]| {
        let report: Value = finished.json();
        assert_eq!(
            report["left_out"],
            serde_json::json!(expected),
            "{report:#}"
        );
        for name in expected {
            assert!(finished.stderr.contains(name), "{finished:#?}");
        }
    };
    let [copy, copy_of_old, both_new, both_old] =
        ["copy", "copy-of-old", "both-new", "both-old"].map(|name| format!("{topic}-{name}"));
    let map = |source: &str, target: &str| format!("{source}={target}");
    let args = ["--map", &map(&topic, &copy)];
    left_out(
        &restore(&[&args[..], &["--dry-run"]].concat()).expect_code(0),
        &[&old_whole],
    );
    left_out(&restore(&args).expect_code(0), &[&old_whole]);
    let records = |target: &str| consume::digest(broker, target, 0).records;
    assert_eq!(records(&copy), 5);
    let args = ["--topic", &old, "--map", &map(&old, &copy_of_old)];
    left_out(&restore(&args).expect_code(0), &[]);
    assert_eq!(records(&copy_of_old), 10);

    let both = ["--topic", &topic, "--topic", &old];
    let mixed = restore(&both).expect_code(2);
    assert!(
        mixed.stderr.contains("would both be restored to"),
        "{mixed:#?}"
    );
    let maps = [map(&topic, &both_new), map(&old, &both_old)];
    let args = [&both[..], &["--map", &maps[0], "--map", &maps[1]]].concat();
    left_out(&restore(&args).expect_code(0), &[]);
    assert_eq!((records(&both_new), records(&both_old)), (5, 10));
    let diff = ["diff", "--live", "--json", "-b", broker.bootstrap()];
    let args = [&diff[..], &["--topic", &old, "--map", &maps[1]]].concat();
    run(&mut repo.kbk(&args)).expect_code(0);
    let from = format!("{old}/0");
    let mapped = run(&mut repo.kbk(&["groups", "map", "--json", &from, "9"])).expect_code(0);
    let mapped = &mapped.json()["partitions"][0]["offsets"][0];
    assert_eq!(mapped["targets"][0]["topic"], both_old);

    let unknown = run(&mut repo.kbk(&["cat", &format!("{topic}@ffffffff")])).expect_code(1);
    assert!(unknown.stderr.contains(&old_whole), "{unknown:#?}");
    run(&mut repo.kbk(&["cat", &format!("{topic}@{}", &older[..7])])).expect_code(2);
}

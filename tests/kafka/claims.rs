//! Two backups at once into one repository: the second of the same topics is refused at its start, others run side by side, and none is
//! ever kept out by one that has ended.

use std::fs;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::process::{Running, run};
use crate::support::produce::{Producer, produce};
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::{samples, topics};

/// A topic whose backup waits until a transaction ends, with its claim held.
struct Held {
    topic: String,
    open: Producer,
}

impl Held {
    const RECORDS: u64 = 11;

    fn new(broker: &Broker) -> Held {
        let topic = topics::unique("held");
        topics::create(broker, &topic, 1, &[]);
        let records: Vec<Message> = samples::mixed(1).take(11).collect();
        produce(broker, "none", (&topic, 0), &records[..10]);
        let open = Producer::transactional(broker, "none", &topics::unique("open"));
        open.begin();
        open.send(&topic, 0, &records[10]);
        open.flush();
        Held { topic, open }
    }

    /// Starts a backup, and returns once it holds its claim.
    fn backup(&self, broker: &Broker, repo: &Repo) -> Running {
        let args = ["--topic", &self.topic, "--open-transactions-wait", "10m"];
        let running = Running::spawn(&mut repo.backup(broker, &args));
        let pid = json!(running.process_id());
        running.wait_until("a claim that is held", || {
            // A reading may fall between the listing and the removal of another claim.
            let claims = repo.claims();
            let mut claims = claims.iter();
            claims
                .find(|claim| claim["state"] == "held" && claim["process"]["pid"] == pid)
                .cloned()
        });
        running
    }
}

#[test]
fn the_second_backup_of_a_topic_is_refused_and_others_are_not() {
    let broker = Broker::shared();
    let held = Held::new(broker);
    let other = topics::unique("beside");
    topics::create(broker, &other, 1, &[]);
    let records: Vec<Message> = samples::mixed(2).take(5).collect();
    produce(broker, "none", (&other, 0), &records);
    let repo = Repo::new();

    // Refused, by topic and by pattern, however often, while another topic is backed up.
    let first = held.backup(broker, &repo);
    let process = format!("process {}", first.process_id());
    for selected in [&held.topic, "*"] {
        let refused = run(&mut repo.backup(broker, &["--topic", selected])).expect_code(1);
        for expected in [
            &*held.topic,
            &process,
            "kbk backup on",
            "wait until it has ended",
        ] {
            assert!(
                refused.stderr.contains(expected),
                "{expected}: {refused:#?}"
            );
        }
    }
    let beside = run(&mut repo.backup(broker, &["--topic", &other])).expect_code(0);
    assert_eq!(beside.json()["records"], 5);
    let verified = repo.verify();
    assert_eq!(verified["claims"][0]["running"], "yes");
    assert_eq!(verified["claims"][0]["topics"], json!([held.topic]));

    // Killed: named as such, and in nobody's way.
    first.signal(libc::SIGKILL);
    first.finish();
    assert_eq!(repo.verify()["claims"][0]["running"], "no");
    let shown = run(&mut repo.kbk(&["verify"])).expect_code(0);
    assert!(
        shown.stdout.contains("has ended and left its claim"),
        "{shown:#?}"
    );
    let second = held.backup(broker, &repo);
    assert_eq!(repo.claims().len(), 1, "that of the killed run is gone");

    // Stopped: it takes its claim away.
    second.signal(libc::SIGINT);
    let second = second.finish().expect_code(130);
    assert!(
        second.stderr.contains("removed the claim of kbk backup on"),
        "{second:#?}"
    );
    assert_eq!(repo.claims(), [] as [serde_json::Value; 0]);

    // Side by side: each commit keeps what the other committed.
    let third = held.backup(broker, &repo);
    produce(broker, "none", (&other, 0), &records);
    run(&mut repo.backup(broker, &["--topic", &other])).expect_code(0);
    held.open.commit();
    let third = third.finish().expect_code(0).json();
    assert_eq!(
        (&third["snapshot"], &third["records"]),
        (&json!(3), &json!(Held::RECORDS))
    );
    assert_eq!(repo.verify()["records"], Held::RECORDS + 10);
    assert_eq!(repo.verify()["claims"], json!([]));
    assert_eq!(repo.read_by_spec(&other, 0).len(), 10);
    repo.verify_by_spec();
}

#[test]
fn a_backup_that_lost_its_claim_commits_nothing_and_the_next_one_uses_its_segments() {
    let broker = Broker::shared();
    let held = Held::new(broker);
    let repo = Repo::new();
    let run_without = held.backup(broker, &repo);
    let claims = fs::read_dir(repo.path().join("claims")).unwrap();
    for claim in claims {
        fs::remove_file(claim.unwrap().path()).unwrap();
    }
    held.open.commit();
    let lost = run_without.finish().expect_code(1);
    for expected in ["its claim was removed", "nothing was committed"] {
        assert!(lost.stderr.contains(expected), "{expected}: {lost:#?}");
    }
    assert!(!repo.snapshot(1).exists());
    let left = repo.segments();
    assert_eq!(left.len(), 1);
    let next = run(&mut repo.backup(broker, &["--topic", &held.topic])).expect_code(0);
    assert!(next.stderr.contains("adopting 1 segment "), "{next:#?}");
    let stored = repo.segments();
    assert!(left.keys().all(|key| stored.contains_key(key)));
    let verified = repo.verify();
    assert_eq!(verified["records"], Held::RECORDS);
    assert_eq!(verified["orphans"]["objects"], 0);
}

/// Takes the claim of a run away while the run is suspended, as another machine does that takes it for dead.
fn take_claim(repo: &Repo, running: &Running) {
    running.suspend();
    for claim in fs::read_dir(repo.path().join("claims")).unwrap() {
        fs::remove_file(claim.unwrap().path()).unwrap();
    }
}

#[test]
fn a_backup_that_was_suspended_too_long_stops_at_once_and_names_who_writes_now() {
    let broker = Broker::shared();
    let held = Held::new(broker);
    let repo = Repo::new();
    let first = held.backup(broker, &repo);
    take_claim(&repo, &first);
    let second = held.backup(broker, &repo);
    // It would wait for the transaction for ten minutes more.
    first.proceed();
    let lost = first.finish().expect_code(1);
    let holder = format!("process {}", second.process_id());
    for expected in [
        &*held.topic,
        &holder,
        "its claim was removed",
        "nothing was committed",
        "wait until it has ended",
    ] {
        assert!(lost.stderr.contains(expected), "{expected}: {lost:#?}");
    }
    assert_eq!(repo.claims().len(), 1, "that of the second run");
    held.open.commit();
    let second = second.finish().expect_code(0).json();
    assert_eq!(second["records"], Held::RECORDS);
    assert_eq!(repo.verify()["records"], Held::RECORDS);
    repo.verify_by_spec();
}

#[test]
fn a_backup_that_was_overtaken_while_it_was_suspended_commits_nothing() {
    let broker = Broker::shared();
    let held = Held::new(broker);
    let repo = Repo::new();
    let first = held.backup(broker, &repo);
    take_claim(&repo, &first);
    // Not what the transaction holds back.
    let args = ["--topic", &held.topic, "--open-transactions-wait", "0s"];
    run(&mut repo.backup(broker, &args)).expect_code(3);
    first.proceed();
    let lost = first.finish().expect_code(1);
    for expected in ["nothing was committed", "run this command again"] {
        assert!(lost.stderr.contains(expected), "{expected}: {lost:#?}");
    }
    assert!(!repo.snapshot(2).exists());
    held.open.commit();
    let next = run(&mut repo.backup(broker, &["--topic", &held.topic])).expect_code(0);
    assert_eq!(next.json()["records"], 1);
    assert_eq!(repo.verify()["records"], Held::RECORDS);
}

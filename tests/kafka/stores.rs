//! A repository in a bucket: on a real S3 server and on a real Azure one, through networks that fail, and without a word of its
//! secrets.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kbk_format::repo::{Location, Store, StoreOptions};

use crate::support::broker::Broker;
use crate::support::fault_proxy::{Fault, FaultProxy, Plan};
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::stores::{ObjectServer, Protocol, SECRET};
use crate::support::{consume, samples, seed, store_contract, topics};

/// Runs `of_the_environment` in a process of its own: credentials are variables of a process.
fn contract(protocol: Protocol) {
    let server = ObjectServer::start(protocol);
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args([
        "--exact",
        "stores::of_the_environment",
        "--ignored",
        "--nocapture",
    ]);
    child.env("KBK_TEST_LOCATION", server.location("contract"));
    child.env("KBK_TEST_ENDPOINT", server.endpoint(server.address));
    child.envs(server.credentials());
    let ended = run(&mut child).expect_code(0);
    assert!(ended.stdout.contains("1 passed"), "{ended:?}");
}

#[test]
fn s3_does_what_every_store_must() {
    contract(Protocol::S3);
}

#[test]
fn azure_does_what_every_store_must() {
    contract(Protocol::Azure);
}

#[test]
#[ignore = "a part of other tests, which say where the store is"]
fn of_the_environment() {
    let variable = |name| std::env::var(name).expect("another test sets it");
    let location = Location::parse(&variable("KBK_TEST_LOCATION")).expect("a location");
    let mut options = StoreOptions::default();
    options.endpoint = Some(variable("KBK_TEST_ENDPOINT"));
    options.allow_http = true;
    let store = Store::open_at(&location.with_options(options)).expect("a store");
    store_contract::check(&store);
}

/// Fails the test if a secret is in what a command said.
#[track_caller]
fn tells_nothing(ended: Finished) -> Finished {
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(SECRET), "{text}");
    }
    ended
}

/// A topic of the shared broker with some records.
fn topic(broker: &Broker, name: &str, partitions: i32) -> String {
    let name = topics::unique(name);
    topics::create(broker, &name, partitions, &topics::ANY_TIME);
    add_records(broker, &name, partitions, 500);
    name
}

fn add_records(broker: &Broker, name: &str, partitions: i32, count: i64) {
    for partition in 0..partitions {
        let record = |number: i64| samples::plain(samples::now_ms(), &format!("value {number}"));
        let records: Vec<Message> = (0..count).map(record).collect();
        produce(broker, "none", (name, partition), &records);
    }
}

fn end_to_end(protocol: Protocol) {
    let server = &ObjectServer::start(protocol);
    let broker = Broker::shared();
    let topic = &topic(broker, "stored", 3);
    let kbk = |args: &[&str]| tells_nothing(run(&mut server.kbk("kafka/prod", args)));
    let cluster = ["-b", broker.bootstrap(), "--topic", topic];

    let missing = kbk(&["snapshots"]).expect_code(1);
    assert!(
        missing.stderr.contains("is not a kbk repository"),
        "{missing:?}"
    );
    let refused = kbk(&["init", "--repo-mode", "0640"]).expect_code(2);
    assert!(
        refused.stderr.contains("--repo-mode is for folders"),
        "{refused:?}"
    );
    kbk(&["init"]).expect_code(0);
    let again = kbk(&["init"]).expect_code(1);
    assert!(
        again.stderr.contains("is already a kbk repository"),
        "{again:?}"
    );

    let backup = |args: &[&str]| kbk(&[&["backup", "--json"], &cluster[..], args].concat());
    assert_eq!(
        backup(&["--no-acls"]).expect_code(0).json()["records"],
        1500
    );
    add_records(broker, topic, 3, 20);
    assert_eq!(backup(&["--no-acls"]).expect_code(0).json()["records"], 60);
    let idle = backup(&["--no-acls", "-vv"]).expect_code(0).json();
    assert_eq!(idle["records"], 0);

    let verified = kbk(&["verify", "--full", "--json"]).expect_code(0).json();
    assert_eq!(verified["records"], 1560);
    let listed = kbk(&["ls"]).expect_code(0);
    assert!(listed.stdout.contains(topic.as_str()), "{listed:?}");
    kbk(&["status"]).expect_code(0);
    kbk(&["snapshots", "--json"]).expect_code(0);
    let printed = kbk(&["cat", topic]).expect_code(0);
    assert_eq!(printed.stdout.lines().count(), 1560);

    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restore = ["restore", "--json", "--verify", "--map", &map];
    let restored = kbk(&[&restore[..], &cluster].concat())
        .expect_code(0)
        .json();
    assert_eq!(restored["records"], 1560);
    assert_eq!(consume::assert_same(broker, (topic, &target), 3), 1560);

    mounted(server, topic);
    if protocol == Protocol::S3 {
        // Objects are files of this server, and their names and tags are beside them.
        no_secret_in(&server.data());
    }
}

/// Reads a file of the mounted repository.
fn mounted(server: &ObjectServer, topic: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_str().expect("UTF-8");
    let mount = run(&mut server.kbk("kafka/prod", &["mount", place, "--daemon"]));
    tells_nothing(mount).expect_code(0);
    let find =
        format!("find {place} -path '*{topic}*' -name '*.jsonl' | head -1 | xargs cat | wc -l");
    let found = run(Command::new("bash").args(["-c", &find]));
    run(&mut server.kbk("kafka/prod", &["umount", place])).expect_code(0);
    let lines: u64 = found.stdout.trim().parse().expect("a number");
    assert!(lines > 0, "{found:?}");
}

fn no_secret_in(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            no_secret_in(&path);
        } else {
            let bytes = fs::read(&path).expect("a file");
            let secret = SECRET.as_bytes();
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{}", path.display());
        }
    }
}

#[test]
fn a_repository_in_s3_is_backed_up_to_verified_mounted_and_restored() {
    end_to_end(Protocol::S3);
}

#[test]
fn a_repository_in_azure_is_backed_up_to_verified_mounted_and_restored() {
    end_to_end(Protocol::Azure);
}

#[test]
fn each_failure_of_a_bucket_is_named_and_none_is_taken_for_a_missing_repository() {
    let server = &ObjectServer::start(Protocol::S3);
    run(&mut server.kbk("r", &["init"])).expect_code(0);
    let proxy = &FaultProxy::start(server.address);
    let short = [
        "--store-option=request-timeout=1s",
        "--store-option=retry-timeout=1s",
        "-vv",
    ];
    for (fault, expected) in [
        (
            Fault::Refused(403, "AccessDenied"),
            "grant these credentials `s3:GetObject`",
        ),
        (
            Fault::Refused(403, "InvalidAccessKeyId"),
            "cannot log in to use",
        ),
        (Fault::Refused(401, "Unauthorized"), "cannot log in to use"),
        (
            Fault::Refused(404, "NoSuchBucket"),
            "there is no such bucket",
        ),
        (Fault::Refused(301, "PermanentRedirect"), "another region"),
        (Fault::Refused(503, "SlowDown"), "takes no more requests"),
        (
            Fault::Refused(429, "TooManyRequests"),
            "takes no more requests",
        ),
        (
            Fault::Refused(500, "InternalError"),
            "it answers 500 InternalError",
        ),
        (Fault::Hang, "no complete answer in time"),
        (Fault::Cut, "the connection ended before the answer did"),
        (Fault::Lost, "the connection ended before the answer did"),
    ] {
        proxy.set(Plan::All(fault));
        let args = [&short[..], &["snapshots"]].concat();
        let ended = run(&mut server.kbk_by(proxy.address, "r", &args));
        let ended = tells_nothing(ended).expect_code(1);
        assert!(ended.stderr.contains(expected), "{fault:?}: {ended:?}");
        assert!(
            !ended.stderr.contains("is not a kbk repository"),
            "{fault:?}: {ended:?}"
        );
    }
    // Refusals of writes and of deletions, which reading does not show.
    proxy.set(Plan::None);
    let mut command = server.kbk("elsewhere", &["init"]);
    let wrong = command.env("AWS_SECRET_ACCESS_KEY", "wrong-key-hunter2");
    let wrong = run(wrong).expect_code(1);
    assert!(wrong.stderr.contains("cannot log in to use"), "{wrong:?}");
    assert!(!wrong.stderr.contains("hunter2"), "{wrong:?}");
    let mut command = server.kbk("elsewhere", &["init"]);
    for (name, _) in server.credentials() {
        command.env_remove(name);
    }
    let none = run(command.env("AWS_EC2_METADATA_DISABLED", "true")).expect_code(1);
    assert!(none.stderr.contains("no access key was found"), "{none:?}");
}

#[test]
fn a_network_that_fails_in_every_tenth_request_costs_time_and_nothing_else() {
    let broker = Broker::shared();
    let topic = &topic(broker, "shaky", 4);
    let server = &ObjectServer::start(Protocol::S3);
    let proxy = &FaultProxy::start(server.address);
    let kbk = |args: &[&str]| tells_nothing(run(&mut server.kbk_by(proxy.address, "r", args)));
    let cluster = ["-b", broker.bootstrap(), "--topic", topic];
    kbk(&["init"]).expect_code(0);
    proxy.set(Plan::Some {
        seed: seed(),
        per_mille: 100,
    });
    let mut stored = 0;
    for _ in 0..4 {
        let backup = kbk(&[&["backup", "--json", "--no-acls"], &cluster[..]].concat());
        stored += backup.expect_code(0).json()["records"]
            .as_u64()
            .expect("a number");
        add_records(broker, topic, 4, 10);
    }
    assert_eq!(stored, 4 * (500 + 3 * 10));
    let whole = run(&mut server.kbk("r", &["verify", "--full", "--json"])).expect_code(0);
    assert_eq!(whole.json()["records"], stored);
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restore = ["restore", "--json", "--map", &map];
    let restored = kbk(&[&restore[..], &cluster].concat())
        .expect_code(0)
        .json();
    assert_eq!(restored["records"], stored);
    let (requests, faults) = proxy.counts();
    println!("{faults} of {requests} requests failed or were late");
    assert!(faults > 10);

    // What docs/stores.md says a commit costs, with room for what a listing of claims finds.
    proxy.set(Plan::None);
    for (new, most) in [(0, 80), (10, 120)] {
        add_records(broker, topic, 4, new);
        let before = proxy.counts().0;
        kbk(&[&["backup", "--json", "--no-acls"], &cluster[..]].concat()).expect_code(0);
        let requests = proxy.counts().0 - before;
        println!("a backup of 4 partitions with {new} new records each: {requests} requests");
        assert!(requests < most, "{requests}");
    }
}

#[test]
fn a_backup_through_a_network_that_is_down_for_a_while_goes_on() {
    let broker = Broker::shared();
    let topic = &topic(broker, "down", 2);
    let server = &ObjectServer::start(Protocol::Azure);
    let proxy = &FaultProxy::start(server.address);
    run(&mut server.kbk_by(proxy.address, "r", &["init"])).expect_code(0);
    proxy.set(Plan::All(Fault::Refused(503, "ServerBusy")));
    let back = proxy.clone();
    let up = std::thread::spawn(move || {
        crate::support::wait::until("some requests", || (back.counts().0 > 70).then_some(()));
        std::thread::sleep(Duration::from_millis(500));
        back.set(Plan::None);
    });
    let args = [
        "backup",
        "--json",
        "--no-acls",
        "-b",
        broker.bootstrap(),
        "--topic",
        topic,
    ];
    let backup = run(&mut server.kbk_by(proxy.address, "r", &args)).expect_code(0);
    assert_eq!(backup.json()["records"], 1000);
    up.join().expect("it was down");
}

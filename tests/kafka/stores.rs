//! A repository in a bucket: on a real S3 server, on a real Azure one and in a translation of Google's protocol, through networks that
//! fail, and without a word of its secrets.

use std::fs;
use std::process::Command;
use std::time::Duration;

use futures_util::TryStreamExt;
use kbk_format::repo::{Location, Store, StoreOptions};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::broker::Broker;
use crate::support::fault_proxy::{Fault, FaultProxy, Plan};
use crate::support::pages::blocks;
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::secrets::Kept;
use crate::support::stores::{ObjectServer, Protocol};
use crate::support::{consume, google, groups, samples, seed, store_contract, topics, wait};

/// A copy of a segment under a name that no segment has.
const COPIED: &str = "data/copied.bin";

fn contract(protocol: Protocol) {
    let server = ObjectServer::start(protocol);
    in_process(&server, "contract", "of_the_environment");
}

/// Runs one of the ignored tests below in a process of its own: credentials are variables of a process.
fn in_process(server: &ObjectServer, prefix: &str, test: &str) {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    let test = format!("stores::{test}");
    child.args(["--exact", &test, "--ignored", "--nocapture"]);
    child.env("KBK_TEST_LOCATION", server.location(prefix));
    child.env("KBK_TEST_ENDPOINT", server.endpoint(server.address));
    child.envs(server.credentials());
    let ended = run(&mut child).expect_code(0);
    assert!(ended.stdout.contains("1 passed"), "{ended:?}");
}

/// Opens the store that the variables name.
fn store_of_the_environment() -> Store {
    let variable = |name| std::env::var(name).expect("another test sets it");
    let location = Location::parse(&variable("KBK_TEST_LOCATION")).expect("a location");
    let mut options = StoreOptions::default();
    options.endpoint = Some(variable("KBK_TEST_ENDPOINT"));
    options.allow_http = true;
    Store::open_at(&location.with_options(options)).expect("a store")
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
fn a_translation_of_google_does_what_every_store_must() {
    contract(Protocol::Google);
}

#[test]
#[ignore = "a part of other tests, which say where the store is"]
fn of_the_environment() {
    let location = std::env::var("KBK_TEST_LOCATION").expect("another test sets it");
    let page = if location.starts_with("az://") {
        5_000
    } else {
        1_000
    };
    store_contract::check(&store_of_the_environment(), page);
}

/// Removes everything but the segments, as an accident would, and adds files that are no objects: notes, and a copy of a segment.
#[test]
#[ignore = "a part of other tests, which say where the store is"]
fn without_index() {
    let store = store_of_the_environment();
    let objects = store.objects();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let all = objects.list(None).map_ok(|found| found.location);
        let all: Vec<Path> = all.try_collect().await.expect("listed");
        let is_segment = |path: &&Path| path.as_ref().starts_with("data/");
        let (segments, others): (Vec<&Path>, Vec<&Path>) = all.iter().partition(is_segment);
        assert!(!segments.is_empty() && others.len() > 3, "{all:?}");
        for path in others {
            objects.delete(path).await.expect("deleted");
        }
        let segment = objects.get(segments[0]).await.expect("a segment");
        let copy = segment.bytes().await.expect("its bytes");
        for (name, bytes) in [(COPIED, copy), ("data/notes.txt", "text".into())] {
            let put = objects.put(&Path::from(name), bytes.into()).await;
            put.expect("written");
        }
    });
}

/// Removes the copy of a segment.
#[test]
#[ignore = "a part of other tests, which say where the store is"]
fn without_copy() {
    let store = store_of_the_environment();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let deleted = runtime.block_on(store.objects().delete(&Path::from(COPIED)));
    deleted.expect("deleted");
}

/// Fails the test if a secret of the server is in what a command said.
#[track_caller]
fn tells_nothing(server: &ObjectServer, ended: Finished) -> Finished {
    for secret in server.secrets() {
        for text in [&ended.stdout, &ended.stderr] {
            assert!(!text.contains(&secret), "{text}");
        }
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

/// Runs commands on a repository in a server, and sees that they tell nothing.
struct Bucket<'a> {
    server: &'a ObjectServer,
    prefix: &'a str,
    /// The topic that is backed up.
    topic: &'a str,
    broker: &'a Broker,
}

impl Bucket<'_> {
    fn kbk(&self, args: &[&str]) -> Finished {
        tells_nothing(self.server, run(&mut self.server.kbk(self.prefix, args)))
    }

    /// Runs a command that reads or writes the topic in the cluster.
    fn live(&self, args: &[&str]) -> Finished {
        let cluster = ["-b", self.broker.bootstrap(), "--topic", self.topic];
        self.kbk(&[args, &cluster].concat())
    }

    /// Backs up, and returns the number of new records.
    fn backup(&self, args: &[&str]) -> i64 {
        let backup = self.live(&[&["backup", "--json", "--no-acls"], args].concat());
        let records = backup.expect_code(0).json()["records"].as_i64();
        records.expect("a number")
    }

    fn verify(&self) -> i64 {
        let verified = self.kbk(&["verify", "--full", "--json"]).expect_code(0);
        verified.json()["records"].as_i64().expect("a number")
    }

    /// Commits an offset of a group, so that the next backup stores other groups than the last one.
    fn commit(&self, offset: i64) {
        let group = format!("group-of-{}", self.topic);
        groups::commit(self.broker, &group, &[(self.topic, 0, offset, "")]);
    }
}

fn end_to_end(protocol: Protocol) {
    let server = &ObjectServer::start(protocol);
    let broker = Broker::shared();
    let topic = &topic(broker, "stored", 3);
    let bucket = &Bucket {
        server,
        prefix: "kafka/prod",
        topic,
        broker,
    };
    create(bucket);

    assert_eq!(bucket.backup(&[]), 1500);
    add_records(broker, topic, 3, 20);
    bucket.commit(7);
    assert_eq!(bucket.backup(&[]), 60);
    bucket.commit(8);
    let folder = tempfile::tempdir().expect("a folder");
    let metrics = folder.path().join("kbk.prom");
    let textfile = format!("--metrics-textfile={}", metrics.display());
    assert_eq!(bucket.backup(&["-vv", &textfile]), 0);
    let metrics = fs::read_to_string(metrics).expect("metrics");
    for secret in server.secrets() {
        assert!(!metrics.contains(&secret), "{metrics}");
    }

    assert_eq!(bucket.verify(), 1560);
    let listed = bucket.kbk(&["ls"]).expect_code(0);
    assert!(listed.stdout.contains(topic.as_str()), "{listed:?}");
    bucket.kbk(&["status"]).expect_code(0);
    bucket.kbk(&["snapshots", "--json"]).expect_code(0);
    let printed = bucket.kbk(&["cat", topic]).expect_code(0);
    assert_eq!(printed.stdout.lines().count(), 1560);
    mounted(server, topic);
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restored = bucket.live(&["restore", "--json", "--verify", "--map", &map]);
    assert_eq!(restored.expect_code(0).json()["records"], 1560);
    assert_eq!(consume::assert_same(broker, (topic, &target), 3), 1560);

    restored_as_the_page_says(bucket);
    retain(bucket);
    assert_eq!(bucket.verify(), 1560);
    let again = bucket.kbk(&["cat", topic]).expect_code(0);
    assert!(again.stdout == printed.stdout, "other records than before");

    // What was forgotten is gone, and the rest has what it always had.
    let kept = Kept::read(&server.data());
    assert!(kept.frames > 0, "nothing compressed was found");
    let group = format!("group-of-{topic}");
    assert!(kept.find(&group).is_some(), "{group} was backed up");
    for secret in server.secrets() {
        assert_eq!(kept.find(&secret), None);
    }
    rebuilt(bucket, &printed.stdout);
}

/// Loses the index and kbk.json, and rebuilds them from the segments.
fn rebuilt(bucket: &Bucket, printed: &str) {
    in_process(bucket.server, bucket.prefix, "without_index");
    let refused = bucket.kbk(&["cat", bucket.topic]).expect_code(1);
    assert!(
        refused.stderr.contains("kbk recover --rebuild"),
        "{refused:?}"
    );
    let planned = bucket.kbk(&["recover", "--rebuild", "--dry-run", "--json"]);
    // A segment that is not used may be one that nothing else has.
    let planned = planned.expect_code(3).json();
    assert_eq!(planned["records"], 1560);
    let others = planned["other_files"].as_array().expect("files");
    let [copied, notes] = &others[..] else {
        panic!("{planned}");
    };
    assert_eq!(copied["file"], COPIED);
    assert_eq!(copied["is_segment"], true, "{copied}");
    let segments = planned["data_objects"].as_array().expect("objects").iter();
    let original = segments.filter(|it| it["key"] == copied["stated_key"]);
    assert_eq!(original.count(), 1, "{planned}");
    assert_eq!(notes["file"], "data/notes.txt");
    assert_eq!(notes["is_segment"], false, "{notes}");
    in_process(bucket.server, bucket.prefix, "without_copy");
    let rebuilt = bucket
        .kbk(&["recover", "--rebuild", "--json"])
        .expect_code(0)
        .json();
    assert_eq!(rebuilt["records"], 1560);
    let objects = rebuilt["data_objects"].as_array().expect("objects");
    assert!(
        objects.iter().all(|it| it["fate"] == "adopted"),
        "{rebuilt}"
    );
    assert_eq!(rebuilt["other_files"][0]["file"], "data/notes.txt");
    // What the cluster had after the last segment is not known.
    let again = bucket.kbk(&["cat", bucket.topic]).expect_code(3);
    assert!(again.stdout == printed, "other records than before");
    // The groups were named by the snapshots alone; a backup reads them and the rest again.
    assert_eq!(bucket.backup(&[]), 0);
    assert_eq!(bucket.verify(), 1560);
}

/// Runs the commands that docs/stores.md shows, on this repository, topic and cluster.
fn restored_as_the_page_says(bucket: &Bucket) {
    let shown = blocks("docs/stores.md").into_iter();
    let shown: Vec<_> = shown
        .filter(|block| block.heading == "Restore from a bucket")
        .collect();
    let commands: Vec<&str> = shown.iter().flat_map(|block| block.commands()).collect();
    assert_eq!(commands.len(), 3, "{commands:#?}");
    for command in commands {
        let command = command.replace("orders", bucket.topic);
        let args = command.split(' ').skip(1);
        let args = args.filter(|word| !word.starts_with("s3://") && *word != "-r");
        let args: Vec<&str> = args
            .map(|word| match word {
                "broker:9092" => bucket.broker.bootstrap(),
                word => word,
            })
            .collect();
        bucket.kbk(&args).expect_code(0);
    }
    let target = format!("{}-from-bucket", bucket.topic);
    let same = (bucket.topic, &*target);
    assert_eq!(consume::assert_same(bucket.broker, same, 3), 1560);
}

/// Creates the repository, where there is none.
fn create(bucket: &Bucket) {
    let missing = bucket.kbk(&["snapshots"]).expect_code(1);
    assert!(
        missing.stderr.contains("is not a kbk repository"),
        "{missing:?}"
    );
    let refused = bucket.kbk(&["init", "--repo-mode", "0640"]).expect_code(2);
    assert!(
        refused.stderr.contains("--repo-mode is for folders"),
        "{refused:?}"
    );
    bucket.kbk(&["init"]).expect_code(0);
    let again = bucket.kbk(&["init"]).expect_code(1);
    assert!(
        again.stderr.contains("is already a kbk repository"),
        "{again:?}"
    );
}

/// Forgets all snapshots but the last one, and prunes: one run lists what is not needed, and one deletes it.
fn retain(bucket: &Bucket) {
    let forget = ["forget", "--keep-last", "1", "--yes", "--json"];
    let forgotten = bucket.kbk(&forget).expect_code(0).json();
    assert_eq!(forgotten["forgotten"], 2, "{forgotten}");
    let prune = |grace: &str| {
        let pruned = bucket.kbk(&["prune", "--grace", grace, "--json"]);
        pruned.expect_code(0).json()
    };
    let count = |document: &serde_json::Value, what: &str| {
        document[what]["objects"].as_u64().expect("a number")
    };
    // The groups of two snapshots.
    let listed = prune("1s");
    assert_eq!(count(&listed, "deleted"), 0, "{listed}");
    assert!(count(&listed, "marked") >= 2, "{listed}");
    let deleted = prune("0s");
    assert!(
        count(&deleted, "deleted") >= count(&listed, "marked"),
        "{deleted}"
    );
    let idle = prune("0s");
    assert_eq!((count(&idle, "deleted"), count(&idle, "marked")), (0, 0));
    assert!(sequences(bucket).iter().all(|&sequence| sequence > 2));
}

/// Returns the numbers of the snapshots that there are.
fn sequences(bucket: &Bucket) -> Vec<u64> {
    let listed = bucket.kbk(&["snapshots", "--json"]).expect_code(0).json();
    let rows = listed["snapshots"].as_array().expect("rows").iter();
    rows.map(|row| row["sequence"].as_u64().expect("a number"))
        .collect()
}

/// Reads a file of the mounted repository.
fn mounted(server: &ObjectServer, topic: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().to_str().expect("UTF-8");
    let mount = run(&mut server.kbk("kafka/prod", &["mount", place, "--daemon"]));
    tells_nothing(server, mount).expect_code(0);
    let find =
        format!("find {place} -path '*{topic}*' -name '*.jsonl' | head -1 | xargs cat | wc -l");
    let found = run(Command::new("bash").args(["-c", &find]));
    run(&mut server.kbk("kafka/prod", &["umount", place])).expect_code(0);
    let lines: u64 = found.stdout.trim().parse().expect("a number");
    assert!(lines > 0, "{found:?}");
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
fn a_repository_in_a_translation_of_google_is_backed_up_to_verified_mounted_and_restored() {
    end_to_end(Protocol::Google);
}

#[test]
fn credentials_for_google_are_found_where_the_documentation_says() {
    let server = &ObjectServer::start(Protocol::Google);
    run(&mut server.kbk("r", &["init"])).expect_code(0);
    let home = tempfile::tempdir().expect("a folder");
    let asked = |variable: &str, value: &str| {
        let mut command = server.kbk("r", &["snapshots", "-vv"]);
        command.env_remove("GOOGLE_APPLICATION_CREDENTIALS");
        command.env("HOME", home.path()).env(variable, value);
        let ended = tells_nothing(server, run(&mut command));
        assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
        ended
    };
    let key = server.translation().key_file().to_str().expect("UTF-8");
    let metadata = server.address.to_string();
    asked("GOOGLE_APPLICATION_CREDENTIALS", key).expect_code(0);
    asked("GOOGLE_SERVICE_ACCOUNT", key).expect_code(0);
    asked("GCE_METADATA_HOST", &metadata).expect_code(0);

    let other = openssl::rsa::Rsa::generate(2048).and_then(openssl::pkey::PKey::from_rsa);
    let other = google::key_file(home.path(), "other.json", &other.expect("a key"));
    let other = other.to_str().expect("UTF-8");
    for (variable, value, expected) in [
        ("GOOGLE_SERVICE_ACCOUNT", other, "cannot log in to use"),
        (
            "GCE_METADATA_HOST",
            "127.0.0.1:1",
            "no credentials were obtained",
        ),
    ] {
        let ended = asked(variable, value).expect_code(1);
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn each_failure_of_a_bucket_is_named_and_none_is_taken_for_a_missing_repository() {
    let server = &ObjectServer::start(Protocol::S3);
    run(&mut server.kbk("r", &["init"])).expect_code(0);
    let short = [
        "--store-option=request-timeout=1s",
        "--store-option=retry-timeout=1s",
        "-vv",
    ];
    let faults = [
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
        (Fault::Dropped, "the connection ended before the answer did"),
    ];
    let fails = |fault: Fault, expected: &str| {
        let proxy = FaultProxy::start(server.address);
        proxy.set(Plan::All(fault));
        let args = [&short[..], &["snapshots"]].concat();
        let ended = run(&mut server.kbk_by(proxy.address, "r", &args));
        let ended = tells_nothing(server, ended).expect_code(1);
        assert!(ended.stderr.contains(expected), "{fault:?}: {ended:?}");
        assert!(
            !ended.stderr.contains("is not a kbk repository"),
            "{fault:?}: {ended:?}"
        );
    };
    // Each is tried again for a while: all at the same time.
    std::thread::scope(|scope| {
        for (fault, expected) in faults {
            let fails = &fails;
            scope.spawn(move || fails(fault, expected));
        }
    });
    // Refusals of writes and of deletions, which reading does not show.
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

/// The most runs of a command that a failing network makes end early.
const RUNS: usize = 6;

/// Repeats a command until it has succeeded. After a failure, everything that was stored must be readable.
fn until_done(mut kbk: impl FnMut() -> Finished, mut check: impl FnMut()) -> Finished {
    for _ in 1..RUNS {
        let ended = kbk();
        if ended.status.success() {
            return ended;
        }
        println!("to be repeated: {}", ended.stderr);
        check();
    }
    kbk().expect_code(0)
}

fn fails_in_every_tenth_request(protocol: Protocol) {
    let broker = Broker::shared();
    let topic = &topic(broker, "shaky", 4);
    let server = &ObjectServer::start(protocol);
    let proxy = &FaultProxy::start(server.address);
    let direct = &Bucket {
        server,
        prefix: "r",
        topic,
        broker,
    };
    let kbk = |args: &[&str]| {
        let mut command = server.kbk_by(proxy.address, "r", args);
        tells_nothing(server, run(&mut command))
    };
    let cluster = ["-b", broker.bootstrap(), "--topic", topic];
    let backup = [&["backup", "--json", "--no-acls"], &cluster[..]].concat();
    let faults = Plan::Some {
        seed: seed(),
        per_mille: 100,
    };
    proxy.set(faults);
    kbk(&["init"]).expect_code(0);
    let mut stored = 0;
    // As many as it takes until tables are merged.
    for run in 0..9 {
        direct.commit(run);
        let backup = kbk(&backup).expect_code(0).json();
        stored += backup["records"].as_i64().expect("a number");
        if run < 3 {
            add_records(broker, topic, 4, 10);
        }
    }
    assert_eq!(stored, 4 * (500 + 3 * 10));
    assert_eq!(direct.verify(), stored);
    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let restore = ["restore", "--json", "--map", &map];
    let restored = kbk(&[&restore[..], &cluster].concat())
        .expect_code(0)
        .json();
    assert_eq!(restored["records"], stored);

    let whole = || assert_eq!(direct.verify(), stored);
    let forget = ["forget", "--keep-last", "2", "--yes", "--json"];
    until_done(|| kbk(&forget), whole);
    whole();
    let prune = ["prune", "--grace", "0s", "--json"];
    let pruned = until_done(|| kbk(&prune), whole).json();
    assert!(pruned["needed"]["objects"].as_u64() > Some(0), "{pruned}");
    whole();
    let (requests, failed) = proxy.counts();
    println!("{failed} of {requests} requests failed or were late");
    assert!(failed > 10);

    proxy.set(Plan::None);
    let left = direct.kbk(&[&prune[..], &["--dry-run"]].concat());
    let left = left.expect_code(0).json();
    assert_eq!(left["deleted"]["objects"], 0, "{left}");
    assert!(sequences(direct).iter().all(|&sequence| sequence > 7));
    let kept = direct.kbk(&["verify", "--snapshot", "all", "--full", "--json"]);
    kept.expect_code(0);
    assert_eq!(direct.backup(&[]), 0);
    if protocol == Protocol::S3 {
        costs_few_requests(proxy, direct, || kbk(&backup));
    }
}

/// What docs/stores.md says a commit costs, with room for what a listing of claims finds.
fn costs_few_requests(proxy: &FaultProxy, bucket: &Bucket, backup: impl Fn() -> Finished) {
    for (new, most) in [(0, 80), (10, 120)] {
        add_records(bucket.broker, bucket.topic, 4, new);
        let before = proxy.counts().0;
        backup().expect_code(0);
        let requests = proxy.counts().0 - before;
        println!("a backup of 4 partitions with {new} new records each: {requests} requests");
        assert!(requests < most, "{requests}");
    }
}

#[test]
fn a_network_that_fails_in_every_tenth_request_costs_time_and_nothing_else() {
    fails_in_every_tenth_request(Protocol::S3);
}

#[test]
fn a_network_to_a_translation_of_google_that_fails_in_every_tenth_request_costs_time_and_nothing_else()
 {
    fails_in_every_tenth_request(Protocol::Google);
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
        wait::until("some requests", || (back.counts().0 > 70).then_some(()));
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

//! Impossible requests are rejected with the object's name and the next step; nothing is damaged or
//! left half done.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::broker::{Broker, free_port};
use crate::support::process::{Finished, kbk, run};
use crate::support::produce::{produce, produce_bulk};
use crate::support::repo::{Repo, kbk_on};
use crate::support::small_disk::SmallDisk;
use crate::support::{consume, samples, topics};

/// Creates a topic with one partition and the given number of records.
fn topic(broker: &Broker, name: &str, records: usize) -> String {
    let topic = topics::unique(name);
    topics::create(broker, &topic, 1, &[]);
    let records: Vec<_> = samples::mixed(1).take(records).collect();
    produce(broker, "none", (&topic, 0), &records);
    topic
}

/// Creates a repository with one snapshot of a topic of 100 records.
fn backed_up(broker: &Broker, name: &str) -> (Repo, String) {
    let (repo, topic) = (Repo::new(), topic(broker, name, 100));
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    (repo, topic)
}

/// Fails the test unless stderr contains all the words.
#[track_caller]
fn says(finished: &Finished, args: &[&str]) {
    for word in args {
        assert!(
            finished.stderr.contains(word),
            "no {word:?}: {}",
            finished.stderr
        );
    }
}

/// Returns all files of a folder, to check that nothing changes.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut found: Vec<_> = entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => contents(&path),
            path => vec![(
                path.display().to_string(),
                fs::read(&path).expect("readable"),
            )],
        })
        .collect();
    found.sort();
    found
}

#[test]
fn a_broker_that_cannot_be_reached_is_named_with_the_cause() {
    // Accepts connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("bound").to_string();
    let nobody = format!("127.0.0.1:{}", free_port());
    let (repo, _) = backed_up(Broker::shared(), "unreached");
    let before = contents(&repo.path());
    let fails = |command: &str, address: &str, cause: &str| {
        let began = Instant::now();
        let failed = run(&mut repo.kbk(&[command, "-b", address])).expect_code(1);
        // kbk promises ten seconds; on a busy machine, the process takes some more to start and end.
        assert!(began.elapsed() < Duration::from_secs(15), "{failed:#?}");
        says(&failed, &[address, cause]);
    };
    // They wait at the same time.
    thread::scope(|scope| {
        for (address, cause) in [
            (nobody.as_str(), "Connection refused"),
            (&silent, "no answer"),
            ("no-such-host.invalid:9092", "resolve"),
        ] {
            for command in ["backup", "restore"] {
                scope.spawn(move || fails(command, address, cause));
            }
        }
    });
    assert!(contents(&repo.path()) == before);
    let new = Repo::missing();
    let failed = run(&mut new.kbk(&["backup", "--init", "-b", &nobody])).expect_code(1);
    says(&failed, &[&nobody]);
    assert!(!new.path().exists(), "no repository is created");
}

#[test]
fn a_pattern_that_matches_nothing_is_a_failure() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "matched");
    let before = contents(&repo.path());
    for args in [&["--topic", "no-such-topic"][..], &["--topic", "no-such-*"]] {
        let new = Repo::missing();
        let backup = [&["--init"], args].concat();
        says(
            &run(&mut new.backup(broker, &backup)).expect_code(1),
            &[args[1]],
        );
        assert!(!new.path().exists(), "no repository is created");
        for mut command in [repo.backup(broker, args), repo.restore(broker, args)] {
            says(&run(&mut command).expect_code(1), &[args[1]]);
        }
    }
    // One unmatched pattern of two is an error as well: a topic would be missed silently.
    let args = ["--topic", &topic, "--topic", "no-such-topic"];
    says(
        &run(&mut repo.backup(broker, &args)).expect_code(1),
        &["no-such-topic"],
    );
    assert!(contents(&repo.path()) == before);
}

#[test]
fn a_folder_that_is_not_a_repository_is_left_unchanged() {
    let broker = Broker::shared();
    let topic = topic(broker, "elsewhere", 1);
    let folder = TempDir::new().expect("a temporary folder");
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).expect("made");
    fs::write(photos.join("cat.jpg"), "meow").expect("written");
    let file = folder.path().join("file");
    fs::write(&file, "text").expect("written");
    let before = contents(folder.path());
    let missing = folder.path().join("missing");

    for place in [&photos, &file] {
        let named = place.display().to_string();
        let args = ["backup", "-b", broker.bootstrap(), "--topic", &topic];
        for args in [&args[..], &[&args[..], &["--init"]].concat(), &["init"]] {
            says(&run(&mut kbk_on(place, args)).expect_code(1), &[&named]);
        }
    }
    for place in [&photos, &file, &missing] {
        let named = place.display().to_string();
        for args in [
            &["backup", "-b", broker.bootstrap()][..],
            &["restore", "-b", broker.bootstrap()],
            &["verify"],
            &["ls"],
        ] {
            let failed = run(&mut kbk_on(place, args)).expect_code(1);
            says(&failed, &[&named, "not a kbk repository"]);
        }
    }
    assert!(contents(folder.path()) == before);
    assert!(!missing.exists());
}

#[test]
fn a_repository_of_a_newer_version_is_left_unchanged() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "newer");
    let identity = repo.path().join("kbk.json");
    let text = fs::read_to_string(&identity).expect("readable");
    let newer = text.replace("\"version\":3", "\"version\":4");
    assert_ne!(newer, text);
    fs::write(&identity, reseal(&newer)).expect("written");
    let before = contents(&repo.path());
    for mut command in [
        repo.backup(broker, &["--topic", &topic]),
        repo.restore(broker, &["--map", &format!("{topic}={topic}-restored")]),
        repo.kbk(&["verify"]),
    ] {
        let failed = run(&mut command).expect_code(1);
        says(&failed, &["version 4", "newer kbk", "kbk.json"]);
    }
    assert!(contents(&repo.path()) == before);
    assert_eq!(consume::partitions(broker, &format!("{topic}-restored")), 0);
}

/// Recomputes the seal of sealed JSON (SPEC section 11.2).
fn reseal(sealed: &str) -> String {
    let (body, _) = sealed.split_once(",\"sha256\":").expect("sealed");
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(body));
    format!("{body},\"sha256\":\"{digest}\"}}\n")
}

#[test]
fn a_folder_without_write_permission_is_named() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "guarded-folder");
    let named = repo.path().display().to_string();
    produce(
        broker,
        "none",
        (&topic, 0),
        &[samples::plain(samples::now_ms(), "new")],
    );
    let before = contents(&repo.path());
    let folders = folders(&repo.path());
    for folder in &folders {
        set_mode(folder, 0o555);
    }
    let backup = repo.backup(broker, &["--topic", &topic]);
    let failed = run(&mut without_privileges(&backup)).expect_code(1);
    says(&failed, &[&named, "may write"]);
    let new = Path::new(&named).join("new");
    let failed = run(&mut without_privileges(&kbk_on(&new, &["init"]))).expect_code(1);
    says(&failed, &[&new.display().to_string(), "may write"]);
    for folder in &folders {
        set_mode(folder, 0o755);
    }
    assert!(contents(&repo.path()) == before);
}

#[test]
fn a_read_only_disk_is_named_and_can_be_restored_from() {
    let broker = Broker::shared();
    let topic = topic(broker, "read-only", 100);
    let mut disk = SmallDisk::mount("size=16m");
    let place = disk.path().join("repo");
    let backup = ["backup", "-b", broker.bootstrap(), "--topic", &topic];
    run(&mut disk.inside(&kbk_on(&place, &["init"]))).expect_code(0);
    run(&mut disk.inside(&kbk_on(&place, &backup))).expect_code(0);
    disk.remount("ro");
    produce(
        broker,
        "none",
        (&topic, 0),
        &[samples::plain(samples::now_ms(), "new")],
    );
    let failed = run(&mut disk.inside(&kbk_on(&place, &backup))).expect_code(1);
    says(&failed, &[&place.display().to_string(), "read-only"]);
    let map = format!("{topic}={topic}-restored");
    let restore = ["restore", "-b", broker.bootstrap(), "--map", &map];
    let failed = run(&mut disk.inside(&kbk_on(&place, &restore))).expect_code(1);
    says(&failed, &["read-only", "--no-offset-map"]);
    let restore = [&restore[..], &["--no-offset-map"]].concat();
    run(&mut disk.inside(&kbk_on(&place, &restore))).expect_code(0);
    let target = format!("{topic}-restored");
    let records = consume::digest(broker, &target, 0).records;
    assert_eq!(records, 100);
}

#[test]
fn a_full_disk_harms_nothing_that_was_committed() {
    let broker = Broker::shared();
    let topic = topics::unique("filling");
    topics::create(broker, &topic, 2, &[]);
    produce_bulk(
        broker,
        "none",
        (&topic, 2),
        samples::documents(1).take(2000),
    );
    let mut disk = SmallDisk::mount("size=8m");
    let place = disk.path().join("repo");
    let named = place.display().to_string();
    let backup = [
        "backup",
        "-b",
        broker.bootstrap(),
        "--topic",
        &topic,
        "--segment-size",
        "1MiB",
    ];
    let backup = disk.inside(&kbk_on(&place, &backup));
    let backup = || again(&backup);
    run(&mut disk.inside(&kbk_on(&place, &["init"]))).expect_code(0);
    run(&mut backup()).expect_code(0);
    let verify = || disk_verify(&disk, &place);
    verify();

    produce_bulk(
        broker,
        "none",
        (&topic, 2),
        samples::documents(2).take(40_000),
    );
    let failed = run(&mut backup()).expect_code(1);
    says(&failed, &[&named, "no space left", "make room"]);
    assert!(
        !disk
            .file("repo/snapshots/00000000000000000002.json")
            .exists()
    );
    verify();
    let target = format!("{topic}-as-before");
    let map = format!("{topic}={target}");
    let restore = ["restore", "-b", broker.bootstrap(), "--map", &map];
    run(&mut disk.inside(&kbk_on(&place, &restore))).expect_code(0);
    let there = (0..2).map(|partition| consume::digest(broker, &target, partition).records);
    assert_eq!(there.sum::<u64>(), 2000);

    disk.remount("size=128m");
    run(&mut backup()).expect_code(0);
    disk_verify(&disk, &place);
    let target = format!("{topic}-complete");
    let map = format!("{topic}={target}");
    let restore = ["restore", "-b", broker.bootstrap(), "--map", &map];
    run(&mut disk.inside(&kbk_on(&place, &restore))).expect_code(0);
    assert_eq!(consume::assert_same(broker, (&topic, &target), 2), 42_000);
}

#[track_caller]
fn disk_verify(disk: &SmallDisk, place: &Path) {
    run(&mut disk.inside(&kbk_on(place, &["verify", "--full"]))).expect_code(0);
}

#[test]
fn a_torn_snapshot_is_named_and_the_previous_one_can_be_restored() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "torn");
    let plain = samples::plain(samples::now_ms(), "new");
    produce(broker, "none", (&topic, 0), &[plain]);
    run(&mut repo.backup(broker, &["--topic", &topic])).expect_code(0);
    let torn = fs::read(repo.snapshot(2)).expect("readable");
    fs::write(repo.snapshot(2), &torn[..torn.len() / 2]).expect("written");
    let before = contents(&repo.path());

    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    for mut command in [
        repo.backup(broker, &["--topic", &topic]),
        repo.restore(broker, &["--map", &map]),
    ] {
        let failed = run(&mut command).expect_code(1);
        says(
            &failed,
            &[
                "snapshots/00000000000000000002.json",
                "damaged",
                "another snapshot",
            ],
        );
    }
    let verified = run(&mut repo.kbk(&["verify"])).expect_code(3);
    assert!(
        verified.stdout.contains("00000000000000000002.json"),
        "{verified:#?}"
    );
    assert!(contents(&repo.path()) == before);
    assert_eq!(consume::partitions(broker, &target), 0);
    run(&mut repo.restore(broker, &["--map", &map, "--snapshot", "1"])).expect_code(0);
    assert_eq!(consume::read_all(broker, &target, 0).len(), 100);
}

#[test]
fn a_missing_segment_is_named_and_nothing_is_restored() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "holed");
    let (missing, _) = repo.segments().pop_first().expect("a segment");
    fs::remove_file(&missing).expect("removed");
    let name = missing
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");

    let target = format!("{topic}-restored");
    let map = format!("{topic}={target}");
    let failed = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
    says(&failed, &[name, "missing"]);
    assert_eq!(consume::partitions(broker, &target), 0);
    let verified = run(&mut repo.kbk(&["verify"])).expect_code(3);
    assert!(verified.stdout.contains(name), "{verified:#?}");
}

#[test]
fn a_target_with_records_is_rejected_without_append() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "occupied");
    let refused = run(&mut repo.restore(broker, &[])).expect_code(1);
    says(&refused, &[&topic, "not empty", "--map", "--append"]);
    let dry = run(&mut repo.restore(broker, &["--dry-run"])).expect_code(1);
    says(&dry, &[&topic, "not empty"]);
    assert_eq!(consume::read_all(broker, &topic, 0).len(), 100);
    run(&mut repo.restore(broker, &["--append"])).expect_code(0);
    assert_eq!(consume::read_all(broker, &topic, 0).len(), 200);
}

#[test]
fn an_unsuitable_target_is_rejected_with_all_reasons() {
    let broker = Broker::shared();
    let (repo, topic) = backed_up(broker, "unfit");
    let target = format!("{topic}-unfit");
    let config = [
        ("cleanup.policy", "compact"),
        ("message.timestamp.type", "LogAppendTime"),
        // Compressed, the records might fit.
        ("compression.type", "uncompressed"),
        ("max.message.bytes", "100"),
    ];
    topics::create(broker, &target, 2, &config);
    let map = format!("{topic}={target}");
    let refused = run(&mut repo.restore(broker, &["--map", &map])).expect_code(1);
    let reasons = [
        "2 partitions",
        "LogAppendTime",
        "without a key",
        "max.message.bytes",
    ];
    says(&refused, &reasons);
}

#[test]
fn unknown_configuration_keys_are_rejected_with_their_line() {
    let folder = TempDir::new().expect("a temporary folder");
    let place = folder.path().join("repo");
    let file = folder.path().join("file");
    let with_file = |option: &str, text: &str| {
        fs::write(&file, text).expect("written");
        let mut command = kbk_on(&place, &["backup", "-b", "127.0.0.1:1", option]);
        run(command.arg(&file)).expect_code(2)
    };
    let failed = with_file("--config", "\n[backup]\ncompresion = \"lz4\"\n");
    says(&failed, &["line 3", "compresion", "compression"]);
    let failed = with_file("--command-config", "client.id=x\nsecurty.protocol=SSL\n");
    says(&failed, &["line 2", "securty.protocol"]);
    let args = ["backup", "-b", "127.0.0.1:1", "-X", "no.such.key=1"];
    says(
        &run(&mut kbk_on(&place, &args)).expect_code(2),
        &["no.such.key"],
    );
    let args = [
        "backup",
        "-b",
        "127.0.0.1:1",
        "-X",
        "isolation.level=read_uncommitted",
    ];
    says(
        &run(&mut kbk_on(&place, &args)).expect_code(2),
        &["isolation.level"],
    );
    assert!(!place.exists());
}

#[test]
fn invalid_arguments_exit_with_2() {
    for args in [
        &["restore", "--until", "2026-02-30T00:00:00Z"][..],
        &["restore", "--until", "yesterday"],
        &["restore", "--since", "@"],
        &["restore", "--until", "-1h"],
        &["restore", "--since", "@2000", "--until", "@1000"],
        &["restore", "--map", "orders"],
        &["restore", "--map-regex", "(=x"],
        &["restore", "--partition", "1-0"],
        &[
            "restore",
            "--since-offset-of",
            "@2000",
            "--until-offset-of",
            "@1000",
        ],
        &["restore", "--offsets", "f.csv", "--topic", "orders"],
        &["restore", "--snapshot", "-1"],
        &["restore", "--replication-factor", "0"],
        &["backup", "--block-size", "1"],
        &["backup", "--block-size", "1TB"],
        &["backup", "--block-size", "many"],
        &["backup", "--segment-size", "0"],
        &["backup", "--compression", "zstd:99"],
        &["backup", "--open-transactions-wait", "soon"],
        &["backup", "--topic", "/(/"],
        &["cat", "orders", "--since", "@2000", "--until", "@1000"],
        &["cat", "orders", "--offset", "ten"],
        &["cat", "orders", "-p", "-1"],
    ] {
        let repo = Repo::missing();
        let mut command = repo.kbk(args);
        if args[0] != "cat" {
            command.args(["-b", "127.0.0.1:1"]);
        }
        let failed = run(&mut command).expect_code(2);
        assert!(failed.stderr.starts_with("error:"), "{args:?}: {failed:#?}");
        assert!(!repo.path().exists());
    }
    let nowhere = run(&mut kbk(["backup", "-b", "127.0.0.1:1"])).expect_code(2);
    says(&nowhere, &["--repo", "KBK_REPO"]);
}

/// Copies a command, since a [`Command`] cannot be cloned.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    again
}

/// Runs the command without the capability to override file modes.
fn without_privileges(command: &Command) -> Command {
    if Path::new("/proc/self")
        .metadata()
        .is_ok_and(|own| own_user(&own) != 0)
    {
        return again(command);
    }
    let mut dropped = Command::new("setpriv");
    dropped.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    dropped.arg(command.get_program()).args(command.get_args());
    dropped
}

fn own_user(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

/// Returns a folder and all folders below it.
fn folders(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let inner = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    let inner: Vec<_> = inner.flat_map(|path| folders(&path)).collect();
    [vec![folder.to_owned()], inner].concat()
}

fn set_mode(folder: &Path, mode: u32) {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode)).expect("the folder is ours");
}

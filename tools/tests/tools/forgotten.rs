//! A snapshot that is forgotten, and pruned, while it is read: nobody calls what it lacks damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use jiff::Timestamp;
use kbk_format::Streams;
use kbk_format::repo::{RepoErrorKind, Repository, Upkeep};
use kbk_tools::retention::{Ages, plan_expiry};
use kbk_tools::verify::{FindingKind, VerifyDepth, VerifyOptions, verify};
use kbk_tools::{ReadPlan, Selection};

use crate::support::{World, place};

fn upkeep(command: &str) -> Upkeep {
    Upkeep {
        command: command.into(),
        detail: String::new(),
        writer: "test".into(),
        now: Timestamp::now(),
    }
}

/// Expires all records of `payments`, as snapshot 3.
async fn expire(repository: &Repository) {
    let newest = repository.latest().await.unwrap().unwrap();
    let payments = newest
        .topics
        .iter()
        .filter(|topic| &*topic.name == "payments");
    let ages = Ages {
        older_than: i64::MAX,
        now: i64::MAX,
    };
    let plan = plan_expiry(repository, &newest, payments, ages, true).await;
    let (plan, upkeep) = (plan.unwrap(), upkeep("expire"));
    let expired = repository.expire(&plan.partitions, &upkeep).await;
    assert_eq!(expired.unwrap(), Some(3));
}

/// Forgets the snapshots 1 and 2, as snapshot 4.
async fn forget(repository: &Repository) {
    let plan = repository.plan_forget([1, 2].into()).await;
    let (plan, upkeep) = (plan.unwrap(), upkeep("forget"));
    let forgotten = repository.forget(&plan, &upkeep).await;
    assert_eq!(forgotten.unwrap().snapshot, Some(4));
}

fn snapshot(world: &World, sequence: u64) -> PathBuf {
    world.path(&format!("snapshots/{sequence:020}.json"))
}

/// The segments of `payments`, which a prune removes once no snapshot names them.
fn segments(world: &World) -> Vec<PathBuf> {
    let entries = world.entries("payments", 0).into_iter();
    entries.map(|entry| world.path(&entry.key)).collect()
}

fn prune(segments: &[PathBuf]) {
    for segment in segments {
        fs::remove_file(segment).unwrap();
    }
}

#[test]
fn a_verification_says_so() {
    let world = World::sample();
    let segments = segments(&world);
    let old = [1, 2].map(|sequence| fs::read(snapshot(&world, sequence)).unwrap());
    world.runtime.block_on(async {
        expire(&world.repository).await;
        forget(&world.repository).await;
    });
    prune(&segments);
    // As it was before they were forgotten, until something was verified.
    let (newest, aside) = (snapshot(&world, 4), world.folder.path().join("aside"));
    fs::rename(&newest, &aside).unwrap();
    let old_files = [1, 2].map(|sequence| snapshot(&world, sequence));
    for (file, bytes) in old_files.iter().zip(old) {
        fs::write(file, bytes).unwrap();
    }
    let once = Once::new();
    let forget_now = move |_: u64| {
        once.call_once(|| {
            fs::rename(&aside, &newest).unwrap();
            for file in &old_files {
                fs::remove_file(file).unwrap();
            }
        });
    };
    let options = VerifyOptions {
        snapshots: vec![1, 2, 3],
        topics: None,
        depth: VerifyDepth::Blocks,
        ..VerifyOptions::default()
    };
    let repository = world.repository.uncached();
    let verified = verify(&repository, &options, Arc::new(forget_now));
    let report = world.runtime.block_on(verified);
    assert!(!report.is_intact());
    let kinds: BTreeSet<String> = report
        .findings
        .iter()
        .map(|finding| format!("{:?}", finding.kind))
        .collect();
    let forgotten = format!("{:?}", FindingKind::ForgottenSnapshot);
    assert_eq!(kinds, [forgotten].into(), "{:#?}", report.findings);
    let sequences = report.findings.iter().filter_map(|it| it.snapshot);
    assert_eq!(sequences.collect::<BTreeSet<u64>>(), [1, 2].into());
}

/// Of one that nothing has forgotten, it says so, too, whatever is committed after all snapshots were listed.
#[test]
fn a_verification_of_all_names_one_that_is_missing() {
    let world = World::sample();
    fs::remove_file(snapshot(&world, 1)).unwrap();
    world.runtime.block_on(expire(&world.repository));
    for all_snapshots in [true, false] {
        let options = VerifyOptions {
            snapshots: vec![2],
            all_snapshots,
            depth: VerifyDepth::Blocks,
            ..VerifyOptions::default()
        };
        let repository = world.repository.uncached();
        let verified = verify(&repository, &options, Arc::new(|_: u64| ()));
        let report = world.runtime.block_on(verified);
        let found = report.findings.iter().map(|it| (it.kind, it.snapshot));
        let expected = [(FindingKind::MissingSnapshot, Some(1))];
        assert!(
            found.eq(expected[..usize::from(all_snapshots)].iter().copied()),
            "{:#?}",
            report.findings
        );
    }
}

#[test]
fn a_reader_of_records_says_so() {
    let world = World::sample();
    let (repository, segments) = (world.repository.clone(), segments(&world));
    world.runtime.block_on(async {
        let (old, place) = (
            repository.latest().await.unwrap().unwrap(),
            place("payments", 0),
        );
        let state = old.partition(&place).unwrap();
        let plan = ReadPlan::new(&repository, &old, place.clone(), state, Selection::all());
        let plan = plan.await.unwrap();
        expire(&repository).await;
        forget(&repository).await;
        prune(&segments);
        let mut reader = plan.read(Streams::All, &tokio::runtime::Handle::current());
        let error = reader.next().await.map(|_| ()).unwrap_err();
        assert!(
            matches!(error.kind(), RepoErrorKind::Forgotten { sequence: 2 }),
            "{error}"
        );
        assert!(error.to_string().contains("snapshot 2 was forgotten"));
    });
}

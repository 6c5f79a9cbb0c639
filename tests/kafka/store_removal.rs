//! `kbk prune` removes objects of a bucket by few requests, and what the store protects keeps nothing else from being removed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::broker::Broker;
use crate::support::fault_proxy::{Fault, FaultProxy, Plan};
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::stores::{BUCKET, ObjectServer, Protocol};
use crate::support::{samples, topics};

const PREFIX: &str = "r";

/// A bucket with one snapshot of one segment, and `copies` of it that no snapshot needs. Returns their files.
fn with_unneeded(server: &ObjectServer, copies: usize) -> Vec<PathBuf> {
    let broker = Broker::shared();
    let topic = &topics::unique("removed");
    topics::create(broker, topic, 1, &[]);
    produce(
        broker,
        "none",
        (topic, 0),
        &[samples::plain(samples::now_ms(), "value")],
    );
    let backup = [
        "backup",
        "--init",
        "-b",
        broker.bootstrap(),
        "--topic",
        topic,
    ];
    run(&mut server.kbk(PREFIX, &backup)).expect_code(0);
    let repository = server.data().join(BUCKET).join(PREFIX);
    let segment = segment(&repository.join("data")).expect("a segment was stored");
    let base = segment.file_name().and_then(|name| name.to_str());
    let (base, _) = base.and_then(|name| name.split_once('-')).expect("a key");
    let copied = (0..copies).map(|number| {
        let copy = segment.with_file_name(format!("{base}-{number:016x}.kseg"));
        fs::copy(&segment, &copy).expect("copied");
        copy
    });
    copied.collect()
}

/// Returns a segment in a folder.
fn segment(folder: &Path) -> Option<PathBuf> {
    fs::read_dir(folder).expect("a folder").find_map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return segment(&path);
        }
        (path.extension()? == "kseg").then_some(path)
    })
}

fn prune(server: &ObjectServer, proxy: &FaultProxy) -> Finished {
    let prune = ["prune", "--grace", "0s", "--json"];
    run(&mut server.kbk_by(proxy.address, PREFIX, &prune))
}

#[track_caller]
fn removed(ended: Finished, files: &[PathBuf]) {
    let pruned = ended.expect_code(0).json();
    assert_eq!(pruned["deleted"]["objects"], files.len(), "{pruned}");
    assert!(!files.iter().any(|file| file.exists()));
}

#[test]
fn many_objects_are_removed_by_one_request() {
    let server = &ObjectServer::start(Protocol::S3);
    let proxy = &FaultProxy::start(server.address);
    let files = with_unneeded(server, 1_200);
    removed(prune(server, proxy), &files);
    let requests = proxy.counts().0;
    println!("1200 objects were removed by a prune of {requests} requests");
    assert!(requests < 60, "{requests}");
    run(&mut server.kbk(PREFIX, &["verify", "--full"])).expect_code(0);
}

#[test]
fn a_service_that_removes_objects_only_one_by_one_does_that() {
    let server = &ObjectServer::start(Protocol::S3);
    let proxy = &FaultProxy::start(server.address);
    let files = with_unneeded(server, 100);
    for (status, code) in [(501, "NotImplemented"), (403, "AccessDenied")] {
        proxy.set(Plan::Of("?delete", Fault::Refused(status, code)));
        let before = proxy.counts().0;
        removed(prune(server, proxy), &files);
        let requests = proxy.counts().0 - before;
        assert!(requests > 100, "{requests}");
        for file in &files {
            fs::copy(segment(&server.data()).expect("a segment"), file).expect("copied");
        }
    }
}

#[test]
fn objects_that_are_locked_stay_and_the_others_go() {
    let server = &ObjectServer::start(Protocol::S3);
    let proxy = &FaultProxy::start(server.address);
    let s3 = server.s3();
    let lock = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
    s3.set(&format!("/{BUCKET}"), "object-lock", lock);
    // With fewer, each is asked for alone; with more, all at once.
    for copies in [5, 30] {
        let files = with_unneeded(server, copies);
        let hold = |status: &str| {
            for file in [&files[1], &files[3]] {
                let name = file.strip_prefix(server.data()).expect("an object");
                let hold = format!("<LegalHold><Status>{status}</Status></LegalHold>");
                s3.set(&format!("/{}", name.display()), "legal-hold", &hold);
            }
        };
        hold("ON");
        let refused = prune(server, proxy).expect_code(1);
        let name = files[1].file_name().and_then(|name| name.to_str());
        assert!(refused.stderr.contains(name.expect("UTF-8")), "{refused:?}");
        assert!(
            refused
                .stderr
                .contains("and 1 more: a lock, a hold or a retention policy protects each"),
            "{refused:?}"
        );
        let left: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
        assert_eq!(left, [&files[1], &files[3]]);
        hold("OFF");
        let rest = prune(server, proxy).expect_code(0).json();
        assert_eq!(rest["deleted"]["objects"], 2, "{rest}");
        assert!(!files.iter().any(|file| file.exists()));
    }
}

//! Claims in a repository: granted, refused, taken over, lost, and any bytes in their place.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    ClaimProcess, ClaimState, ClaimedTopic, Id, Identity, Key, Repository, Store, WriteBase,
    WriteClaim,
};
use tempfile::TempDir;

use super::super::claim::{ClaimError, ClaimRequest, Protocol, claim_within};
use super::super::entry::Limits;
use super::super::{ClaimEvent, HeldClaim, Running, list};
use super::writers;

struct World {
    folder: TempDir,
    repository: Repository,
    events: Arc<Mutex<Vec<String>>>,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        World {
            folder,
            repository,
            events: Arc::default(),
        }
    }

    async fn claim(&self, topics: &[&str]) -> Result<Option<HeldClaim>, ClaimError> {
        let events = Arc::clone(&self.events);
        let listen = move |event: &ClaimEvent| events.lock().unwrap().push(event.to_string());
        let request = request(topics);
        claim_within(
            times(),
            &self.repository,
            request,
            pending(),
            Arc::new(listen),
        )
        .await
    }

    /// Leaves a claim of everything by an owner elsewhere, and returns its id.
    async fn left(&self, process: Option<ClaimProcess>) -> WriteClaim {
        let claim = WriteClaim {
            claim: Id::random(),
            command: "backup".to_owned(),
            writer: "test".to_owned(),
            host: Some("far\u{1b}[2Jaway".to_owned()),
            process,
            begun_at: Timestamp::UNIX_EPOCH,
            renewed: 1,
            state: ClaimState::Held,
            topics: None,
        };
        self.repository.put_claim(&claim).await.unwrap();
        claim
    }

    async fn ids(&self) -> Vec<Id> {
        let found = self.repository.claims().await.unwrap();
        found.into_iter().map(|found| found.claim).collect()
    }

    fn events(&self) -> String {
        self.events.lock().unwrap().join("\n")
    }
}

/// Long enough that nothing expires by chance, short enough to wait for.
fn times() -> Protocol {
    Protocol {
        limits: Limits {
            stale_after: Duration::from_millis(300),
            longest_interval: Duration::from_millis(20),
            attempts: 5,
        },
        poll: Duration::from_millis(10),
        back_off: Duration::from_millis(5),
        renewal: Duration::from_millis(30),
        ..Protocol::default()
    }
}

fn request(topics: &[&str]) -> ClaimRequest {
    let topic = |name: &&str| ClaimedTopic {
        topic: name.parse().unwrap(),
        partitions: None,
    };
    ClaimRequest {
        command: "backup".to_owned(),
        writer: "test".to_owned(),
        topics: Some(topics.iter().map(topic).collect()),
        can_select: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_is_refused_until_the_first_is_released() {
    let world = World::new().await;
    let first = world.claim(&["c", "a", "b"]).await.unwrap().unwrap();
    let other = world.claim(&["d"]).await.unwrap().unwrap();
    let refused = world.claim(&["b", "x", "c"]).await.unwrap_err().to_string();
    let this = format!("process {}", std::process::id());
    for expected in ["b, c", "kbk backup on", &this, "since 20"] {
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    assert_eq!(world.ids().await.len(), 2);
    let listed = list(&world.repository).await.unwrap();
    assert!(listed.iter().all(|claim| claim.running == Running::Yes));
    first.release().await;
    let again = world.claim(&["b"]).await.unwrap().unwrap();
    again.check().await.unwrap();
    again.release().await;
    other.release().await;
    assert_eq!(world.ids().await, []);
    assert_eq!(world.events(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_of_a_process_that_has_ended_is_removed_at_once() {
    let world = World::new().await;
    let this = super::super::owner::this_process().unwrap();
    let ended = ClaimProcess {
        started: this.started + 1,
        ..this
    };
    world.left(Some(ended)).await;
    let listed = list(&world.repository).await.unwrap();
    assert_eq!(listed[0].running, Running::No);
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    let events = world.events();
    assert!(
        events.contains("removed the claim of kbk backup on far\\u{1b}[2Jaway"),
        "{events}"
    );
    claim.release().await;
    assert_eq!(world.ids().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_from_elsewhere_is_stale_once_it_does_not_change() {
    let world = World::new().await;
    world.left(None).await;
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    let events = world.events();
    assert!(events.contains("waiting up to 60 s"), "{events}");
    assert!(events.contains("no longer runs"), "{events}");
    claim.release().await;
    assert_eq!(world.ids().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_from_elsewhere_that_changes_is_respected() {
    let world = World::new().await;
    let mut theirs = world.left(None).await;
    let repository = world.repository.clone();
    let renewing = tokio::spawn(async move {
        loop {
            theirs.renewed += 1;
            repository.put_claim(&theirs).await.unwrap();
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    });
    let refused = world.claim(&["a"]).await.unwrap_err();
    assert!(matches!(refused, ClaimError::Taken { .. }), "{refused}");
    renewing.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_another_one_ends_when_it_is_told_to() {
    let world = World::new().await;
    world.left(None).await;
    let stopped = claim_within(
        times(),
        &world.repository,
        request(&["a"]),
        ready(()),
        Arc::new(|_: &ClaimEvent| {}),
    );
    assert!(stopped.await.unwrap().is_none());
    assert_eq!(world.ids().await.len(), 1, "only theirs is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_bytes_in_the_place_of_a_claim_delay_and_never_block() {
    let world = World::new().await;
    let path = |id: Id| {
        world
            .folder
            .path()
            .join(Key::WriteClaim { claim: id }.to_string())
    };
    let sealed = world.left(None).await;
    let intact = std::fs::read(path(sealed.claim)).unwrap();
    let mut flipped = intact.clone();
    flipped[30] ^= 1;
    let newer = intact.clone();
    let contents = [
        Vec::new(),
        vec![0xff; 10_000],
        intact[..intact.len() / 2].to_vec(),
        flipped,
        // An intact claim under another name.
        newer,
    ];
    for content in contents {
        std::fs::write(path(Id::random()), content).unwrap();
    }
    let large = std::fs::File::create(path(Id::random())).unwrap();
    large.set_len(1 << 40).unwrap();
    std::fs::create_dir(path(Id::random())).unwrap();
    std::fs::write(world.folder.path().join("claims/notes.txt"), b"x").unwrap();

    let listed = list(&world.repository).await.unwrap();
    assert_eq!(
        listed.iter().filter(|claim| claim.error.is_some()).count(),
        6
    );
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    assert!(world.events().contains("cannot be read as a claim"));
    claim.release().await;
    assert_eq!(world.ids().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_notices_that_its_claim_is_gone_and_does_not_bring_it_back() {
    let world = World::new().await;
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    claim.check().await.unwrap();
    let id = world.ids().await[0];
    world.repository.remove_claim(id).await.unwrap();
    let lost = claim.check().await.unwrap_err().to_string();
    assert!(lost.contains("its claim was removed"), "{lost}");
    // Whatever is being done ends, however long it would have taken.
    let lost = claim.unless_lost(pending::<()>()).await.unwrap_err();
    assert!(lost.to_string().contains("no other run"), "{lost}");
    assert!(claim.loss().is_set());
    assert_eq!(world.ids().await, [], "it was not renewed");
    // Even if somebody puts it back, it was lost.
    let mut back = world.left(None).await;
    world.repository.remove_claim(back.claim).await.unwrap();
    back.claim = id;
    world.repository.put_claim(&back).await.unwrap();
    assert!(claim.check().await.is_err());
    claim.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_is_renewed_while_it_is_held() {
    let world = World::new().await;
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    let renewed = async || {
        let found = world.repository.claims().await.unwrap().remove(0);
        found.content.unwrap().renewed
    };
    let before = renewed().await;
    while renewed().await < before + 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    claim.check().await.unwrap();
    claim.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_what_is_claimed_ends_the_work_and_is_named() {
    let world = World::new().await;
    let claim = world.claim(&["a", "b"]).await.unwrap().unwrap();
    let [a, b] = ["a", "b"].map(writers::id);
    for topic in ["a", "b"] {
        let of_topic = format!("data/{topic}/{}/0", a.topic_id);
        std::fs::create_dir_all(world.folder.path().join(of_topic)).unwrap();
    }
    let base = WriteBase::new(None, 0, [a.clone()]);
    claim.will_commit(base.clone()).await;
    // A commit of something else is in nobody's way.
    let other = writers::change(None, [(b, 10)]);
    let other = world.repository.commit(&other).await.unwrap();
    claim.check().await.unwrap();
    let rival = writers::change(Some(other.clone()), [(a.clone(), 10)]);
    let rival = world.repository.commit(&rival).await.unwrap();
    let lost = claim.unless_lost(pending::<()>()).await.unwrap_err();
    assert!(lost.is_committed());
    let said = lost.to_string();
    for expected in [
        "a/0",
        "snapshot 2",
        "by simulation",
        "run this command again",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(claim.check().await.is_err() && claim.still_held().await.is_err());
    // Whoever commits all the same gets the same error.
    let late = writers::change(Some(other), [(a.clone(), 20)]);
    let error = world.repository.commit(&late).await.unwrap_err();
    assert!(claim.explain(error).await.unwrap().is_committed());
    claim.release().await;
    assert_eq!(world.ids().await, []);
    // What follows that commit continues.
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    claim
        .will_commit(WriteBase::new(Some(&*rival), 0, [a]))
        .await;
    claim.check().await.unwrap();
    claim.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_copies_of_a_process_one_stops_and_leaves_the_claim_to_the_other() {
    let world = World::new().await;
    let claim = world.claim(&["a"]).await.unwrap().unwrap();
    let mut copy = world.repository.claims().await.unwrap().remove(0);
    let copied = copy.content.as_mut().unwrap();
    copied.renewed += 1000;
    world.repository.put_claim(copied).await.unwrap();
    let lost = claim.unless_lost(pending::<()>()).await.unwrap_err();
    assert!(
        lost.to_string().contains("a copy of this process"),
        "{lost}"
    );
    claim.release().await;
    assert_eq!(world.ids().await, [copy.claim], "it is the other one's");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_brings_its_claim_back_leaves_it_to_the_one_that_has_taken_it() {
    let world = World::new().await;
    // So that every renewal is a late one.
    let mut protocol = times();
    protocol.limits.stale_after = Duration::ZERO;
    let events = Arc::new(|_: &ClaimEvent| {});
    let claimed = claim_within(
        protocol,
        &world.repository,
        request(&["a"]),
        pending(),
        events,
    );
    let claim = claimed.await.unwrap().unwrap();
    let own = world.ids().await[0];
    let theirs = world.left(None).await;
    let lost = claim.unless_lost(pending::<()>()).await.unwrap_err();
    let said = lost.to_string();
    for expected in [
        "took it for dead",
        "far\\u{1b}[2Jaway",
        "wait until it has ended",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(world.ids().await.contains(&own));
    claim.release().await;
    assert_eq!(world.ids().await, [theirs.claim]);
}

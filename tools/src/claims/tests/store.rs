//! Claims in a repository: granted, refused, taken over, lost, and any bytes in their place.

use std::future::{pending, ready};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kbk_format::repo::{
    ClaimProcess, ClaimState, ClaimedTopic, Id, Identity, Key, Repository, Store, WriteClaim,
};
use tempfile::TempDir;

use super::super::claim::{ClaimError, ClaimRequest, Times, claim_within};
use super::super::entry::Limits;
use super::super::{ClaimEvent, ClaimLost, HeldClaim, Running, list};

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
fn times() -> Times {
    Times {
        limits: Limits {
            stale_after: Duration::from_millis(300),
            longest_interval: Duration::from_millis(20),
            attempts: 5,
        },
        poll: Duration::from_millis(10),
        back_off: Duration::from_millis(5),
        renewal: Duration::from_millis(30),
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
    assert_eq!(claim.check().await, Err(ClaimLost));
    while !world.events().contains("is gone") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.ids().await, [], "it was not renewed");
    // Even if somebody puts it back, it was lost.
    let mut back = world.left(None).await;
    world.repository.remove_claim(back.claim).await.unwrap();
    back.claim = id;
    world.repository.put_claim(&back).await.unwrap();
    assert_eq!(claim.check().await, Err(ClaimLost));
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

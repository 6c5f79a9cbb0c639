//! Finds the backup that last looked at a topic (SPEC sections 11.5 and 11.11).
//!
//! `last_seen` of a copy's topics states sequences of the repository of its origin. The snapshot that has such a number here may be
//! another one: a reservation, what `forget` committed, or the copy of another snapshot. So a snapshot is found by the backup that it says
//! it holds, and not by its own number.

use jiff::Timestamp;

use super::error::Result;
use super::manifest::Manifest;
use super::repository::Repository;
use super::sealed::Digested;
use super::snapshot::Snapshot;

impl Snapshot {
    /// Returns when the backup that a topic was `last_seen` by read the offsets, where this snapshot says so itself.
    #[must_use]
    pub fn backup_started_at(&self, last_seen: u64) -> Option<Timestamp> {
        if last_seen == self.backup() {
            return Some(self.started_at);
        }
        let mut sightings = self.sightings.iter();
        let sighting = sightings.find(|sighting| sighting.last_seen == last_seen)?;
        Some(sighting.started_at)
    }
}

impl Manifest {
    /// Returns whether this snapshot is as old as the backup that topics of `newest` were `last_seen` by. Where a copy was copied again,
    /// it may be of an older backup, and never of a newer one.
    fn is_of_backup(&self, newest: &Manifest, last_seen: u64) -> bool {
        let is_same_numbering = match (&self.origin, &newest.origin) {
            (Some(copied), Some(origin)) => copied.repository_id == origin.repository_id,
            // A backup that continues copies has a number above all of theirs.
            (_, None) => true,
            (None, Some(_)) => false,
        };
        is_same_numbering && self.backup() == last_seen
    }
}

impl Repository {
    /// Finds a snapshot that is as old as the backup that topics of `newest` were `last_seen` by, among those of these `sequences`, which
    /// ascend. `None` where it was forgotten, is damaged, or was never copied: no other snapshot stands for it.
    ///
    /// # Errors
    ///
    /// The error of the store.
    pub async fn snapshot_of_backup(
        &self,
        newest: &Manifest,
        last_seen: u64,
        sequences: &[u64],
    ) -> Result<Option<Digested<Manifest>>> {
        // A snapshot has no smaller number than its backup.
        let first = sequences.partition_point(|sequence| *sequence < last_seen);
        let later = sequences.get(first..).unwrap_or_default();
        // Later snapshots have later backups, or the same. The first one is it, unless this repository has counted more.
        let (mut from, mut to, mut at) = (0, later.len(), 0);
        while let Some(sequence) = later.get(at).filter(|_| from < to) {
            match self.manifest(*sequence).await {
                Ok(manifest) if manifest.is_of_backup(newest, last_seen) => {
                    return Ok(Some(manifest));
                }
                Ok(manifest) if manifest.backup() < last_seen => from = at + 1,
                Ok(_) => to = at,
                Err(error) if error.kind().is_about_content() => return Ok(None),
                Err(error) => return Err(error),
            }
            at = from.midpoint(to);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;
    use crate::repo::id::{Hex, Id};
    use crate::repo::identity::Identity;
    use crate::repo::keys::Key;
    use crate::repo::manifest::{Maintenance, Sighting};
    use crate::repo::origin::Origin;
    use crate::repo::sealed::seal;
    use crate::repo::store::Store;

    /// What committed a snapshot.
    #[derive(Clone, Copy)]
    enum Of {
        Backup,
        /// A command, while this was the last backup: `forget`, or `copy` for a reservation.
        Command(u64),
        /// A copy of a snapshot of the first repository, or of another one.
        Copy(u64),
        OtherCopy(u64),
        /// What `forget` committed after such a copy.
        CommandOnCopy(u64),
    }

    fn second(number: u64) -> Timestamp {
        Timestamp::from_second(number as i64).unwrap()
    }

    fn manifest(repository: &Repository, sequence: u64, of: Of) -> Manifest {
        let origin = |repository: u8, sequence| Origin {
            repository_id: Hex([repository; 16]),
            sequence,
            backup: sequence,
            sha256: Hex([0; 32]),
        };
        let maintenance = |backup| Maintenance {
            command: "copy".into(),
            detail: String::new(),
            at: second(900),
            backup,
        };
        let (origin, maintenance) = match of {
            Of::Backup => (None, None),
            Of::Command(backup) => (None, Some(maintenance(backup))),
            Of::Copy(number) => (Some(origin(1, number)), None),
            Of::OtherCopy(number) => (Some(origin(2, number)), None),
            Of::CommandOnCopy(number) => (Some(origin(1, number)), Some(maintenance(number))),
        };
        Manifest {
            repository_id: repository.identity().repository_id,
            sequence,
            nonce: Id::random(),
            started_at: second(sequence),
            origin,
            maintenance,
            ..crate::repo::manifest::tests::manifest()
        }
    }

    /// Returns the snapshot that is found for each number up to that of the newest.
    async fn found(snapshots: &[(u64, Of)]) -> Vec<Option<u64>> {
        let store = Store::new(Arc::new(InMemory::new()), "test://repository");
        let repository = Repository::create(store, Identity::fresh()).await.unwrap();
        let mut newest = None;
        for (sequence, of) in snapshots {
            let next = manifest(&repository, *sequence, *of);
            let sequence = *sequence;
            let key = Key::Snapshot { sequence };
            let bytes = seal(&next).0;
            repository.store().put_if_absent(&key, bytes).await.unwrap();
            newest = Some(next);
        }
        let newest = newest.unwrap();
        let sequences = repository.sequences().await.unwrap();
        let mut found = Vec::new();
        for last_seen in 1..=newest.sequence {
            let it = repository.snapshot_of_backup(&newest, last_seen, &sequences);
            found.push(it.await.unwrap().map(|it| it.sequence));
        }
        found
    }

    #[tokio::test]
    async fn a_backup_is_found_as_long_as_a_snapshot_holds_what_it_held() {
        use Of::{Backup, Command};
        let kept = [(1, Backup), (2, Backup), (3, Command(2)), (4, Backup)];
        assert_eq!(found(&kept).await, [Some(1), Some(2), None, Some(4)]);
        // The snapshot of backup 2 is gone, and what `forget` committed after it holds the same.
        let forgotten = [(3, Command(2)), (4, Backup)];
        assert_eq!(found(&forgotten).await, [None, Some(3), None, Some(4)]);
    }

    #[tokio::test]
    async fn a_number_of_the_origin_names_its_copy_and_no_other_snapshot() {
        use Of::{Backup, Command, CommandOnCopy, Copy, OtherCopy};
        // A reservation that is left over has a number that the origin has, too.
        let reserved = [(1, Command(0)), (2, Copy(2)), (3, Copy(3))];
        assert_eq!(found(&reserved).await, [None, Some(2), Some(3)]);
        let left_over = [(2, Command(0)), (5, Copy(5))];
        assert_eq!(found(&left_over).await, [None, None, None, None, Some(5)]);
        // `forget` has taken numbers, so the copies after it have others than the origin.
        let shifted = [
            (1, Copy(1)),
            (2, CommandOnCopy(1)),
            (3, Copy(2)),
            (4, Copy(3)),
        ];
        assert_eq!(found(&shifted).await, [Some(1), Some(3), Some(4), None]);
        // A backup continues the copies, since the origin was lost.
        let promoted = [(1, Command(0)), (2, Copy(2)), (3, Backup)];
        assert_eq!(found(&promoted).await, [None, Some(2), Some(3)]);
        // No writer makes these: numbers of other repositories say nothing.
        assert_eq!(found(&[(1, Backup), (2, Copy(2))]).await, [None, Some(2)]);
        assert_eq!(
            found(&[(1, OtherCopy(1)), (2, Copy(2))]).await,
            [None, Some(2)]
        );
    }

    #[test]
    fn a_snapshot_says_when_its_backup_and_those_of_its_sightings_began() {
        let mut manifest = crate::repo::manifest::tests::manifest();
        manifest.sequence = 9;
        manifest.started_at = second(90);
        manifest.origin = Some(Origin {
            repository_id: Hex([1; 16]),
            sequence: 8,
            backup: 7,
            sha256: Hex([0; 32]),
        });
        manifest.sightings = vec![Sighting {
            id: 1,
            last_seen: 4,
            started_at: second(40),
        }];
        let topics = Vec::new();
        let snapshot = Snapshot { manifest, topics };
        let times = [4, 5, 7, 9].map(|last_seen| snapshot.backup_started_at(last_seen));
        assert_eq!(times, [Some(second(40)), None, Some(second(90)), None]);
    }
}

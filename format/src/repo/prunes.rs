//! What a commit must find out about prunes: whether objects that it names are being deleted, or were (SPEC section 11.10).

use std::collections::HashSet;

use serde::Deserialize;

use super::change::{Change, StoredAnswers};
use super::error::{RepoErrorKind, Result};
use super::index_writer::IndexWriter;
use super::keys::Key;
use super::manifest::{Manifest, Pruning};
use super::packed::{PackedFormat, PackedRef};
use super::repository::Repository;
use super::snapshot::Snapshot;

#[derive(Deserialize)]
struct Doomed {
    key: String,
}

impl Repository {
    /// Checks that no object that the next snapshot names, and the one before it does not, was or is going to be deleted by a prune.
    pub(super) async fn check_prunes(
        &self,
        change: &Change,
        newest: Option<&super::sealed::Digested<Snapshot>>,
        answers: &StoredAnswers,
        index: &IndexWriter,
    ) -> Result<()> {
        let Some(newest) = newest.map(|newest| &newest.manifest) else {
            return Ok(());
        };
        let segments = change.stored().flat_map(|(_, segments)| segments);
        let segments: Vec<&str> = segments.map(|segment| segment.key.as_str()).collect();
        if let Some(pruning) = &newest.pruning {
            let doomed = self.doomed(pruning).await?;
            let others = new_answers(newest, answers).chain(index.written().map(Key::to_string));
            let mut named = segments.iter().map(ToString::to_string).chain(others);
            if let Some(key) = named.find(|key| doomed.contains(key)) {
                return Err(self.store().error(&key, RepoErrorKind::Pruned));
            }
        }
        if newest.pruned > change.read_after {
            for key in segments {
                if !self.store().exists(key).await? {
                    return Err(self.store().error(key, RepoErrorKind::Pruned));
                }
            }
        }
        Ok(())
    }

    async fn doomed(&self, pruning: &Pruning) -> Result<HashSet<String>> {
        let named = PackedRef {
            sha256: pruning.sha256,
            size: pruning.size,
            raw_size: pruning.raw_size,
        };
        let key = Key::Table {
            sha256: named.sha256,
        };
        let lines = self
            .packed_lines(&key, PackedFormat::PruneList, &named)
            .await?;
        let parsed = lines.map(|line| serde_json::from_slice::<Doomed>(&line));
        let keys: std::result::Result<HashSet<String>, _> = parsed
            .map(|doomed| doomed.map(|doomed| doomed.key))
            .collect();
        keys.map_err(|error| {
            self.store()
                .damaged(&key, format!("a line is not valid: {error}"))
        })
    }
}

/// Returns the objects of groups and ACLs that the snapshot before does not name.
fn new_answers(newest: &Manifest, answers: &StoredAnswers) -> impl Iterator<Item = String> {
    let groups = newest.groups.as_ref().map(|groups| groups.object);
    let acls = newest.acls.as_ref().map(|acls| acls.object);
    let new = [answers.groups, answers.acls].into_iter().flatten();
    let new = new.filter(move |named| Some(*named) != groups && Some(*named) != acls);
    new.map(|named| {
        let sha256 = named.sha256;
        Key::Cluster { sha256 }.to_string()
    })
}

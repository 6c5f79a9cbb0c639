//! Verifies what restores left: every page of their offset maps, and that the map of a finished restore is complete and maps what
//! the restore was asked for.

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::{StreamExt, stream};
use kbk_format::repo::{
    DonePartition, RepoError, RepoErrorKind, Repository, RestoreId, RestoredPartition,
    RestoredTopic,
};

use super::finding::{Finding, FindingKind};
use crate::restores::MapReader;

/// Verifies the restores of a repository.
pub(super) async fn verify(repository: &Repository) -> Vec<Finding> {
    let names = match repository.restores().await {
        Ok(names) => names,
        Err(error) => return vec![finding(&error)],
    };
    let mut findings = Vec::new();
    for name in &names {
        let mut restore = RestoreCheck {
            repository,
            name,
            damaged_pages: BTreeSet::new(),
            findings: Vec::new(),
        };
        if let Err(error) = restore.pages().await {
            restore.findings.push(finding(&error));
        }
        if let Err(error) = restore.manifests().await {
            restore.findings.push(finding(&error));
        }
        findings.append(&mut restore.findings);
    }
    findings
}

/// One restore, finished or not.
struct RestoreCheck<'a> {
    repository: &'a Repository,
    name: &'a RestoreId,
    /// Keys of pages that are findings by themselves, and must not be reported again by the maps that need them.
    damaged_pages: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl RestoreCheck<'_> {
    /// Reports whether the error is about a damaged page that is a finding already.
    fn is_reported(&self, error: &RepoError) -> bool {
        let damaged = matches!(error.kind(), RepoErrorKind::Damaged(_));
        let reported = |key| self.damaged_pages.contains(key);
        damaged && error.key().is_some_and(reported)
    }

    /// Checks each page by itself, including those that no map names: an unfinished restore may still need them.
    async fn pages(&mut self) -> Result<(), RepoError> {
        let repository = self.repository;
        let keys = repository.map_page_keys(self.name).await?.into_iter();
        let reads = keys.map(async |key| {
            let page = repository.listed_map_page(&key).await;
            (key, page.map(|_| ()))
        });
        let mut pages = pin!(stream::iter(reads).buffered(self.parallel()));
        while let Some((key, page)) = pages.next().await {
            if let Err(error) = page {
                self.damaged_pages.insert(key.to_string());
                self.findings.push(finding(&error));
            }
        }
        Ok(())
    }

    fn parallel(&self) -> usize {
        self.repository.store().profile().parallel_requests
    }

    /// Checks `begun.json`, `targets.json`, `discarded.json`, `done.json`, and the maps that the latter names.
    async fn manifests(&mut self) -> Result<(), RepoError> {
        self.repository.restore_targets(self.name).await?;
        self.repository.restore_discarded(self.name).await?;
        self.repository.groups_changes(self.name).await?;
        let begun = self.repository.restore(self.name).await?;
        let done = self.repository.restore_done(self.name).await?;
        let partitions = done.map_or_else(Vec::new, |done| done.partitions);
        let this = &*self;
        // A page names the one before it, so that only partitions can be read side by side.
        let checks = partitions.iter().map(async |partition| {
            let source = partition.partition_id();
            let requested = begun.as_ref().and_then(|begun| begun.partition(&source));
            let wrong = match requested {
                Some(requested) => this.map(requested, partition).await,
                None => {
                    let message = format!(
                        "restore {} finished with a partition that it did not begin with",
                        this.name
                    );
                    Some(Finding::new(FindingKind::DamagedRestore, message))
                }
            };
            wrong.map(|finding| finding.partition(&source))
        });
        let wrong: Vec<Option<Finding>> = stream::iter(checks)
            .buffered(this.parallel())
            .collect()
            .await;
        self.findings.extend(wrong.into_iter().flatten());
        Ok(())
    }

    /// Checks the offset map of one partition; returns the first thing that is wrong with it.
    async fn map(
        &self,
        (topic, requested): (&RestoredTopic, &RestoredPartition),
        partition: &DonePartition,
    ) -> Option<Finding> {
        let mut map = MapReader::new(self.repository, self.name, partition);
        loop {
            let page = match map.next().await {
                Ok(page) => page?,
                Err(error) if self.is_reported(&error) => return None,
                Err(error) => return Some(finding(&error)),
            };
            if !topic.covers(requested, &page) {
                let message = format!(
                    "page {} of restore {} maps offsets, or to partitions, that the restore was not asked for",
                    page.sha256, self.name
                );
                return Some(Finding::new(FindingKind::DamagedRestore, message));
            }
        }
    }
}

fn finding(error: &RepoError) -> Finding {
    Finding::of_error(
        error,
        FindingKind::DamagedRestore,
        FindingKind::DamagedRestore,
    )
}

//! What restores left: every page of their offset maps, and that those of a finished one follow one another and say what it was asked
//! for.

use kbk_format::repo::{
    DonePartition, RepoError, Repository, RestoreId, RestoredPartition, RestoredTopic,
};

use crate::finding::{Finding, Kind};

/// Everything that is wrong with the restores of a repository.
pub(super) async fn verify(repository: &Repository) -> Vec<Finding> {
    let names = match repository.restores().await {
        Ok(names) => names,
        Err(error) => return vec![finding(&error)],
    };
    let mut findings = Vec::new();
    for name in &names {
        if let Err(error) = verify_pages(repository, name, &mut findings).await {
            findings.push(finding(&error));
        }
        if let Err(error) = verify_ends(repository, name, &mut findings).await {
            findings.push(finding(&error));
        }
    }
    findings
}

/// Each page by itself, those of an unfinished restore too.
async fn verify_pages(
    repository: &Repository,
    name: &RestoreId,
    findings: &mut Vec<Finding>,
) -> Result<(), RepoError> {
    for key in repository.map_page_keys(name).await? {
        if let Err(error) = repository.listed_map_page(&key).await {
            findings.push(finding(&error));
        }
    }
    Ok(())
}

/// Beginning and end, and what the end names.
async fn verify_ends(
    repository: &Repository,
    name: &RestoreId,
    findings: &mut Vec<Finding>,
) -> Result<(), RepoError> {
    repository.groups_changes(name).await?;
    let begun = repository.restore(name).await?;
    let done = repository.restore_done(name).await?;
    for partition in done.into_iter().flat_map(|done| done.partitions) {
        let place = partition.place();
        match begun.as_ref().and_then(|begun| begun.partition(&place)) {
            Some(meant) => verify_partition(repository, name, meant, &partition, findings).await,
            None => {
                let message =
                    format!("restore {name} has ended with a partition that it did not begin with");
                findings.push(Finding::new(Kind::DamagedRestore, message).place(&place));
            }
        }
    }
    Ok(())
}

/// The pages of one partition, from the last to the first.
async fn verify_partition(
    repository: &Repository,
    name: &RestoreId,
    (topic, meant): (&RestoredTopic, &RestoredPartition),
    partition: &DonePartition,
    findings: &mut Vec<Finding>,
) {
    let place = partition.place();
    let (mut next, mut records, mut end) = (partition.page, partition.records, None);
    while let Some(sha256) = next {
        let page = match repository.map_page(name, &place, &sha256).await {
            // It was found by its name.
            Err(RepoError::Damaged { .. }) => return,
            Err(error) => return findings.push(finding(&error).place(&place)),
            Ok(page) => page,
        };
        if page.records != records || end.is_some_and(|end| page.end_offset != end) {
            let message = format!(
                "page {sha256} of restore {name} ends at offset {} with {} records, and what names it says {records}{}",
                page.end_offset,
                page.records,
                end.map_or_else(String::new, |end| format!(" up to {end}"))
            );
            return findings.push(Finding::new(Kind::DamagedRestore, message).place(&place));
        }
        if !topic.explains(meant, &page) {
            let message = format!(
                "page {sha256} of restore {name} maps offsets, or to places, that the restore was not asked for"
            );
            return findings.push(Finding::new(Kind::DamagedRestore, message).place(&place));
        }
        let runs: u64 = page.runs.iter().map(|run| run.records).sum();
        records = records.saturating_sub(runs);
        end = Some(page.base_offset);
        next = page.previous;
    }
    if records > 0 {
        let message = format!("restore {name} wrote {records} records that its offset map lacks");
        findings.push(Finding::new(Kind::DamagedRestore, message).place(&place));
    }
}

fn finding(error: &RepoError) -> Finding {
    Finding::of_error(error, Kind::DamagedRestore, Kind::DamagedRestore)
}

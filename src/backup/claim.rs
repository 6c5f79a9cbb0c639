//! Claims the topics of a run before anything of them is read, so that two runs never read the same records twice (SPEC 11.9).
//!
//! Before the survey: of a run that first asks for the ends of the logs and then waits for another one, that other one's segments
//! would end beyond them, as if the logs had been cut.

use std::collections::BTreeSet;
use std::sync::Arc;

use kbk_format::repo::{ClaimedTopic, Repository, TopicName};
use kbk_tools::claims::{self, ClaimError, ClaimEvent, ClaimRequest, HeldClaim};

use super::survey::SurveyError;
use crate::kafka::Admin;
use crate::run::Cancel;
use crate::select::TopicSelection;

/// The names of the topics to claim; `None` for all.
pub(super) type Selected = Option<BTreeSet<String>>;

/// Returns the topics of the cluster that the selection covers now. Where the selection fails, that is all topics: the survey decides
/// what it means, which may be that some are hidden.
pub(super) fn selected(admin: &Admin, selection: &TopicSelection) -> Result<Selected, SurveyError> {
    let all = admin.describe_topics(None)?;
    let all = all
        .iter()
        .map(|topic| (topic.name.as_str(), topic.internal));
    Ok(selection.select(all).ok().map(BTreeSet::from_iter))
}

/// Claims the topics. `None` if a stop was requested.
pub(super) async fn claim(
    repository: &Repository,
    selected: &Selected,
    writer: String,
    cancel: &Cancel,
) -> Result<Option<HeldClaim>, ClaimError> {
    let topic = |name: &String| {
        let topic: TopicName = name.parse().ok()?;
        let partitions = None;
        Some(ClaimedTopic { topic, partitions })
    };
    let topics = selected.as_ref();
    let request = ClaimRequest {
        command: "backup".to_owned(),
        writer,
        topics: topics.map(|topics| topics.iter().filter_map(topic).collect()),
        can_select: true,
    };
    claims::claim(repository, request, cancel.cancelled(), Arc::new(log)).await
}

fn log(event: &ClaimEvent) {
    if event.is_warning() {
        tracing::warn!("{event}");
    } else {
        tracing::info!("{event}");
    }
}

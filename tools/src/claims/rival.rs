//! Why a claim was refused: another one that overlaps.

use std::fmt;

use jiff::Timestamp;
use kbk_format::counted;
use kbk_format::repo::{Id, Key, TopicName, WriteClaim};

/// The names of topics in a message, at most.
const NAMED: usize = 5;

/// Another claim, and what it has in common with one that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rival {
    /// The name of its object.
    pub claim: Id,
    /// What it says; `None` if it cannot be read.
    pub content: Option<WriteClaim>,
    /// The topics that both claim; `None` for everything.
    pub topics: Option<Vec<TopicName>>,
}

impl Rival {
    /// Returns why a claim of the same is refused, and what helps. Who claims everything leaves no other topics to select, and neither can who works
    /// on all of them.
    #[must_use]
    pub(super) fn refusal(&self, repository: &str, can_select: bool) -> String {
        let claimed = self.content.as_ref();
        let has_others = claimed.is_some_and(|claim| claim.topics.is_some());
        let (what, instead) = match &self.topics {
            None => (repository.to_owned(), ""),
            Some(_) if has_others && can_select => {
                let what = format!("{} in {repository}", self.shared());
                (what, ", or select other topics")
            }
            Some(_) => (format!("{} in {repository}", self.shared()), ""),
        };
        format!(
            "{what} is being written by {self}; wait until it has ended and run this command again{instead}"
        )
    }

    /// Returns the topics that both claim, for people.
    #[must_use]
    pub fn shared(&self) -> String {
        let Some(topics) = &self.topics else {
            return "this repository".to_owned();
        };
        let named: Vec<&str> = topics.iter().take(NAMED).map(|topic| &**topic).collect();
        match topics.len() - named.len() {
            0 => named.join(", "),
            more => format!("{} and {}", named.join(", "), counted(more, "more topic")),
        }
    }
}

/// Who has it: `kbk backup on HOST (process 12, since 2026-11-22T10:00:00Z)`.
impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(claim) = &self.content else {
            let key = Key::WriteClaim { claim: self.claim };
            return write!(f, "the owner of {key}, which cannot be read as a claim");
        };
        let host = claim.host.as_deref().unwrap_or("an unnamed machine");
        // It comes from an object that anyone may have written.
        let (command, host) = (claim.command.escape_debug(), host.escape_debug());
        write!(f, "kbk {command} on {host} (")?;
        if let Some(process) = &claim.process {
            write!(f, "process {}, ", process.pid)?;
        }
        write!(f, "since {})", in_seconds(claim.begun_at))
    }
}

/// Returns a time without its fraction of a second.
fn in_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use kbk_format::repo::{ClaimState, ClaimedTopic};

    use super::*;

    #[test]
    fn other_topics_help_only_where_some_are_left_and_can_be_selected() {
        let rival = |topics: Option<Vec<&str>>| Rival {
            claim: Id::ZERO,
            content: None,
            topics: topics.map(|names| names.iter().map(|it| it.parse().unwrap()).collect()),
        };
        let everything = rival(None).refusal("s3://a/b", true);
        assert!(
            everything.starts_with("s3://a/b is being written by "),
            "{everything}"
        );
        let orders = rival(Some(vec!["orders"])).refusal("s3://a/b", true);
        assert!(
            orders.starts_with("orders in s3://a/b is being written by "),
            "{orders}"
        );
        for refusal in [everything, orders] {
            assert!(!refusal.contains("select other topics"), "{refusal}");
        }
        let orders = "orders".parse().unwrap();
        let of_orders = Rival {
            content: Some(WriteClaim {
                claim: Id::ZERO,
                command: "backup".to_owned(),
                writer: String::new(),
                host: None,
                process: None,
                begun_at: Timestamp::UNIX_EPOCH,
                renewed: 0,
                state: ClaimState::Held,
                topics: Some(vec![ClaimedTopic {
                    topic: "orders".parse().unwrap(),
                    partitions: None,
                }]),
            }),
            claim: Id::ZERO,
            topics: Some(vec![orders]),
        };
        for can_select in [true, false] {
            let refusal = of_orders.refusal("s3://a/b", can_select);
            let helps = refusal.contains("or select other topics");
            assert_eq!(helps, can_select, "{refusal}");
        }
    }
}

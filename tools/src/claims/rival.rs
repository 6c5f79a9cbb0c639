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

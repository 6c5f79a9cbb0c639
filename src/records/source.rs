//! Reading records: ranges of partitions into a handler.

use super::{RecordHandler, SourceError};

/// Reads the ranges that it was opened with; see [`Transport::open_source`](super::Transport::open_source).
pub trait RecordSource {
    /// Reads until every range is finished, on the caller's thread.
    ///
    /// The handler receives committed records only, each once, in offset order per range; offsets that can no longer be read are
    /// reported as lost. Offsets may have gaps. A range ends when the source's *position* reaches its end, whether or not the last
    /// offset before it exists.
    ///
    /// # Errors
    ///
    /// Those of the cluster and of the handler. After an error the source can only be dropped.
    fn run<H: RecordHandler>(&mut self, handler: &mut H) -> Result<(), SourceError<H::Error>>;
}

//! The progress of a command that works in the background: what its listeners hear, and whether it is to stop.

use std::sync::Arc;

use kbk_tools::export::ExportEvents;
use kbk_tools::import::ImportEvents;

use crate::cli::Context;
use crate::run::{Cancel, Committed, Done, Events, Totals};

/// Passes on what is done. It leaves the screen when it is dropped, which must be before the result is written.
pub(super) struct RunProgress {
    events: Arc<dyn Events>,
    cancel: Cancel,
}

impl RunProgress {
    /// Prepares the progress of a run called `title`, whose totals follow.
    pub(super) fn prepare(context: &Context, title: &'static str) -> RunProgress {
        RunProgress {
            events: context.events(title),
            cancel: context.cancel.clone(),
        }
    }

    /// Starts the progress of a run called `title`.
    pub(super) fn start(context: &Context, title: &'static str, totals: Totals) -> RunProgress {
        let progress = RunProgress::prepare(context, title);
        progress.started(totals);
        progress
    }

    pub(super) fn started(&self, totals: Totals) {
        self.events.run_started(totals);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.events.received(None, Done { records: 0, bytes });
    }

    /// Reports what was read and is done at once.
    fn read(&self, records: u64, bytes: u64) {
        let done = Done { records, bytes };
        self.events.received(None, done);
        self.events.advanced(None, done);
    }

    pub(super) fn advanced(&self, records: u64, bytes: u64) {
        self.events.advanced(None, Done { records, bytes });
    }

    pub(super) fn sealed(&self, bytes: u64) {
        self.events.segment_sealed(bytes);
    }

    pub(super) fn committed(&self, committed: Committed) {
        self.events.committed(committed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.cancel.is_set()
    }
}

impl Drop for RunProgress {
    fn drop(&mut self) {
        self.events.run_finished();
    }
}

impl ExportEvents for RunProgress {
    fn written(&self, records: u64, stored_bytes: u64) {
        self.read(records, stored_bytes);
    }

    fn is_stopped(&self) -> bool {
        RunProgress::is_stopped(self)
    }
}

impl ImportEvents for RunProgress {
    fn advanced(&self, records: u64, bytes: u64) {
        self.read(records, bytes);
    }

    fn sealed(&self, bytes: u64) {
        RunProgress::sealed(self, bytes);
    }

    fn is_stopped(&self) -> bool {
        RunProgress::is_stopped(self)
    }
}

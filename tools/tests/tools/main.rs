//! Tests the tools on repositories in a temporary folder.

#![expect(
    unreachable_pub,
    reason = "modules of one test binary share what they need"
)]

mod cursors;
mod depths;
mod diff;
mod forgotten;
mod grep;
mod grep_model;
mod inspect;
mod key_filter;
mod kinds;
mod list;
mod listing_requests;
mod orphans;
mod portion;
mod prefetch;
mod read;
mod read_options;
mod recover;
mod restores;
mod support;
mod verify;

//! The tools over repositories that are really on disk.

#![expect(
    unreachable_pub,
    reason = "modules of one test binary share what they need"
)]

mod inspect;
mod listing;
mod offset_map;
mod read;
mod support;
mod verify;

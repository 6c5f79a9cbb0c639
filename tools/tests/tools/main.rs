//! The tools over repositories that are really on disk.

mod inspect;
mod listing;
mod read;
mod support;
mod verify;

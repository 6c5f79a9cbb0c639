//! Real mounts of the program, looked at with the programs that people look at files with.

#![expect(
    unreachable_pub,
    reason = "modules of one test binary share what they need"
)]

mod damage;
mod ending;
mod files;
mod growing;
mod mounted;
mod places;
mod readers;
#[expect(dead_code, reason = "it is shared with the tests of the tools")]
#[path = "../../tools/tests/tools/support/world.rs"]
mod world;

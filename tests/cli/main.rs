//! The program as scripts see it: exit codes, stdout, stderr.

#![expect(
    unreachable_pub,
    reason = "modules of one test binary share what they need"
)]

mod acls;
mod call;
mod cat;
mod groups;
mod listings;
mod verify;
#[expect(dead_code, reason = "it is shared with the tests of the tools")]
#[path = "../../tools/tests/tools/support/world.rs"]
mod world;

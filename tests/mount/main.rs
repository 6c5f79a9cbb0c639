//! Real mounts of the program, read with the tools that people use on files.

#![expect(unreachable_pub, reason = "modules of one test binary share helpers")]

#[expect(dead_code, reason = "recipes have no prompts")]
#[path = "../support/pages.rs"]
mod blocks;
mod by_key;
mod damage;
mod ending;
mod failing_disk;
mod files;
mod growing;
mod json;
#[path = "../support/json_page.rs"]
mod json_page;
mod listing;
mod log;
mod metrics;
mod mount_points;
mod mounted;
mod readers;
mod recipes;
mod unreadable;
#[expect(dead_code, reason = "shared with the tests of kbk-tools")]
#[path = "../../tools/tests/tools/support/world.rs"]
mod world;

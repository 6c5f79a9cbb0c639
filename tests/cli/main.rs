//! The program as scripts see it, without a broker: exit codes, stdout and stderr.

#![expect(unreachable_pub, reason = "modules of one test binary share helpers")]

mod acls;
#[expect(dead_code, reason = "no console is run here")]
#[path = "../support/pages.rs"]
mod blocks;
mod cat;
mod compact;
mod config;
mod copy;
mod credentials;
mod deploy;
mod diff;
mod evidence;
mod expire;
mod export;
mod foreign_files;
mod formats;
mod grep;
mod groups;
mod help;
mod index;
mod json;
#[path = "../support/json_page.rs"]
mod json_page;
mod listings;
mod lone_files;
mod messages;
mod missing_newest;
mod missing_parent;
mod noise;
mod other_identity;
mod pages;
mod partial;
mod program;
mod rebuild;
mod recover;
mod reference;
mod repo_mode;
mod restores;
mod retention;
mod setup;
mod status;
mod unread;
mod unused;
mod verify;
#[expect(dead_code, reason = "shared with the tests of kbk-tools")]
#[path = "../../tools/tests/tools/support/world.rs"]
mod world;

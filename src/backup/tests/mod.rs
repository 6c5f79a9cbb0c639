//! Backups of logs in memory, without a broker.

mod adopt;
mod continuity;
mod pipeline;
mod recheck;
mod refresh;
mod world;

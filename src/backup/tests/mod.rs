//! Backups of logs in memory, without a broker.

mod continuity;
mod pipeline;
mod recheck;
mod refresh;
mod world;

//! `kbk inspect`: one segment file, without its repository.

use std::path::PathBuf;

/// The words after `kbk inspect`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A segment file (.kseg)
    pub file: PathBuf,

    /// List every block
    #[arg(long)]
    pub blocks: bool,
}

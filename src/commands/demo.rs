//! `kbk demo`: the whole job on a built-in broker.

use std::path::PathBuf;

/// The words after `kbk demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Folder in which the repository is made and left for you to look at
    #[arg(default_value = "kbk-demo")]
    pub dir: PathBuf,
}

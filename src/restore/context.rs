//! What every step of a running restore works with.

use kbk_format::repo::{Repository, RestoreManifest};
use tokio::runtime::Handle;

use crate::run::Cancel;

/// A restore that has begun, and where it reads and writes.
#[derive(Clone, Copy)]
pub(crate) struct RestoreContext<'a> {
    pub(crate) manifest: &'a RestoreManifest,
    pub(crate) repository: &'a Repository,
    pub(crate) cancel: &'a Cancel,
    pub(crate) runtime: &'a Handle,
}

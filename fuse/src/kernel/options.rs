//! How a mount is made.

/// How the kernel is to show a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// What `mount` and `df` show as the source: the repository, without secrets.
    pub source: String,
    /// Whether users other than the one who mounts may look.
    pub allow_other: bool,
    /// Whom the files belong to.
    pub uid: u32,
    /// Which group they belong to.
    pub gid: u32,
    /// Whether `user.kbk.*` attributes are shown.
    pub extended_attributes: bool,
    /// How many KiB the kernel reads ahead, where root mounts; `None` leaves its 128.
    pub readahead_kb: Option<u32>,
}

impl MountOptions {
    /// Options for whoever runs this process.
    #[must_use]
    pub fn new(source: String) -> Self {
        MountOptions {
            source,
            allow_other: false,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            extended_attributes: true,
            readahead_kb: None,
        }
    }
}

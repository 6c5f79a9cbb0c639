//! Options of a mount.

/// How the kernel presents a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// The source that `mount` and `df` show: the repository, without secrets.
    pub source: String,
    /// Whether users other than the one who mounts may read.
    pub allow_other: bool,
    /// The owner of the files.
    pub uid: u32,
    /// The group of the files.
    pub gid: u32,
    /// The permission bits of files, such as `0o440`.
    pub file_mode: u16,
    /// The permission bits of folders, such as `0o550`.
    pub folder_mode: u16,
    /// Whether files have `user.kbk.*` attributes.
    pub extended_attributes: bool,
    /// Whether programs may open a `.log` for writing, too, as a Kafka broker opens every segment, although each write fails.
    pub for_broker: bool,
    /// How much the kernel reads ahead, in KiB; `None` leaves its default of 128. Only root can set it.
    pub readahead_kb: Option<u32>,
}

impl MountOptions {
    /// The defaults for the user of this process.
    #[must_use]
    pub fn new(source: String) -> Self {
        MountOptions {
            source,
            allow_other: false,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            file_mode: 0o440,
            folder_mode: 0o550,
            extended_attributes: true,
            for_broker: false,
            readahead_kb: None,
        }
    }
}

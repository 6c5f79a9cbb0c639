//! The attributes of a file.

use crate::tree::inode::Inode;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
}

/// How long the attributes of a file stay valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the snapshot exists.
    Sealed,
    /// Until the next backup, or until something cannot be read. Those of a folder expire after a second; those of a file must not
    /// be cached, and neither must its contents: its size must never be older than what a program has read of it.
    Growing,
}

/// A file as `stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Its type.
    pub kind: Kind,
    /// Its exact length in bytes; 0 for a folder.
    pub size: u64,
    /// The stored bytes of its contents. Several files may show the same bytes.
    pub stored_bytes: u64,
    /// The time of its newest record, or of the backup, in milliseconds since the epoch; between the epoch and the backup. A range
    /// of several offsets that was looked up has the time of its partition.
    pub modified_ms: u64,
    /// The number of its links; 1 for a folder, too, so that programs do not count subfolders.
    pub links: u32,
    /// How long all this may be cached.
    pub lifetime: Lifetime,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its inode number.
    pub inode: Inode,
    /// Its attributes.
    pub attributes: Attributes,
}

/// A name in the listing of a folder.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where a listing resumes after it; from 1.
    pub cookie: u64,
    /// Its name.
    pub name: String,
    /// The inode number of the file.
    pub inode: Inode,
    /// The type of the file.
    pub kind: Kind,
    /// Its attributes, or why they cannot be read: then a lookup of this name fails, but the listing does not.
    pub attributes: Result<Attributes, crate::ViewError>,
}

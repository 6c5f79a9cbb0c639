//! What is said of a file.

use crate::tree::inode::Inode;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file that is read.
    File,
    /// A symbolic link.
    Link,
}

/// How long what was said of a file stays true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the snapshot is there.
    Sealed,
    /// Until the next backup, or until damage is found: ask again after a second, and keep no bytes.
    Growing,
}

/// A file as `stat` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Its exact length in bytes; 0 of a folder.
    pub size: u64,
    /// How many bytes are stored of what it shows; several files may show the same.
    pub stored_bytes: u64,
    /// The time of its newest record (of its partition, where a name chose some), or of the backup; milliseconds since the epoch,
    /// never negative and never behind the backup.
    pub modified_ms: u64,
    /// Names of it; 1 of a folder too, which tells that its folders are not counted.
    pub links: u32,
    /// How long all this may be kept.
    pub lifetime: Lifetime,
}

/// A file that a lookup has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub inode: Inode,
    /// What is said of it.
    pub attributes: Attributes,
}

/// A name in a folder.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where a listing goes on behind it; from 1.
    pub cookie: u64,
    /// Its name.
    pub name: String,
    /// The number of the file.
    pub inode: Inode,
    /// What the file is.
    pub kind: Kind,
    /// What is said of it, or why that cannot be told: then only a lookup of this name fails, not the listing.
    pub attributes: Result<Attributes, crate::ViewError>,
}

//! A folder on a disk that fails: a FUSE file system that shows another folder, and does not return what the test names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory,
    ReplyEntry, ReplyOpen, Request,
};
use tempfile::TempDir;

/// Bytes of a sector: what the kernel reads of a file at least.
pub const SECTOR: u64 = 4096;

/// What is wrong with files, by their paths in the folder.
type Faults = Arc<Mutex<BTreeMap<PathBuf, Fault>>>;

/// What is wrong with a file.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nobody may open it.
    Denied,
    /// The sectors of these bytes cannot be read.
    BadSectors(Vec<Range<u64>>),
}

/// A mounted folder.
pub struct FailingDisk {
    faults: Faults,
    // Unmounts before the folder goes.
    _session: BackgroundSession,
    place: TempDir,
}

impl FailingDisk {
    /// Shows a folder.
    pub fn of(folder: &Path) -> FailingDisk {
        let place = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let disk = Disk {
            folder: folder.to_owned(),
            faults: Arc::clone(&faults),
            paths: Mutex::new(vec![PathBuf::new()]),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("failing".into())];
        FailingDisk {
            faults,
            _session: fuser::spawn_mount(disk, place.path(), &config).unwrap(),
            place,
        }
    }

    /// Sets what is wrong with a file from now on. What the kernel has read of it before may still be returned.
    pub fn fail(&self, file: &str, fault: Fault) {
        self.faults.lock().unwrap().insert(file.into(), fault);
    }

    /// Returns where the folder is shown.
    pub fn path(&self) -> &Path {
        self.place.path()
    }
}

struct Disk {
    folder: PathBuf,
    faults: Faults,
    /// By number of the inode, less one.
    paths: Mutex<Vec<PathBuf>>,
}

/// Nothing changes while it is shown.
const FOREVER: Duration = Duration::from_hours(1);

impl Disk {
    fn path(&self, inode: INodeNo) -> PathBuf {
        let paths = self.paths.lock().unwrap();
        paths[usize::try_from(inode.0).unwrap() - 1].clone()
    }

    fn inode(&self, path: PathBuf) -> u64 {
        let mut paths = self.paths.lock().unwrap();
        let known = paths.iter().position(|known| *known == path);
        let number = known.unwrap_or_else(|| {
            paths.push(path);
            paths.len() - 1
        });
        number as u64 + 1
    }

    fn fault(&self, inode: INodeNo) -> Option<Fault> {
        self.faults.lock().unwrap().get(&self.path(inode)).cloned()
    }

    fn attr(&self, path: PathBuf) -> io::Result<FileAttr> {
        let found = fs::metadata(self.folder.join(&path))?;
        Ok(FileAttr {
            ino: INodeNo(self.inode(path)),
            size: found.len(),
            blocks: found.blocks(),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind: kind(&found),
            perm: if found.is_dir() { 0o755 } else { 0o644 },
            nlink: 1,
            uid: found.uid(),
            gid: found.gid(),
            rdev: 0,
            blksize: SECTOR as u32,
            flags: 0,
        })
    }

    fn read(&self, inode: INodeNo, wanted: Range<u64>) -> Result<Vec<u8>, Errno> {
        if let Some(Fault::BadSectors(bad)) = self.fault(inode) {
            let sectors = |bytes: &Range<u64>| {
                bytes.start / SECTOR * SECTOR..bytes.end.next_multiple_of(SECTOR)
            };
            let mut bad = bad.iter().map(sectors);
            if bad.any(|bad| bad.start < wanted.end && wanted.start < bad.end) {
                return Err(Errno::EIO);
            }
        }
        let read = || -> io::Result<Vec<u8>> {
            let file = File::open(self.folder.join(self.path(inode)))?;
            let length = wanted.end.min(file.metadata()?.len());
            let mut bytes = vec![0; usize::try_from(length.saturating_sub(wanted.start)).unwrap()];
            file.read_exact_at(&mut bytes, wanted.start)?;
            Ok(bytes)
        };
        read().map_err(Errno::from)
    }
}

fn kind(found: &Metadata) -> FileType {
    match found.is_dir() {
        true => FileType::Directory,
        false => FileType::RegularFile,
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attr(self.path(parent).join(name)) {
            Ok(attr) => reply.entry(&FOREVER, &attr, Generation(0)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(self.path(inode)) {
            Ok(attr) => reply.attr(&FOREVER, &attr),
            Err(error) => reply.error(error.into()),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.fault(inode) {
            Some(Fault::Denied) => reply.error(Errno::EACCES),
            _ => reply.opened(FileHandle(0), FopenFlags::empty()),
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        position: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read(inode, position..position + u64::from(size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        let folder = self.path(inode);
        let listed = match fs::read_dir(self.folder.join(&folder)) {
            Ok(listed) => listed,
            Err(error) => return reply.error(error.into()),
        };
        let mut entries: Vec<_> = listed.map(Result::unwrap).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for (number, entry) in (1..).zip(entries).skip(usize::try_from(from).unwrap()) {
            let inode = INodeNo(self.inode(folder.join(entry.file_name())));
            let kind = kind(&entry.metadata().unwrap());
            if reply.add(inode, number, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }
}

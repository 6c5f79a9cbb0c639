//! Hands each request of the kernel to the view, and replies with the result. The only decision here is how long the kernel may
//! cache an answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenAccMode, OpenFlags,
    PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use tokio::runtime::Handle;

use super::answer::answer;
use super::errno::{errno, is_routine};
use super::handles::Handles;
use super::log_throttle::LogThrottle;
use super::options::MountOptions;
use crate::{Attributes, Inode, Kind, Lifetime, Listed, OpenFile, View, ViewError};

/// Answers about a sealed snapshot never change.
const SEALED: Duration = Duration::from_hours(1);
/// A backup or the discovery of damage may change these answers about folders and links: `tail -F` notices after this time.
const GROWING: Duration = Duration::from_secs(1);
/// Names offered per request of a listing: about as many as fit into the 32 KiB that `ls` asks for.
const LISTED_AT_ONCE: usize = 192;
/// Reads, most of them the kernel's readahead, that may wait for an answer at a time.
const BACKGROUND_REQUESTS: u16 = 4096;
/// The first two names of every folder.
const DOTS: [&str; 2] = [".", ".."];
/// The block size of `stat` and `statfs`: what the kernel reads at once.
const BLOCK_BYTES: u32 = 128 * 1024;

/// Answers the kernel from a view.
pub(super) struct Adapter {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    view: View,
    handles: Arc<Handles>,
    log: LogThrottle,
    owner: Owner,
    attributes: bool,
}

/// The owner of the files, and what may be done with them.
#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
    file_mode: u16,
    folder_mode: u16,
    /// Whether a `.log` may be opened for writing.
    for_broker: bool,
}

impl Adapter {
    pub(super) fn new(
        view: View,
        options: &MountOptions,
        handles: Arc<Handles>,
        runtime: Handle,
    ) -> Self {
        let shared = Shared {
            view,
            handles,
            log: LogThrottle::default(),
            owner: Owner {
                uid: options.uid,
                gid: options.gid,
                file_mode: match options.for_broker {
                    // Who may read may open for writing.
                    true => options.file_mode | (options.file_mode & 0o444) >> 1,
                    false => options.file_mode,
                },
                folder_mode: options.folder_mode,
                for_broker: options.for_broker,
            },
            attributes: options.extended_attributes,
        };
        Adapter {
            shared: Arc::new(shared),
            runtime,
        }
    }

    /// Runs `reply` at once or as a task.
    fn answer<F>(&self, reply: impl FnOnce(Arc<Shared>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        answer(&self.runtime, reply(Arc::clone(&self.shared)));
    }
}

impl Shared {
    /// The number of an error, which is also logged unless it is routine.
    fn refusal(&self, error: &ViewError) -> Errno {
        if !is_routine(error) {
            self.log.warn(error.to_string());
        }
        errno(error)
    }

    /// A part of a folder's names: `.`, `..`, and those that the view lists, whose cookies are shifted by these two.
    async fn names(&self, folder: Inode, from: u64) -> Result<Vec<Listed>, ViewError> {
        let listed = self
            .view
            .list(
                folder,
                from.saturating_sub(DOTS.len() as u64),
                LISTED_AT_ONCE,
            )
            .await?;
        let attributes = self.view.attributes(folder).await;
        let dots = DOTS
            .into_iter()
            .zip(1..)
            .filter(|(_, cookie)| *cookie > from);
        let dots = dots.map(|(name, cookie)| Listed {
            cookie,
            name: name.to_owned(),
            // The kernel knows the parent, and ignores this number.
            inode: folder,
            kind: Kind::Folder,
            attributes: attributes.clone(),
        });
        let listed = listed.into_iter().map(|name| Listed {
            cookie: name.cookie + DOTS.len() as u64,
            ..name
        });
        Ok(dots.chain(listed).collect())
    }

    /// The attributes of a name in a listing. If they could not be read, the kernel gets placeholders that it may not cache: it
    /// asks again on behalf of a program that needs them, and gets the error then.
    fn listed(&self, name: &Listed) -> (FileAttr, Duration) {
        match &name.attributes {
            Ok(attributes) => (self.attr(name.inode, attributes), time_to_live(attributes)),
            Err(_) => {
                let unknown = Attributes {
                    kind: name.kind,
                    size: 0,
                    stored_bytes: 0,
                    modified_ms: 0,
                    links: 1,
                    lifetime: Lifetime::Growing,
                };
                (self.attr(name.inode, &unknown), Duration::ZERO)
            }
        }
    }

    fn attr(&self, inode: Inode, attributes: &Attributes) -> FileAttr {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(attributes.modified_ms);
        let perm = match attributes.kind {
            Kind::Folder => self.owner.folder_mode,
            Kind::File => self.owner.file_mode,
            Kind::Link => 0o777,
        };
        FileAttr {
            ino: INodeNo(inode.0),
            size: attributes.size,
            blocks: attributes.stored_bytes.div_ceil(512),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind: file_type(attributes.kind),
            perm,
            nlink: attributes.links,
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        }
    }
}

fn time_to_live(attributes: &Attributes) -> Duration {
    match attributes.lifetime {
        Lifetime::Sealed => SEALED,
        // A program that follows a file compares its size with how far it has read.
        Lifetime::Growing if attributes.kind == Kind::File => Duration::ZERO,
        Lifetime::Growing => GROWING,
    }
}

/// Whether reads of an open file use the page cache. Without it, the kernel asks for exactly what a program asks for: a range that
/// cannot be read does not affect its neighbours, and a document that was made at open is read to its end, whatever length the
/// kernel has cached.
fn caching(file: &OpenFile) -> FopenFlags {
    match file.lifetime() {
        Lifetime::Sealed if !file.has_damage() => FopenFlags::FOPEN_KEEP_CACHE,
        Lifetime::Sealed | Lifetime::Growing => FopenFlags::FOPEN_DIRECT_IO,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Folder => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Link => FileType::Symlink,
    }
}

/// Replies to a request for an extended attribute: with the length if `room` is 0, else with the bytes.
fn reply_bytes(reply: ReplyXattr, room: u32, bytes: &[u8]) {
    match u32::try_from(bytes.len()) {
        Ok(length) if room == 0 => reply.size(length),
        Ok(length) if length <= room => reply.data(bytes),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(_) => reply.error(Errno::E2BIG),
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // A kernel may lack any of them. Not FUSE_CACHE_SYMLINKS: it would cache `latest` forever.
        for flag in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ASYNC_DIO,
            InitFlags::FUSE_ABORT_ERROR,
            // Shared mappings of files that bypass the page cache. What a mapping has cached is dropped when the file has grown.
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            InitFlags::FUSE_AUTO_INVAL_DATA,
        ] {
            let _ = config.add_capabilities(flag);
        }
        // With the kernel's dozen, reads of a store that hangs would end one dozen after the other.
        let _ = config.set_max_background(BACKGROUND_REQUESTS);
        let _ = config.set_congestion_threshold(BACKGROUND_REQUESTS);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_owned();
        self.answer(|shared| async move {
            match shared.view.lookup(Inode(parent.0), name.as_bytes()).await {
                Ok(entry) => reply.entry(
                    &time_to_live(&entry.attributes),
                    &shared.attr(entry.inode, &entry.attributes),
                    Generation(0),
                ),
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn forget(&self, _: &Request, inode: INodeNo, lookups: u64) {
        self.shared.view.forget(Inode(inode.0), lookups);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answer(|shared| async move {
            match shared.view.attributes(Inode(inode.0)).await {
                Ok(attributes) => reply.attr(
                    &time_to_live(&attributes),
                    &shared.attr(Inode(inode.0), &attributes),
                ),
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        self.answer(|shared| async move {
            match shared.view.read_link(Inode(inode.0)).await {
                Ok(target) => reply.data(target.as_bytes()),
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn open(&self, _: &Request, inode: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let mode = flags.acc_mode();
        let writes = mode != OpenAccMode::O_RDONLY;
        if writes && !(self.shared.owner.for_broker && mode == OpenAccMode::O_RDWR) {
            return reply.error(Errno::EROFS);
        }
        self.answer(|shared| async move {
            match shared.view.open_file(Inode(inode.0)).await {
                // A write fails, but what is mapped for writing would be lost in silence: only a broker's indexes are mapped.
                Ok(file) if writes && !file.is_log() => reply.error(Errno::EROFS),
                Ok(file) => {
                    let flags = caching(&file) | FopenFlags::FOPEN_NOFLUSH;
                    reply.opened(shared.handles.insert(file), flags);
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.shared.handles.get(handle) else {
            return reply.error(Errno::EBADF);
        };
        self.answer(|shared| async move {
            match file.read(offset, size as usize).await {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.shared.handles.remove(handle);
        reply.ok();
    }

    fn opendir(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(|shared| async move {
            match shared.view.attributes(Inode(inode.0)).await {
                Ok(attributes) => {
                    let flags = match attributes.lifetime {
                        Lifetime::Sealed => {
                            FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE
                        }
                        Lifetime::Growing => FopenFlags::empty(),
                    };
                    reply.opened(FileHandle(0), flags);
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.answer(|shared| async move {
            match shared.names(Inode(inode.0), offset).await {
                Ok(names) => {
                    for name in names {
                        if reply.add(
                            INodeNo(name.inode.0),
                            name.cookie,
                            file_type(name.kind),
                            &name.name,
                        ) {
                            break;
                        }
                    }
                    reply.ok();
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.answer(|shared| async move {
            match shared.names(Inode(inode.0), offset).await {
                Ok(names) => {
                    for name in names {
                        let (attr, ttl) = shared.listed(&name);
                        if reply.add(
                            INodeNo(name.inode.0),
                            name.cookie,
                            &name.name,
                            &ttl,
                            &attr,
                            Generation(0),
                        ) {
                            break;
                        }
                    }
                    reply.ok();
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.answer(|shared| async move {
            match shared.view.totals().await {
                Ok(totals) => {
                    let blocks = totals.stored_bytes.div_ceil(u64::from(BLOCK_BYTES));
                    reply.statfs(
                        blocks,
                        0,
                        0,
                        totals.partitions,
                        0,
                        BLOCK_BYTES,
                        255,
                        BLOCK_BYTES,
                    );
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.shared.attributes {
            return reply.error(Errno::ENOSYS);
        }
        let name = name.to_owned();
        self.answer(|shared| async move {
            match shared.view.extended(Inode(inode.0), name.as_bytes()).await {
                Ok(value) => reply_bytes(reply, size, value.as_bytes()),
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.shared.attributes {
            return reply.error(Errno::ENOSYS);
        }
        self.answer(|shared| async move {
            match shared.view.attribute_names(Inode(inode.0)).await {
                Ok(names) => {
                    let names: String = names.iter().flat_map(|name| [name, "\0"]).collect();
                    reply_bytes(reply, size, names.as_bytes());
                }
                Err(error) => reply.error(shared.refusal(&error)),
            }
        });
    }

    // After one ENOSYS the kernel does not ask again.

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    // A regular file is no terminal, which Python asks of every file that it opens.
    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // After one ENOSYS the kernel answers by itself: a regular file is always ready.
    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    // Requests that would write. The kernel itself refuses them as long as the mount is read-only.

    fn setattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(&self, _: &Request, _: INodeNo, _: &OsStr, _: &Path, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: INodeNo,
        _: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _: &Request,
        _: INodeNo,
        _: &OsStr,
        _: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }
}

//! A file that a program has open.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::attributes::Lifetime;
use crate::cache::locked;
use crate::content::key_file::KeyFile;
use crate::content::log::file::LogFile;
use crate::content::readahead::Readahead;
use crate::content::snapshot::Partition;
use crate::content::stored_file::StoredFile;
use crate::content::text_file::TextFile;
use crate::content::time_file::TimeFile;
use crate::error::ViewError;
use crate::tree::Tree;
use crate::tree::follow::FollowedFile;

/// An open file, for concurrent reads at any position. Its contents are those of the moment when it was opened; a followed file
/// also shows what was added since.
#[derive(Debug)]
pub struct OpenFile {
    tree: Arc<Tree>,
    body: Body,
    lifetime: Lifetime,
    has_damage: bool,
    ahead: Mutex<Readahead>,
}

/// Where the contents of an open file come from.
#[derive(Debug)]
pub(crate) enum Body {
    /// A document that was made when the file was opened.
    Whole(Bytes),
    Text(Arc<TextFile>),
    Times(Arc<TimeFile>),
    Key(Arc<KeyFile>),
    Stored(Arc<StoredFile>),
    Log(Arc<LogFile>),
    Followed(FollowedFile),
}

impl OpenFile {
    pub(crate) fn new(tree: Arc<Tree>, body: Body, lifetime: Lifetime) -> OpenFile {
        let ahead = Mutex::new(Readahead::new(tree.prefetch_bytes));
        let has_damage = |partition: &Partition| {
            let findings = &tree.reader.findings;
            findings.has_damage(&partition.location())
        };
        let has_damage = match &body {
            Body::Text(text) => has_damage(&text.partition) || text.index.has_unreadable_text(),
            Body::Times(times) => {
                has_damage(&times.texts.partition) || times.texts.has_unreadable_text()
            }
            Body::Log(log) => has_damage(&log.partition),
            Body::Key(key) => has_damage(&key.texts.partition),
            Body::Whole(_) | Body::Stored(_) | Body::Followed(_) => false,
        };
        OpenFile {
            tree,
            body,
            lifetime,
            has_damage,
            ahead,
        }
    }

    /// Its length in bytes when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Whole(bytes) => bytes.len() as u64,
            Body::Text(text) => text.size(),
            Body::Times(times) => times.texts.size(),
            Body::Key(key) => key.texts.size(),
            Body::Stored(stored) => stored.entry.size,
            Body::Log(log) => log.size(),
            Body::Followed(followed) => followed.size,
        }
    }

    /// Whether it is a `.log` of Kafka's.
    #[must_use]
    pub fn is_log(&self) -> bool {
        matches!(self.body, Body::Log(_))
    }

    /// Whether its bytes may be cached: the next open of a growing file may show others.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Whether a range of its partition is known to be damaged. Then it must be read past the page cache, which reads whole pages,
    /// so that no read fails for bytes that it did not ask for.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.has_damage
    }

    /// Begins to load what a sequential reader will ask for next.
    fn load_ahead(&self, range: &Range<u64>) {
        let Some(next) = locked(&self.ahead).read(range) else {
            return;
        };
        let reader = &self.tree.reader;
        match &self.body {
            // Its blocks are few, and not next to each other.
            Body::Whole(_) | Body::Key(_) => {}
            Body::Text(text) => {
                let (text, reader) = (Arc::clone(text), Arc::clone(reader));
                // An error here is reported to the read that needs these bytes.
                tokio::spawn(async move { text.load_ahead(&reader, next).await.ok() });
            }
            Body::Times(times) => {
                let (times, reader) = (Arc::clone(times), Arc::clone(reader));
                tokio::spawn(async move { times.load_ahead(&reader, next).await });
            }
            Body::Stored(stored) => stored.load_ahead(reader, next),
            Body::Log(log) => log.load_ahead(reader, next),
            Body::Followed(FollowedFile { number, view, .. }) => {
                let (tree, number, view) = (Arc::clone(&self.tree), *number, *view);
                tokio::spawn(async move {
                    let text = tree.followed_text(number, view).await?;
                    text.load_ahead(&tree.reader, next).await
                });
            }
        }
    }

    /// Reads `length` bytes from `offset`; fewer only at the end of the file or before known damage.
    ///
    /// # Errors
    ///
    /// If any of the bytes cannot be read; in a file with known damage, only if the first one cannot. Bytes around the damage can
    /// still be read.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, ViewError> {
        let range = offset..offset.saturating_add(length as u64);
        let reader = &self.tree.reader;
        self.load_ahead(&range);
        let read = match &self.body {
            Body::Whole(bytes) => {
                let at = |position: u64| {
                    usize::try_from(position)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len())
                };
                Ok(bytes.slice(at(range.start)..at(range.end)))
            }
            Body::Text(text) => text.read(reader, range, self.has_damage).await,
            Body::Times(times) => times.read(reader, range, self.has_damage).await,
            Body::Key(key) => key.read(reader, range, self.has_damage).await,
            Body::Stored(stored) => stored.read(reader, range).await,
            Body::Log(log) => log.read(reader, range, self.has_damage).await,
            Body::Followed(FollowedFile { number, view, .. }) => {
                match self.tree.followed_text(*number, *view).await {
                    Ok(text) => text.read(reader, range, true).await,
                    Err(error) => Err(error),
                }
            }
        };
        match read {
            Ok(read) => Ok(read),
            Err(error) => Err(reader.noted(error).await),
        }
    }
}

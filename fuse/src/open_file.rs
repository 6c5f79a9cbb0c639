//! A file that somebody has opened.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::attributes::Lifetime;
use crate::cache::locked;
use crate::content::ahead::Ahead;
use crate::content::stored::StoredFile;
use crate::content::text::TextFile;
use crate::error::ViewError;
use crate::tree::Tree;
use crate::tree::follow::FollowedFile;

/// A file to be read, by several at a time and anywhere. It shows what was there when it was opened; one that is followed, what
/// was added since, too.
#[derive(Debug)]
pub struct OpenFile {
    tree: Arc<Tree>,
    body: Body,
    lifetime: Lifetime,
    has_damage: bool,
    ahead: Mutex<Ahead>,
}

#[derive(Debug)]
pub(crate) enum Body {
    /// Made when it was opened.
    Whole(Bytes),
    Text(Arc<TextFile>),
    Stored(Arc<StoredFile>),
    Followed(FollowedFile),
}

impl OpenFile {
    pub(crate) fn new(tree: Arc<Tree>, body: Body, lifetime: Lifetime) -> OpenFile {
        let ahead = Mutex::new(Ahead::new(tree.prefetch_bytes));
        let has_damage = match &body {
            Body::Text(text) => tree.damage.is_known(&text.partition.location()),
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

    /// Its length in bytes, when it was opened.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Whole(bytes) => bytes.len() as u64,
            Body::Text(text) => text.size(),
            Body::Stored(stored) => stored.entry.size,
            Body::Followed(followed) => followed.size,
        }
    }

    /// Whether its bytes may be kept: of a growing file, the next who opens it may see others.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Whether it is known to have a range that cannot be read. Then it must be read past the page cache, which knows whole pages
    /// only, so that not a byte more is refused.
    #[must_use]
    pub fn has_damage(&self) -> bool {
        self.has_damage
    }

    /// Begins to load what a reader that goes on like this will ask for.
    fn load_ahead(&self, range: &Range<u64>) {
        let Some(next) = locked(&self.ahead).read(range) else {
            return;
        };
        let library = &self.tree.library;
        match &self.body {
            Body::Whole(_) => {}
            Body::Text(text) => {
                let (text, library) = (Arc::clone(text), Arc::clone(library));
                // Whoever reads there is told what is wrong.
                tokio::spawn(async move { text.load_ahead(&library, next).await.ok() });
            }
            Body::Stored(stored) => stored.load_ahead(library, next),
            Body::Followed(FollowedFile { number, view, .. }) => {
                let (tree, number, view) = (Arc::clone(&self.tree), *number, *view);
                tokio::spawn(async move {
                    let text = tree.followed_text(number, view).await?;
                    text.load_ahead(&tree.library, next).await
                });
            }
        }
    }

    /// So many bytes from `offset` on; fewer only where the file ends, or in front of known damage.
    ///
    /// # Errors
    ///
    /// If any of these bytes cannot be read, or the first of them where there is known damage. Those before and behind can be.
    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, ViewError> {
        let range = offset..offset.saturating_add(length as u64);
        let library = &self.tree.library;
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
            Body::Text(text) => text.read(library, range, self.has_damage).await,
            Body::Stored(stored) => stored.read(library, range).await,
            Body::Followed(FollowedFile { number, view, .. }) => {
                match self.tree.followed_text(*number, *view).await {
                    Ok(text) => text.read(library, range, true).await,
                    Err(error) => Err(error),
                }
            }
        };
        read.inspect_err(|error| self.tree.damage.note(error))
    }
}

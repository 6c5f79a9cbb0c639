//! Walks and reads a tree as programs do through the kernel.

use kbk_fuse::{Entry, Inode, Kind, Listed, View, ViewError};

/// Looks up a path from the root, following links.
pub(crate) async fn find(view: &View, path: &str) -> Result<Entry, ViewError> {
    let attributes = view.attributes(Inode::ROOT).await?;
    let mut at = Entry {
        inode: Inode::ROOT,
        attributes,
    };
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = view.lookup(at.inode, name.as_bytes()).await?;
        if at.attributes.kind == Kind::Link {
            let target = view.read_link(at.inode).await?;
            at = Box::pin(find(view, &target)).await?;
        }
    }
    Ok(at)
}

/// Lists a folder, `at_a_time` names per request.
pub(crate) async fn list(
    view: &View,
    folder: Inode,
    at_a_time: usize,
) -> Result<Vec<Listed>, ViewError> {
    let mut all: Vec<Listed> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.cookie);
        let some = view.list(folder, from, at_a_time).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

pub(crate) async fn names(view: &View, path: &str) -> Vec<String> {
    let folder = find(view, path).await.unwrap().inode;
    let listed = list(view, folder, 3).await.unwrap();
    listed.into_iter().map(|listed| listed.name).collect()
}

/// Reads a file, `length` bytes per request, and checks that its size is exact.
pub(crate) async fn read_by(view: &View, path: &str, length: usize) -> Result<Vec<u8>, ViewError> {
    let entry = find(view, path).await?;
    let file = view.open_file(entry.inode).await?;
    assert_eq!(file.size(), entry.attributes.size, "{path}");
    let mut all = Vec::new();
    loop {
        let some = file.read(all.len() as u64, length).await?;
        if some.is_empty() {
            assert_eq!(all.len() as u64, entry.attributes.size, "{path}");
            return Ok(all);
        }
        all.extend_from_slice(&some);
    }
}

pub(crate) async fn read(view: &View, path: &str) -> Result<Vec<u8>, ViewError> {
    read_by(view, path, 128 * 1024).await
}

//! A store that does not return what was written.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutOptions, PutPayload, PutResult};

use super::delegate::delegate_to;

/// A store that returns other bytes of everything in `data` that was written since.
#[derive(Clone, Debug)]
pub(crate) struct Lying {
    pub(crate) objects: Arc<InMemory>,
    /// What was there before.
    pub(crate) known: BTreeSet<String>,
}

impl fmt::Display for Lying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lying")
    }
}

#[async_trait]
impl ObjectStore for Lying {
    delegate_to!([objects] put_multipart_opts, get_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let key = location.to_string();
        if !key.starts_with("data/") || self.known.contains(&key) {
            return self.objects.put_opts(location, payload, options).await;
        }
        let mut bytes: Vec<u8> = payload.iter().flat_map(|part| part.to_vec()).collect();
        let at = bytes.len() / 3;
        bytes[at] ^= 4;
        self.objects.put_opts(location, bytes.into(), options).await
    }
}

//! An object store that records which objects are read.

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{GetOptions, GetResult, ObjectStore, Result};

use super::delegate::delegate_to;

/// A store that wraps another. Clones share what was recorded.
#[derive(Clone, Debug)]
pub(crate) struct CountedReads {
    inner: Arc<dyn ObjectStore>,
    read: Arc<Mutex<Vec<String>>>,
}

impl CountedReads {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> CountedReads {
        CountedReads {
            inner,
            read: Arc::default(),
        }
    }

    /// Returns the objects with this prefix that were read, once per read.
    pub(crate) fn of(&self, prefix: &str) -> Vec<String> {
        let read = self.read.lock().unwrap();
        let of = read.iter().filter(|key| key.starts_with(prefix));
        of.cloned().collect()
    }
}

impl fmt::Display for CountedReads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("counted")
    }
}

#[async_trait]
impl ObjectStore for CountedReads {
    delegate_to!([inner] put_opts, put_multipart_opts, delete_stream, list, list_with_delimiter, copy_opts);

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read.lock().unwrap().push(location.to_string());
        self.inner.get_opts(location, options).await
    }
}

//! Bytes that count against the budget until their last reader drops them.

use std::sync::Arc;

use bytes::Bytes;

use super::budget::Lease;
use super::single_flight::Value;

/// Bytes and the lease on their memory, which slices of the bytes share.
#[derive(Clone, Debug)]
pub(crate) struct LeasedBytes {
    pub(crate) bytes: Bytes,
    lease: Arc<Lease>,
}

struct Owned<B> {
    bytes: B,
    _lease: Arc<Lease>,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for Owned<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl LeasedBytes {
    pub(crate) fn new(bytes: impl AsRef<[u8]> + Send + 'static, lease: Lease) -> LeasedBytes {
        let lease = Arc::new(lease);
        let owned = Owned {
            bytes,
            _lease: Arc::clone(&lease),
        };
        LeasedBytes {
            bytes: Bytes::from_owner(owned),
            lease,
        }
    }
}

impl Value for LeasedBytes {
    fn was_read(&self) {
        self.lease.read();
    }
}

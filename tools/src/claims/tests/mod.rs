//! Tests of claims: the protocol in all interleavings, and on stores.

mod model;
mod store;

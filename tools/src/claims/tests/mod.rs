//! Tests of claims: the protocol in all interleavings, on stores, and with writers that work under them.

mod model;
mod stalling;
mod store;
mod writers;

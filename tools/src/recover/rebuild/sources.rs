//! The objects that a new segment is made of, and what it must hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use kbk_format::FormatError;
use kbk_format::salvage::{Part, sums};

use super::super::salvaged::Source;
use super::super::written::Expected;
use super::arrange::NewSegment;
use super::error::RebuildError;
use super::found::{Loader, Node};
use crate::task::joined;

/// Searches the objects that a new segment is made of, in the order of its parts.
pub(super) async fn load(
    loader: &mut Loader<'_>,
    nodes: &[Node],
    segment: &NewSegment,
) -> Result<BTreeMap<usize, Arc<Source>>, RebuildError> {
    let mut sources = BTreeMap::new();
    for (at, _) in &segment.parts {
        if sources.contains_key(at) {
            continue;
        }
        let Some(node) = nodes.get(*at) else { continue };
        match loader.load(node).await? {
            Some(source) => sources.insert(*at, source),
            None => return Err(RebuildError::Changed(node.key.clone())),
        };
    }
    Ok(sources)
}

/// Calls a function with the parts of a new segment.
pub(super) fn with_parts<T>(
    segment: &NewSegment,
    sources: &BTreeMap<usize, Arc<Source>>,
    work: impl FnOnce(&[Part<'_>]) -> T,
) -> T {
    let slices: BTreeMap<usize, Vec<&[u8]>> = sources
        .iter()
        .map(|(at, source)| (*at, source.slices()))
        .collect();
    let parts = segment.parts.iter().filter_map(|(at, offsets)| {
        Some(Part {
            salvage: &sources.get(at)?.salvage,
            copies: slices.get(at)?,
            offsets: offsets.clone(),
        })
    });
    work(&parts.collect::<Vec<_>>())
}

/// Finds out what a new segment must hold.
pub(super) async fn expect(
    segment: &NewSegment,
    sources: BTreeMap<usize, Arc<Source>>,
) -> Result<Expected, RebuildError> {
    let (segment, offsets) = (segment.clone(), segment.offsets.clone());
    let summed = tokio::task::spawn_blocking(move || {
        with_parts(&segment, &sources, |parts| {
            sums(parts, segment.timestamp_type)
        })
    });
    let changed = |error: String| RebuildError::Changed(error);
    let summed = joined(summed.await).map_err(|error| changed(error.to_string()))?;
    let (records, digests) = summed.map_err(|error: FormatError| changed(error.to_string()))?;
    Ok(Expected {
        offsets,
        records,
        content_digest: Some(digests.content),
    })
}

//! Decodes responses of brokers in every version: nothing panics, and nothing is allocated but in proportion to what is there.
#![no_main]

use kbk_fuzz::with_ceiling;
use libfuzzer_sys::fuzz_target;

#[expect(
    dead_code,
    unused_imports,
    reason = "requests are written, and responses used, by the client alone"
)]
#[path = "../../src/kafka/wire/protocol/mod.rs"]
mod protocol;

use protocol::{
    AddOffsetsRequest, AddPartitionsRequest, ApiVersionsRequest, DescribeGroupsRequest, EndTxnRequest, FetchRequest,
    FindCoordinatorRequest, InitProducerIdRequest, Input, LeaderEpochRequest, ListOffsetsRequest,
    MetadataRequest, OffsetFetchRequest, ProduceRequest, Request, Response, SaslAuthenticateRequest,
    SaslHandshakeRequest, TxnOffsetCommitRequest,
};

fuzz_target!(|data: &[u8]| {
    // The first two bytes choose the request and its version.
    let [api, version, frame @ ..] = data else {
        return;
    };
    with_ceiling(data, || match api % 16 {
        0 => decode::<ApiVersionsRequest>(*version, frame),
        1 => decode::<MetadataRequest<'_>>(*version, frame),
        2 => decode::<ListOffsetsRequest<'_>>(*version, frame),
        3 => decode::<LeaderEpochRequest<'_>>(*version, frame),
        4 => fetch(*version, frame),
        5 => decode::<SaslHandshakeRequest<'_>>(*version, frame),
        6 => decode::<SaslAuthenticateRequest<'_>>(*version, frame),
        7 => decode::<ProduceRequest<'_>>(*version, frame),
        8 => decode::<FindCoordinatorRequest<'_>>(*version, frame),
        9 => decode::<InitProducerIdRequest<'_>>(*version, frame),
        10 => decode::<AddPartitionsRequest<'_>>(*version, frame),
        11 => decode::<AddOffsetsRequest<'_>>(*version, frame),
        12 => decode::<TxnOffsetCommitRequest<'_>>(*version, frame),
        13 => decode::<OffsetFetchRequest<'_>>(*version, frame),
        14 => decode::<DescribeGroupsRequest<'_>>(*version, frame),
        _ => decode::<EndTxnRequest<'_>>(*version, frame),
    });
});

/// Chooses one of the versions of a request.
fn version<R: Request>(choice: u8) -> i16 {
    let versions = R::API.versions();
    let count = versions.end() - versions.start() + 1;
    versions.start() + i16::from(choice) % count
}

fn decode<R: Request>(choice: u8, frame: &[u8]) {
    let version = version::<R>(choice);
    let mut input = Input::new(frame);
    input.set_flexible(R::API.is_flexible(version));
    let decoded = R::decode(version, &mut input);
    assert!(input.position() <= frame.len());
    if let Ok(response) = decoded {
        std::hint::black_box(response.throttle());
    }
}

/// The records of a response are within the frame, and no two partitions share any.
fn fetch(choice: u8, frame: &[u8]) {
    let version = version::<FetchRequest<'_>>(choice);
    let mut input = Input::new(frame);
    input.set_flexible(FetchRequest::API.is_flexible(version));
    let Ok(response) = FetchRequest::decode(version, &mut input) else {
        return;
    };
    let mut end = frame.as_ptr() as usize;
    for partition in response.partitions {
        if partition.records.is_empty() {
            continue;
        }
        let start = partition.records.as_ptr() as usize;
        assert!(start >= end, "records overlap");
        end = start + partition.records.len();
    }
    assert!(end <= frame.as_ptr() as usize + frame.len());
}

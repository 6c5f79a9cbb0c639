//! Requests that write, and their responses of every version, built field by field from Kafka's message definitions.

use super::tests::{Body, decoded};
use super::*;

/// Encodes a request, and returns its body.
fn encoded<R: Request>(request: &R, version: i16) -> Vec<u8> {
    let mut output = Output::new(R::API, version, 7, "");
    request.encode(version, &mut output);
    let frame = output.finish().unwrap();
    let bytes = frame.pieces().collect::<Vec<_>>().concat();
    let length = i32::from_be_bytes(bytes[..4].try_into().unwrap());
    assert_eq!(usize::try_from(length).unwrap(), bytes.len() - 4);
    let header = 4 + 10 + usize::from(R::API.is_flexible(version));
    bytes[header..].to_vec()
}

/// A body as Kafka's definitions have it, without tagged fields.
struct Expected(Body);

impl Expected {
    fn new(api: Api, version: i16) -> Expected {
        Expected(Body::new(api, version))
    }

    fn end(&mut self) {
        if self.0.is_flexible() {
            self.0.raw(&[0]);
        }
    }
}

const PRODUCER: ProducerIdentity = ProducerIdentity { id: 4000, epoch: 3 };

fn produce<'a>(transactional_id: Option<&'a str>, v2: bool, id: TopicId) -> ProduceRequest<'a> {
    let partition = |partition, records| ProducePartition {
        partition,
        header: b"head",
        records,
    };
    ProduceRequest {
        transactional_id,
        transaction_v2: v2,
        timeout_ms: 900,
        topics: vec![ProduceTopic {
            name: "orders",
            id,
            partitions: vec![partition(2, b"tail"), partition(5, b"more")],
        }],
    }
}

#[test]
fn batches_are_lent_to_a_request_of_every_version() {
    for version in Api::Produce.versions() {
        let request = produce(Some("restore"), version >= 12, [8; 16]);
        let mut expected = Expected::new(Api::Produce, version);
        let body = &mut expected.0;
        body.text("restore").i16(-1).i32(900).count(1);
        match version {
            13.. => body.raw(&[8; 16]),
            _ => body.text("orders"),
        };
        body.count(2).i32(2).count(8).raw(b"headtail");
        expected.end();
        expected.0.i32(5).count(8).raw(b"headmore");
        (0..3).for_each(|_| expected.end());
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        assert!(request.versions().contains(&version));
        // The records themselves are in the frame, and no copies of them.
        let mut output = Output::new(Api::Produce, version, 7, "");
        request.encode(version, &mut output);
        let frame = output.finish().unwrap();
        let lent = request.topics[0].partitions[1].records;
        assert!(frame.pieces().any(|piece| std::ptr::eq(piece, lent)));
    }
    let null = encoded(&produce(None, false, [8; 16]), 9);
    assert_eq!(null[..3], [0, 0xff, 0xff]);
}

#[test]
fn the_version_of_a_request_says_which_transactions_it_belongs_to() {
    let versions = |id, v2, topic| produce(id, v2, topic).versions();
    assert_eq!(versions(None, false, [8; 16]), 3..=13);
    assert_eq!(versions(None, true, [0; 16]), 3..=12);
    assert_eq!(versions(Some("restore"), false, [8; 16]), 3..=11);
    assert_eq!(versions(Some("restore"), true, [8; 16]), 12..=13);
    assert_eq!(versions(Some("restore"), true, [0; 16]), 12..=12);
    let end = |transaction_v2| EndTxnRequest {
        transactional_id: "restore",
        producer: PRODUCER,
        transaction_v2,
        commit: true,
    };
    assert_eq!(end(false).versions(), 0..=4);
    assert_eq!(end(true).versions(), 5..=5);
    let init = |current| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 1,
        current,
    };
    assert_eq!(init(ProducerIdentity::NONE).versions(), 0..=5);
    assert_eq!(init(PRODUCER).versions(), 3..=5);
}

#[test]
fn produced_batches_of_every_version() {
    for version in Api::Produce.versions() {
        let mut body = Body::new(Api::Produce, version);
        body.count(1);
        match version {
            13.. => body.raw(&[8; 16]),
            _ => body.text("orders"),
        };
        body.count(1).i32(2).i16(87).i64(41).i64(-1);
        if version >= 5 {
            body.i64(10);
        }
        if version >= 8 {
            body.count(1).i32(7).text("no key").tags().text("refused");
        }
        body.tags().tags().i32(9).tags();
        let response = decoded::<ProduceRequest<'_>>(version, &body.bytes);
        assert_eq!(response.throttle(), std::time::Duration::from_millis(9));
        let expected = ProducedPartition {
            topic: if version >= 13 { "" } else { "orders" },
            topic_id: if version >= 13 { [8; 16] } else { [0; 16] },
            partition: 2,
            error: ErrorCode::INVALID_RECORD,
            base_offset: 41,
            log_start_offset: if version >= 5 { 10 } else { -1 },
            first_refused: (version >= 8).then_some(7),
            error_message: (version >= 8).then_some("no key"),
        };
        assert_eq!(response.partitions, [expected]);
    }
}

#[test]
fn coordinators_of_every_version() {
    let request = FindCoordinatorRequest {
        kind: CoordinatorKind::Transaction,
        key: "restore",
    };
    for version in Api::FindCoordinator.versions() {
        let mut expected = Expected::new(Api::FindCoordinator, version);
        match version {
            4.. => expected.0.raw(&[1]).count(1).text("restore"),
            _ => expected.0.text("restore").raw(&[1]),
        };
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::FindCoordinator, version);
        body.i32(9);
        match version {
            4.. => body.count(1).text("restore"),
            _ => body.i16(0).null_text(),
        };
        body.i32(3).text("host").i32(9092);
        if version >= 4 {
            body.i16(0).null_text().tags();
        }
        body.tags();
        let response = decoded::<FindCoordinatorRequest<'_>>(version, &body.bytes);
        let FindCoordinatorResponse {
            error,
            broker,
            host,
            port,
            ..
        } = response;
        assert_eq!(
            (error, broker, host, port),
            (ErrorCode::NONE, 3, "host", 9092)
        );
    }
    let mut none = Body::new(Api::FindCoordinator, 6);
    none.i32(9).count(0).raw(&[0]);
    let mut input = Input::new(&none.bytes);
    input.set_flexible(true);
    let error = FindCoordinatorRequest::decode(6, &mut input).unwrap_err();
    assert!(error.what.contains("one coordinator, found 0"), "{error}");
}

#[test]
fn producers_of_every_version() {
    for version in Api::InitProducerId.versions() {
        let request = InitProducerIdRequest {
            transactional_id: Some("restore"),
            transaction_timeout_ms: 60_000,
            current: PRODUCER,
        };
        let mut expected = Expected::new(Api::InitProducerId, version);
        expected.0.text("restore").i32(60_000);
        if version >= 3 {
            expected.0.i64(4000).i16(3);
        }
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::InitProducerId, version);
        body.i32(9).i16(0).i64(4000).i16(3).tags();
        let response = decoded::<InitProducerIdRequest<'_>>(version, &body.bytes);
        assert_eq!(
            (response.error, response.producer),
            (ErrorCode::NONE, PRODUCER)
        );
    }
}

#[test]
fn partitions_of_a_transaction_of_every_version() {
    for version in Api::AddPartitionsToTxn.versions() {
        let request = AddPartitionsRequest {
            transactional_id: "restore",
            producer: PRODUCER,
            topics: vec![("orders", vec![2, 5])],
        };
        let mut expected = Expected::new(Api::AddPartitionsToTxn, version);
        let body = &mut expected.0;
        body.text("restore")
            .i64(4000)
            .i16(3)
            .count(1)
            .text("orders");
        body.count(2).i32(2).i32(5);
        (0..2).for_each(|_| expected.end());
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::AddPartitionsToTxn, version);
        body.i32(9).count(1).text("orders").count(1);
        body.i32(2).i16(51).tags().tags().tags();
        let response = decoded::<AddPartitionsRequest<'_>>(version, &body.bytes);
        assert_eq!(response.partitions, [result(51)]);
    }
}

fn result(error: i16) -> PartitionResult<'static> {
    PartitionResult {
        topic: "orders",
        partition: 2,
        error: ErrorCode(error),
    }
}

#[test]
fn groups_of_a_transaction_of_every_version() {
    for version in Api::AddOffsetsToTxn.versions() {
        let request = AddOffsetsRequest {
            transactional_id: "restore",
            producer: PRODUCER,
            group: "progress",
        };
        let mut expected = Expected::new(Api::AddOffsetsToTxn, version);
        expected.0.text("restore").i64(4000).i16(3).text("progress");
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::AddOffsetsToTxn, version);
        body.i32(9).i16(16).tags();
        let response = decoded::<AddOffsetsRequest<'_>>(version, &body.bytes);
        assert_eq!(response.error, ErrorCode::NOT_COORDINATOR);
    }
}

#[test]
fn offsets_in_a_transaction_of_every_version() {
    for version in Api::TxnOffsetCommit.versions() {
        let request = TxnOffsetCommitRequest {
            transactional_id: "restore",
            producer: PRODUCER,
            transaction_v2: version >= 5,
            group: "progress",
            topics: vec![(
                "orders",
                vec![CommittedPartition {
                    partition: 2,
                    offset: 41,
                    metadata: "kbk1:",
                }],
            )],
        };
        assert!(request.versions().contains(&version));
        let mut expected = Expected::new(Api::TxnOffsetCommit, version);
        let body = &mut expected.0;
        body.text("restore").text("progress").i64(4000).i16(3);
        if version >= 3 {
            body.i32(-1).text("").null_text();
        }
        body.count(1).text("orders").count(1).i32(2).i64(41);
        if version >= 2 {
            body.i32(-1);
        }
        body.text("kbk1:");
        (0..3).for_each(|_| expected.end());
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::TxnOffsetCommit, version);
        body.i32(9).count(1).text("orders").count(1);
        body.i32(2).i16(14).tags().tags().tags();
        let response = decoded::<TxnOffsetCommitRequest<'_>>(version, &body.bytes);
        assert_eq!(response.partitions, [result(14)]);
    }
}

#[test]
fn ends_of_transactions_of_every_version() {
    for version in Api::EndTxn.versions() {
        let request = EndTxnRequest {
            transactional_id: "restore",
            producer: PRODUCER,
            transaction_v2: version >= 5,
            commit: true,
        };
        let mut expected = Expected::new(Api::EndTxn, version);
        expected.0.text("restore").i64(4000).i16(3).raw(&[1]);
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::EndTxn, version);
        body.i32(9).i16(0);
        if version >= 5 {
            body.i64(4000).i16(4);
        }
        body.tags();
        let response = decoded::<EndTxnRequest<'_>>(version, &body.bytes);
        let next = match version {
            5.. => ProducerIdentity {
                epoch: 4,
                ..PRODUCER
            },
            _ => ProducerIdentity::NONE,
        };
        assert_eq!((response.error, response.next), (ErrorCode::NONE, next));
    }
}

#[test]
fn committed_offsets_of_every_version() {
    for version in Api::OffsetFetch.versions() {
        let request = OffsetFetchRequest {
            group: "claims",
            topics: vec![("orders", vec![2, 5])],
        };
        let mut expected = Expected::new(Api::OffsetFetch, version);
        let body = &mut expected.0;
        body.text("claims").count(1).text("orders").count(2);
        body.i32(2).i32(5);
        expected.end();
        if version >= 7 {
            expected.0.raw(&[1]);
        }
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::OffsetFetch, version);
        body.i32(9).count(1).text("orders").count(2);
        body.i32(2).i64(41).i32(-1).text("kbk1:a").i16(0).tags();
        body.i32(5).i64(-1).i32(-1).null_text().i16(88).tags();
        body.tags().i16(16).tags();
        let response = decoded::<OffsetFetchRequest<'_>>(version, &body.bytes);
        let fetched = |partition, offset, metadata, error| FetchedOffset {
            topic: "orders",
            partition,
            offset,
            metadata,
            error: ErrorCode(error),
        };
        let expected = [fetched(2, 41, Some("kbk1:a"), 0), fetched(5, -1, None, 88)];
        assert_eq!(response.partitions, expected);
        assert_eq!(response.error, ErrorCode::NOT_COORDINATOR);
    }
}

#[test]
fn descriptions_of_groups_of_every_version() {
    for version in Api::DescribeGroups.versions() {
        let request = DescribeGroupsRequest {
            groups: vec!["readers", "none"],
        };
        let mut expected = Expected::new(Api::DescribeGroups, version);
        let body = &mut expected.0;
        body.count(2).text("readers").text("none");
        if version >= 3 {
            body.raw(&[0]);
        }
        expected.end();
        assert_eq!(encoded(&request, version), expected.0.bytes, "{version}");
        let mut body = Body::new(Api::DescribeGroups, version);
        body.i32(9).count(2);
        body.i16(0).text("readers").text("Stable").text("consumer");
        body.text("range").count(1).text("member-1");
        if version >= 4 {
            body.null_text();
        }
        // The lengths of bytes, compact or not.
        let bytes = |body: &mut Body| match body.is_flexible() {
            true => drop(body.raw(&[3]).raw(b"ab")),
            false => drop(body.i32(2).raw(b"ab")),
        };
        body.text("client").text("/127.0.0.1");
        bytes(&mut body);
        bytes(&mut body);
        body.tags();
        if version >= 3 {
            body.i32(i32::MIN);
        }
        body.tags();
        body.i16(16)
            .text("none")
            .text("")
            .text("")
            .text("")
            .count(0);
        if version >= 3 {
            body.i32(i32::MIN);
        }
        body.tags().tags();
        let response = decoded::<DescribeGroupsRequest<'_>>(version, &body.bytes);
        let described = |group, error| DescribedGroup {
            group,
            error: ErrorCode(error),
        };
        assert_eq!(
            response.groups,
            [described("readers", 0), described("none", 16)]
        );
    }
}

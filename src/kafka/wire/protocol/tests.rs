//! Responses of every version, built field by field from Kafka's message definitions; cut off, and with counts that lie.

use super::*;

/// Writes a response as a broker does.
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    flexible: bool,
}

impl Body {
    pub(super) fn new(api: Api, version: i16) -> Body {
        Body {
            bytes: Vec::new(),
            flexible: api.is_flexible(version),
        }
    }

    pub(super) fn is_flexible(&self) -> bool {
        self.flexible
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Body {
        self.bytes.extend(bytes);
        self
    }

    pub(super) fn i16(&mut self, value: i16) -> &mut Body {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i32(&mut self, value: i32) -> &mut Body {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn i64(&mut self, value: i64) -> &mut Body {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Body {
        match self.flexible {
            true => self.raw(&[u8::try_from(count + 1).unwrap()]),
            false => self.i32(i32::try_from(count).unwrap()),
        }
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Body {
        match self.flexible {
            true => self.raw(&[u8::try_from(text.len() + 1).unwrap()]),
            false => self.i16(i16::try_from(text.len()).unwrap()),
        };
        self.raw(text.as_bytes())
    }

    pub(super) fn null_text(&mut self) -> &mut Body {
        match self.flexible {
            true => self.raw(&[0]),
            false => self.i16(-1),
        }
    }

    /// Tagged fields: one that nobody knows.
    pub(super) fn tags(&mut self) -> &mut Body {
        match self.flexible {
            true => self.raw(&[1, 99, 3, 1, 2, 3]),
            false => self,
        }
    }
}

/// Decodes a body, and checks that every cut of it is an error.
pub(super) fn decoded<R: Request>(version: i16, bytes: &[u8]) -> R::Response<'_> {
    let decode = |bytes| {
        let mut input = Input::new(bytes);
        input.set_flexible(R::API.is_flexible(version));
        let response = R::decode(version, &mut input)?;
        input.finish()?;
        Ok::<_, Malformed>(response)
    };
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "{cut} of {}", bytes.len());
    }
    let error = {
        let longer = [bytes, &[0]].concat();
        let mut input = Input::new(&longer);
        input.set_flexible(R::API.is_flexible(version));
        R::decode(version, &mut input).and_then(|_| input.finish())
    };
    assert!(error.is_err(), "a byte too many");
    decode(bytes).unwrap()
}

#[test]
fn metadata_of_every_version() {
    for version in Api::Metadata.versions() {
        let mut body = Body::new(Api::Metadata, version);
        if version >= 3 {
            body.i32(77);
        }
        body.count(1)
            .i32(1)
            .text("host")
            .i32(9092)
            .null_text()
            .tags();
        if version >= 2 {
            body.text("cluster");
        }
        body.i32(1).count(1).i16(0).text("orders");
        if version >= 10 {
            body.raw(&[8; 16]);
        }
        body.raw(&[0]).count(1).i16(0).i32(3).i32(1);
        if version >= 7 {
            body.i32(5);
        }
        body.count(2).i32(1).i32(2).count(1).i32(1);
        if version >= 5 {
            body.count(0);
        }
        body.tags();
        if version >= 8 {
            body.i32(0);
        }
        body.tags();
        if (8..=10).contains(&version) {
            body.i32(0);
        }
        body.tags();
        let response = decoded::<MetadataRequest<'_>>(version, &body.bytes);
        assert_eq!(response.brokers[0].host, "host");
        assert_eq!(response.controller, 1);
        let topic = &response.topics[0];
        assert_eq!(topic.name, "orders");
        assert_eq!(topic.id, if version >= 10 { [8; 16] } else { [0; 16] });
        let expected = MetadataPartition {
            error: ErrorCode::NONE,
            partition: 3,
            leader: 1,
            leader_epoch: if version >= 7 { 5 } else { -1 },
        };
        assert_eq!(topic.partitions, [expected]);
    }
}

#[test]
fn versions_of_every_version() {
    for version in Api::ApiVersions.versions() {
        let mut body = Body::new(Api::ApiVersions, version);
        body.i16(0).count(2).i16(1).i16(4).i16(17).tags();
        body.i16(18).i16(0).i16(4).tags();
        if version >= 1 {
            body.i32(0);
        }
        if version >= 3 {
            // Tag 2, of 26 bytes: the features that the cluster has agreed on.
            body.raw(&[1, 2, 26, 2])
                .text("transaction.version")
                .i16(2)
                .i16(1)
                .raw(&[0]);
        }
        let response = decoded::<ApiVersionsRequest>(version, &body.bytes);
        assert_eq!(
            response.transaction_version,
            if version >= 3 { 2 } else { 0 }
        );
        let fetch = VersionRange {
            key: 1,
            min: 4,
            max: 17,
        };
        assert_eq!(response.range(Api::Fetch), Some(fetch));
        assert_eq!(response.range(Api::Metadata), None);
    }
}

#[test]
fn versions_of_a_broker_that_does_not_know_the_version() {
    // As a broker of Apache Kafka 2.3 answers version 3: in version 0.
    let mut body = Body::new(Api::ApiVersions, 0);
    body.i16(35).count(1).i16(18).i16(0).i16(2);
    let response = decoded::<ApiVersionsRequest>(3, &body.bytes);
    assert_eq!(response.error, ErrorCode::UNSUPPORTED_VERSION);
}

#[test]
fn offsets_of_every_version() {
    for version in Api::ListOffsets.versions() {
        let mut body = Body::new(Api::ListOffsets, version);
        if version >= 2 {
            body.i32(0);
        }
        body.count(1)
            .text("orders")
            .count(1)
            .i32(2)
            .i16(0)
            .i64(1000)
            .i64(41);
        if version >= 4 {
            body.i32(6);
        }
        body.tags().tags().tags();
        let response = decoded::<ListOffsetsRequest<'_>>(version, &body.bytes);
        let expected = ListedOffset {
            topic: "orders",
            partition: 2,
            error: ErrorCode::NONE,
            timestamp: 1000,
            offset: 41,
            leader_epoch: if version >= 4 { 6 } else { -1 },
        };
        assert_eq!(response.partitions, [expected]);
    }
}

#[test]
fn epoch_ends_of_every_version() {
    for version in Api::OffsetForLeaderEpoch.versions() {
        let mut body = Body::new(Api::OffsetForLeaderEpoch, version);
        body.i32(0).count(1).text("orders").count(1);
        body.i16(0).i32(2).i32(6).i64(41).tags().tags().tags();
        let response = decoded::<LeaderEpochRequest<'_>>(version, &body.bytes);
        let expected = EpochEnd {
            topic: "orders",
            partition: 2,
            error: ErrorCode::NONE,
            leader_epoch: 6,
            end_offset: 41,
        };
        assert_eq!(response.partitions, [expected]);
    }
}

#[test]
fn logins_of_every_version() {
    let mut body = Body::new(Api::SaslHandshake, 1);
    body.i16(33).count(2).text("PLAIN").text("SCRAM-SHA-512");
    let response = decoded::<SaslHandshakeRequest<'_>>(1, &body.bytes);
    assert_eq!(response.error, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    assert_eq!(response.mechanisms, ["PLAIN", "SCRAM-SHA-512"]);
    for version in Api::SaslAuthenticate.versions() {
        let mut body = Body::new(Api::SaslAuthenticate, version);
        body.i16(58).text("no").count(3).raw(b"r=x");
        if version >= 1 {
            body.i64(3000);
        }
        body.tags();
        let response = decoded::<SaslAuthenticateRequest<'_>>(version, &body.bytes);
        assert_eq!(response.error_message, Some("no"));
        assert_eq!(response.message, b"r=x");
        assert_eq!(
            response.session_lifetime_ms,
            if version >= 1 { 3000 } else { 0 }
        );
    }
}

/// A Fetch response about one partition.
fn fetch_response(version: i16, records: Option<&[u8]>) -> Vec<u8> {
    let mut body = Body::new(Api::Fetch, version);
    body.i32(9);
    if version >= 7 {
        body.i16(0).i32(0);
    }
    body.count(1);
    match version {
        13.. => body.raw(&[8; 16]),
        _ => body.text("orders"),
    };
    body.count(1).i32(2).i16(0).i64(100).i64(90);
    if version >= 5 {
        body.i64(10);
    }
    body.count(1).i64(4000).i64(50).tags();
    if version >= 11 {
        body.i32(-1);
    }
    match records {
        Some(records) => body.count(records.len()).raw(records),
        None if body.flexible => body.raw(&[0]),
        None => body.i32(-1),
    };
    body.tags().tags().tags();
    body.bytes
}

#[test]
fn fetched_records_of_every_version() {
    for version in Api::Fetch.versions() {
        for records in [Some(&b"batches"[..]), Some(b""), None] {
            let bytes = fetch_response(version, records);
            let response = decoded::<FetchRequest<'_>>(version, &bytes);
            assert_eq!(response.throttle(), std::time::Duration::from_millis(9));
            let [partition] = &response.partitions[..] else {
                panic!("{response:?}");
            };
            let by_id = version >= FetchRequest::FIRST_BY_ID;
            assert_eq!(partition.topic, if by_id { "" } else { "orders" });
            assert_eq!(partition.topic_id, if by_id { [8; 16] } else { [0; 16] });
            assert_eq!(partition.high_watermark, 100);
            assert_eq!(partition.last_stable_offset, 90);
            assert_eq!(
                partition.log_start_offset,
                if version >= 5 { 10 } else { -1 }
            );
            let aborted = AbortedTransaction {
                producer_id: 4000,
                first_offset: 50,
            };
            assert_eq!(partition.aborted, [aborted]);
            assert_eq!(partition.records, records.unwrap_or_default());
        }
    }
}

#[test]
fn no_byte_of_a_response_can_make_a_decoder_panic_or_allocate() {
    for version in [4, 11, 12, 13, 17] {
        let bytes = fetch_response(version, Some(b"batches"));
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                let mut input = Input::new(&changed);
                input.set_flexible(Api::Fetch.is_flexible(version));
                let _ = FetchRequest::decode(version, &mut input);
            }
        }
    }
}

#[test]
fn counts_and_lengths_are_compared_with_what_is_there() {
    for count in [-2, i32::MIN, i32::MAX, 4] {
        let bytes = count.to_be_bytes();
        let mut input = Input::new(&bytes);
        assert!(input.array(1, Input::int8).is_err(), "{count}");
    }
    // The largest varint, and one that is longer than any.
    for varint in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[0xff; 6]] {
        let mut input = Input::new(varint);
        input.set_flexible(true);
        assert!(input.clone().array(1, Input::int8).is_err());
        assert!(input.clone().nullable_bytes().is_err());
        assert!(input.clone().nullable_string().is_err());
        assert!(input.tags().is_err());
    }
    let mut input = Input::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]);
    input.set_flexible(true);
    let error = input.nullable_bytes().unwrap_err();
    assert!(error.to_string().contains("at most 32 bits"), "{error}");
}

#[test]
fn a_request_is_written_as_kafka_reads_it() {
    let request = MetadataRequest {
        topics: Some(&["orders"]),
    };
    let mut output = Output::new(Api::Metadata, 12, 7, "kbk");
    request.encode(12, &mut output);
    let expected = [
        &[0, 0, 0, 42][..],
        &[0, 3, 0, 12, 0, 0, 0, 7, 0, 3],
        b"kbk",
        &[0],
        &[2],
        &[0; 16],
        &[7],
        b"orders",
        &[0],
        &[0, 0, 0],
    ];
    let expected = expected.concat();
    let frame = output.finish().unwrap();
    assert_eq!(frame.pieces().collect::<Vec<_>>().concat(), expected);
}

#[test]
fn a_text_that_its_length_cannot_hold_is_an_error() {
    let long = "x".repeat(40_000);
    let error = Output::new(Api::Metadata, 1, 7, &long).finish();
    assert_eq!(error.unwrap_err(), TooLong { length: 40_000 });
}

#[test]
fn an_isolation_that_a_version_cannot_express_is_not_asked_for_in_it() {
    let with = |isolation, timestamp| ListOffsetsRequest {
        isolation,
        timeout_ms: 0,
        topics: vec![(
            "orders",
            vec![ListOffsetsPartition {
                partition: 0,
                current_leader_epoch: -1,
                timestamp,
            }],
        )],
    };
    let first = |isolation, timestamp| *with(isolation, timestamp).versions().start();
    assert_eq!(first(Isolation::ReadUncommitted, -1), 1);
    assert_eq!(first(Isolation::ReadCommitted, -1), 2);
    assert_eq!(first(Isolation::ReadCommitted, -4), 8);
}

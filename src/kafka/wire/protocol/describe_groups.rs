//! DescribeGroups: what state groups are in, and so whether a broker coordinates them.

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// Asks a broker about groups.
#[derive(Clone, Debug)]
pub struct DescribeGroupsRequest<'a> {
    /// The groups, whether they exist or not.
    pub groups: Vec<&'a str>,
}

/// What a broker says about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedGroup<'a> {
    /// Its id.
    pub group: &'a str,
    /// Whether the broker coordinates it.
    pub error: ErrorCode,
}

/// All answers. Members are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponse<'a> {
    /// In any order.
    pub groups: Vec<DescribedGroup<'a>>,
    throttle_ms: i32,
}

impl Request for DescribeGroupsRequest<'_> {
    const API: Api = Api::DescribeGroups;
    type Response<'a> = DescribeGroupsResponse<'a>;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        output.array(self.groups.iter(), |output, group| output.string(group));
        if version >= 3 {
            // What the principal may do with the group is not asked for.
            output.boolean(false);
        }
        output.tags();
    }

    fn decode<'a>(
        version: i16,
        input: &mut Input<'a>,
    ) -> Result<DescribeGroupsResponse<'a>, Malformed> {
        let throttle_ms = input.int32()?;
        let groups = input.array(7, |input| {
            let error = ErrorCode(input.int16()?);
            let group = input.string()?;
            let _state = input.string()?;
            let _protocol_type = input.string()?;
            let _protocol = input.string()?;
            input.array(5, |input| {
                let _id = input.string()?;
                if version >= 4 {
                    let _instance = input.nullable_string()?;
                }
                let _client = input.string()?;
                let _host = input.string()?;
                let _metadata = input.nullable_bytes()?;
                let _assignment = input.nullable_bytes()?;
                input.tags()
            })?;
            if version >= 3 {
                let _operations = input.int32()?;
            }
            input.tags()?;
            Ok(DescribedGroup { group, error })
        })?;
        input.tags()?;
        Ok(DescribeGroupsResponse {
            groups,
            throttle_ms,
        })
    }
}

impl Response for DescribeGroupsResponse<'_> {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

//! ApiVersions: the first request on each connection, which every broker since Apache Kafka 0.10 answers.

use std::time::Duration;

use super::api::{self, Api, Request, Response};
use super::{ErrorCode, Input, Malformed, Output};

/// Asks which requests the broker answers.
#[derive(Clone, Copy, Debug)]
pub struct ApiVersionsRequest {
    /// The name of this software, from version 3 on.
    pub software_name: &'static str,
    /// Its version.
    pub software_version: &'static str,
}

/// The versions of a request that a broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The number of the request.
    pub key: i16,
    /// The oldest.
    pub min: i16,
    /// The newest.
    pub max: i16,
}

/// Which requests the broker answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// *UNSUPPORTED_VERSION* where the broker does not know the version of this request; then it lists nothing but this one, if that.
    pub error: ErrorCode,
    /// Each request once.
    pub versions: Vec<VersionRange>,
    /// The version of transactions that the cluster uses: 2 and later are those of KIP-890. 0 where it does not say.
    pub transaction_version: i16,
    throttle_ms: i32,
}

/// The tagged field that lists the features that a cluster has agreed on, and the name of one.
const FINALIZED_FEATURES: u32 = 2;
const TRANSACTION_VERSION: &str = "transaction.version";

impl ApiVersionsResponse {
    /// Returns the versions of a request that the broker answers; `None` where it answers none.
    #[must_use]
    pub fn range(&self, api: Api) -> Option<VersionRange> {
        let mut ranges = self.versions.iter();
        ranges.find(|range| range.key == api.key()).copied()
    }
}

impl Request for ApiVersionsRequest {
    const API: Api = Api::ApiVersions;
    type Response<'a> = ApiVersionsResponse;

    fn encode<'a>(&'a self, version: i16, output: &mut Output<'a>) {
        if version >= 3 {
            output.string(self.software_name);
            output.string(self.software_version);
            output.tags();
        }
    }

    fn decode<'a>(version: i16, input: &mut Input<'a>) -> Result<ApiVersionsResponse, Malformed> {
        let error = ErrorCode(input.int16()?);
        // A broker that does not know the version answers in version 0 (KIP-511).
        let version = match error {
            ErrorCode::UNSUPPORTED_VERSION => {
                input.set_flexible(false);
                0
            }
            _ => version,
        };
        let versions = input.array(6, |input| {
            let range = VersionRange {
                key: input.int16()?,
                min: input.int16()?,
                max: input.int16()?,
            };
            input.tags()?;
            Ok(range)
        })?;
        let throttle_ms = if version >= 1 { input.int32()? } else { 0 };
        let mut transaction_version = 0;
        input.tagged(|tag, field| match tag {
            FINALIZED_FEATURES => {
                let features = field.array(6, |input| {
                    let feature = (input.string()?, input.int16()?, input.int16()?);
                    input.tags()?;
                    Ok(feature)
                })?;
                let mut features = features.into_iter();
                let found = features.find(|(name, ..)| *name == TRANSACTION_VERSION);
                transaction_version = found.map_or(0, |(_, most, _)| most);
                Ok(())
            }
            _ => Ok(()),
        })?;
        Ok(ApiVersionsResponse {
            error,
            versions,
            transaction_version,
            throttle_ms,
        })
    }
}

impl Response for ApiVersionsResponse {
    fn throttle(&self) -> Duration {
        api::throttle(self.throttle_ms)
    }
}

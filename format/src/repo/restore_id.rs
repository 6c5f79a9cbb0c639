//! The name of a restore.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::id::Id;

/// The name of a restore: 1 to 64 characters of `a-z 0-9 -`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RestoreId(String);

/// Text that is not a valid name of a restore.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid name of a restore; use 1 to 64 characters of a-z 0-9 -")]
pub struct RestoreIdError(String);

impl RestoreId {
    /// Creates a name: the time to the millisecond, for people, and random digits.
    #[must_use]
    pub fn fresh(now: Timestamp) -> Self {
        let random = Id::random().prefix::<2>();
        RestoreId(format!("{}{random}", now.strftime("%Y%m%d-%H%M%S-%3f")))
    }
}

impl TryFrom<String> for RestoreId {
    type Error = RestoreIdError;

    fn try_from(name: String) -> std::result::Result<Self, RestoreIdError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(RestoreId(name))
        } else {
            Err(RestoreIdError(name))
        }
    }
}

impl FromStr for RestoreId {
    type Err = RestoreIdError;

    fn from_str(name: &str) -> std::result::Result<Self, RestoreIdError> {
        name.to_owned().try_into()
    }
}

impl fmt::Display for RestoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_within_a_second() {
        let start = Timestamp::from_millisecond(1_795_895_619_098).unwrap();
        let names: Vec<RestoreId> = (0..1_000)
            .map(|ms| RestoreId::fresh(start + jiff::SignedDuration::from_millis(ms)))
            .collect();
        assert!(names.is_sorted(), "{names:?}");
        for name in names {
            assert_eq!(RestoreId::try_from(name.0.clone()), Ok(name));
        }
    }
}

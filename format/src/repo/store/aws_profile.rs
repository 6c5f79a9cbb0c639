//! A profile in the files of the AWS command line, `~/.aws/credentials` and `~/.aws/config`.
//!
//! Pure: the bytes of the files go in. Only keys that are written there are used; a profile that says how to obtain some (single
//! sign-on, a role, a program) is reported as what it is.

use std::fmt;

/// What the two files say of one profile.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct AwsProfile {
    pub(super) keys: Option<AwsKeys>,
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
    /// The first setting that says how to obtain keys, in a way that is not supported.
    pub(super) unsupported: Option<&'static str>,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AwsKeys {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Debug for AwsProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsProfile")
            .field("has_keys", &self.keys.is_some())
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// Settings that say how to obtain keys.
const UNSUPPORTED: [&str; 5] = [
    "credential_process",
    "sso_session",
    "sso_start_url",
    "role_arn",
    "login_session",
];

/// Returns the profile, or `None` if neither file has it.
pub(super) fn profile(credentials: &str, config: &str, name: &str) -> Option<AwsProfile> {
    let in_credentials = section(credentials, |header| header == name);
    let in_config = section(config, |header| match header.strip_prefix("profile ") {
        Some(named) => named.trim() == name,
        None => header == "default" && name == "default",
    });
    if in_credentials.is_none() && in_config.is_none() {
        return None;
    }
    let settings: Vec<_> = [in_credentials, in_config]
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    let find = |key: &str| {
        let mut settings = settings.iter();
        let found = settings.find(|(known, value)| *known == key && !value.is_empty());
        found.map(|(_, value)| (*value).to_owned())
    };
    let keys = match (find("aws_access_key_id"), find("aws_secret_access_key")) {
        (Some(id), Some(secret)) => Some(AwsKeys {
            id,
            secret,
            token: find("aws_session_token"),
        }),
        _ => None,
    };
    Some(AwsProfile {
        keys,
        region: find("region"),
        endpoint: find("endpoint_url"),
        unsupported: UNSUPPORTED.into_iter().find(|key| find(key).is_some()),
    })
}

/// Returns the settings of the sections whose headers are wanted; `None` if there is no such section.
fn section(text: &str, wanted: impl Fn(&str) -> bool) -> Option<Vec<(&str, &str)>> {
    let (mut found, mut inside) = (None, false);
    for line in text.lines() {
        // An indented line belongs to the setting above it, such as `s3 =`.
        if line.starts_with([' ', '\t']) || line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            inside = wanted(header);
            if inside {
                found.get_or_insert_with(Vec::new);
            }
        } else if let (true, Some((key, value))) = (inside, line.split_once('=')) {
            found
                .get_or_insert_with(Vec::new)
                .push((key.trim(), value.trim()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = AKID
aws_secret_access_key=abc+/=
# a comment
[ backup ]\r
aws_access_key_id = BKID\r
aws_secret_access_key = hunter2\r
aws_session_token = token==
[half]
aws_access_key_id = HKID
";
    const CONFIG: &str = "\
[default]
region = eu-west-1
s3 =
    endpoint_url = http://not-this-one
[profile backup]
region = eu-central-1
endpoint_url = https://s3.example.com
[profile sso]
sso_session = corp
[backup]
region = not-this-one
";

    #[test]
    fn profiles_of_both_files() {
        let default = profile(CREDENTIALS, CONFIG, "default").unwrap();
        let keys = default.keys.unwrap();
        assert_eq!(
            (&*keys.id, &*keys.secret, keys.token),
            ("AKID", "abc+/=", None)
        );
        assert_eq!(default.region.as_deref(), Some("eu-west-1"));
        assert_eq!(default.endpoint, None);

        let backup = profile(CREDENTIALS, CONFIG, "backup").unwrap();
        assert!(!format!("{backup:?}").contains("hunter2"));
        assert_eq!(backup.region.as_deref(), Some("eu-central-1"));
        assert_eq!(backup.endpoint.as_deref(), Some("https://s3.example.com"));
        let keys = backup.keys.unwrap();
        assert_eq!(
            (&*keys.secret, keys.token.as_deref()),
            ("hunter2", Some("token=="))
        );

        assert_eq!(profile(CREDENTIALS, CONFIG, "half").unwrap().keys, None);
        let sso = profile(CREDENTIALS, CONFIG, "sso").unwrap();
        assert_eq!((sso.keys, sso.unsupported), (None, Some("sso_session")));
        assert_eq!(profile(CREDENTIALS, CONFIG, "other"), None);
        assert_eq!(
            profile("[", "=\n[]\n[profile", ""),
            Some(AwsProfile::default())
        );
    }
}

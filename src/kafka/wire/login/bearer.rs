//! OAUTHBEARER (RFC 7628), and tokens for it that are not signed, as librdkafka makes them from `sasl.oauthbearer.config`: for clusters
//! that trust their network.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};

use crate::kafka::client::ClientConfig;
use crate::kafka::wire::error::WireError;

const CONFIG: &str = "sasl.oauthbearer.config";

/// What a token says.
#[derive(Clone)]
pub(super) struct Claims {
    principal: (String, String),
    scope: Option<(String, Vec<String>)>,
    life: Duration,
    extensions: Vec<(String, String)>,
}

/// Returns the one message of a login, with what else the broker is to know.
pub(super) fn message(token: &str, extensions: &[(String, String)]) -> Vec<u8> {
    let mut message = format!("n,,\u{1}auth=Bearer {token}\u{1}");
    for (name, value) in extensions {
        message.push_str(&format!("{name}={value}\u{1}"));
    }
    message.push('\u{1}');
    message.into_bytes()
}

impl Claims {
    /// Parses `principal=NAME scope=A,B lifeSeconds=N extension_X=Y`.
    pub(super) fn new(config: &ClientConfig) -> Result<Claims, WireError> {
        let is_unsecured = config.get("enable.sasl.oauthbearer.unsecure.jwt") == Some("true");
        if !is_unsecured {
            let cause = "tokens that are not signed need it to be `true`".to_owned();
            let property = "enable.sasl.oauthbearer.unsecure.jwt";
            return Err(WireError::property(property, cause));
        }
        let wrong = |cause: &str| WireError::property(CONFIG, cause.to_owned());
        let mut names = ("sub".to_owned(), "scope".to_owned());
        let (mut principal, mut scope) = (None, None);
        let mut life: u32 = 3600;
        let mut extensions = Vec::new();
        for word in config
            .get(CONFIG)
            .unwrap_or_default()
            .split_ascii_whitespace()
        {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| wrong("a word without `=`"))?;
            let value = value.to_owned();
            match key {
                "principalClaimName" => names.0 = value,
                "principal" => principal = Some(value),
                "scopeClaimName" => names.1 = value,
                "scope" => scope = Some(value.split(',').map(str::to_owned).collect()),
                "lifeSeconds" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                    life = seconds.ok_or_else(|| wrong("`lifeSeconds` is not a number"))?;
                }
                _ => match key.strip_prefix("extension_") {
                    Some(name) => {
                        extensions.push((name.to_owned(), value));
                    }
                    None => return Err(wrong("a word that this Kafka client does not know")),
                },
            }
        }
        let principal = principal.ok_or_else(|| wrong("`principal` is missing"))?;
        Ok(Claims {
            principal: (names.0, principal),
            scope: scope.map(|scope| (names.1, scope)),
            life: Duration::from_secs(u64::from(life)),
            extensions,
        })
    }

    /// Returns the message with a new token.
    pub(super) fn message(&self) -> Result<Vec<u8>, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(self.message_at(now.map_err(|error| error.to_string())?))
    }

    fn message_at(&self, now: Duration) -> Vec<u8> {
        let mut claims = Map::new();
        // Whole seconds: a broker refuses a token that was issued in its future, be it by a rounded millisecond.
        let issued = now.as_secs();
        claims.insert("iat".to_owned(), json!(issued));
        let expires = issued.saturating_add(self.life.as_secs());
        claims.insert("exp".to_owned(), json!(expires));
        if let Some((name, scope)) = &self.scope {
            claims.insert(name.clone(), json!(scope));
        }
        claims.insert(self.principal.0.clone(), json!(self.principal.1));
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let header = part(&json!({ "alg": "none" }));
        let token = format!("{header}.{}.", part(&Value::Object(claims)));
        message(&token, &self.extensions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(config: &str) -> Result<Claims, WireError> {
        let mut all = ClientConfig::default();
        all.set("enable.sasl.oauthbearer.unsecure.jwt", "true");
        all.set(CONFIG, config);
        Claims::new(&all)
    }

    #[test]
    fn a_token_has_the_claims_of_the_property() {
        let text = "principal=alice scope=a,b lifeSeconds=60 extension_logicalCluster=x";
        let message = claims(text)
            .unwrap()
            .message_at(Duration::from_millis(1_000_999));
        let message = String::from_utf8(message).unwrap();
        let parts: Vec<&str> = message.split('\u{1}').collect();
        let ["n,,", auth, "logicalCluster=x", "", ""] = parts[..] else {
            panic!("{parts:?}");
        };
        let token = auth.strip_prefix("auth=Bearer ").unwrap();
        let decoded: Vec<Value> = token
            .split('.')
            .filter(|part| !part.is_empty())
            .map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).unwrap())
            .map(|bytes| serde_json::from_slice(&bytes).unwrap())
            .collect();
        let expected = json!({ "sub": "alice", "scope": ["a", "b"], "iat": 1000, "exp": 1060 });
        assert_eq!(decoded, [json!({ "alg": "none" }), expected]);
    }

    #[test]
    fn mistakes_are_named_without_the_value() {
        for text in [
            "scope=a",
            "principal",
            "principal=a lifeSeconds=x",
            "principal=a secret=b",
        ] {
            let error = claims(text).err().unwrap().to_string();
            assert!(
                error.contains(CONFIG) && !error.contains("secret"),
                "{error}"
            );
        }
    }
}

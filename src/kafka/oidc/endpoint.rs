//! One request for a token, bounded in time and in the size of its answer.

use std::error::Error;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Response, StatusCode, Url};
use url::form_urlencoded;

use super::failure::TokenFailure;
use super::token::{Rejection, Token, Unusable};

/// How long a request may take in all: a login waits for it.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read. Brokers take no larger message of a login (`sasl.server.max.receive.size`).
const MOST_BYTES: usize = 512 << 10;

/// A token endpoint, with what it is asked.
pub(super) struct Endpoint {
    client: Client,
    url: Url,
    /// As messages name it.
    pub(super) name: String,
    id: String,
    secret: String,
    /// The grant `client_credentials` (RFC 6749, section 4.4).
    body: String,
}

impl Endpoint {
    pub(super) fn new(
        client: Client,
        url: Url,
        (id, secret): (&str, &str),
        scope: Option<&str>,
    ) -> Endpoint {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("grant_type", "client_credentials");
        if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
            body.append_pair("scope", scope);
        }
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        Endpoint {
            client,
            url,
            name: shown.into(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            body: body.finish(),
        }
    }

    /// Asks for a token.
    pub(super) async fn fetch(&self) -> Result<Token, TokenFailure> {
        match tokio::time::timeout(ATTEMPT, self.exchange()).await {
            Ok(answered) => answered,
            Err(_) => Err(self.late(ATTEMPT)),
        }
    }

    /// The failure that there is no answer after this time.
    pub(super) fn late(&self, waited: Duration) -> TokenFailure {
        self.transient(format!("no whole answer within {waited:.0?}"))
    }

    async fn exchange(&self) -> Result<Token, TokenFailure> {
        let request = self
            .client
            .post(self.url.clone())
            .basic_auth(&self.id, Some(&self.secret))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.body.clone());
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let answer = self.body_of(response).await?;
        if !status.is_success() {
            return Err(self.rejected(status, &answer));
        }
        Token::parse(&answer, SystemTime::now()).map_err(|unusable| match unusable {
            Unusable::Kind(cause) => self.failure(cause, TokenFailure::KIND),
            Unusable::Expired(cause) => self.failure(cause, TokenFailure::CLOCK),
        })
    }

    async fn body_of(&self, mut response: Response) -> Result<Vec<u8>, TokenFailure> {
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| self.broken(&error))?
        {
            if body.len() + chunk.len() > MOST_BYTES {
                let cause = format!("its answer exceeds {MOST_BYTES} bytes");
                return Err(self.failure(cause, TokenFailure::KIND));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, cause: String, next: &'static str) -> TokenFailure {
        TokenFailure {
            endpoint: self.name.clone(),
            cause,
            next,
            is_transient: false,
        }
    }

    fn transient(&self, cause: String) -> TokenFailure {
        TokenFailure {
            is_transient: true,
            ..self.failure(cause, TokenFailure::ADDRESS)
        }
    }

    /// Explains a request that failed by its innermost cause: the others name the URL, or say that there is a cause.
    fn broken(&self, error: &reqwest::Error) -> TokenFailure {
        let mut innermost: &dyn Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let cause = innermost.to_string();
        if cause.contains("certificate verify failed") {
            let cause = "its certificate cannot be verified: it is signed by nobody whom this client trusts, is for another host \
                         name, or has expired";
            return self.failure(cause.to_owned(), TokenFailure::TRUST);
        }
        let during = match error.is_connect() {
            true => "cannot connect",
            false => "the exchange failed",
        };
        self.transient(format!("{during}: {cause}"))
    }

    /// Explains an answer that is an error.
    fn rejected(&self, status: StatusCode, answer: &[u8]) -> TokenFailure {
        let rejection: Rejection = serde_json::from_slice(answer).unwrap_or_default();
        let said = self.said(&rejection);
        let cause = format!("it answered {status}{said}");
        match status.as_u16() {
            408 | 425 | 429 | 500 | 502 | 503 | 504 => self.transient(cause),
            400 | 401 | 403 => self.failure(cause, TokenFailure::CREDENTIALS),
            _ => self.failure(cause, TokenFailure::KIND),
        }
    }

    /// Returns what an endpoint says about an error, unless it repeats what nobody may see.
    fn said(&self, rejection: &Rejection) -> String {
        const MOST_CHARS: usize = 200;
        let Rejection {
            error,
            error_description,
        } = rejection;
        let basic = BASE64.encode(format!("{}:{}", self.id, self.secret).as_bytes());
        let form: String = form_urlencoded::byte_serialize(self.secret.as_bytes()).collect();
        let secrets = [&self.secret, &basic, &form];
        let mut said = String::new();
        for text in [error, error_description] {
            let is_secret = secrets.iter().any(|secret| text.contains(secret.as_str()));
            if text.is_empty() || is_secret {
                continue;
            }
            let printable = text.chars().filter(|c| !c.is_control());
            said.push_str(": ");
            said.extend(printable.take(MOST_CHARS));
        }
        said
    }
}

//! Why a broker cannot be used: librdkafka's report in kbk's words, with what to do about it.

use super::foreign;

/// Why a broker cannot be used, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    /// As in "cannot be reached: *127.0.0.1:9092: Connection refused*".
    pub(super) text: String,
    /// As in "cannot be reached: ...; *check the address*".
    pub(super) next: &'static str,
    /// Whether a broker has checked the credentials, and rejected them.
    pub(super) rejects_credentials: bool,
    /// The address that did not answer, where that is the cause.
    unanswered: Option<String>,
}

impl Cause {
    pub(super) const NEXT: &str = "check the address, the network and `security.protocol`";
    pub(super) const LOGIN: &str = "check `sasl.username` and `sasl.password` of -X, or `sasl.jaas.config` of --command-config";
    const BEARER: &str = "check which tokens the brokers accept, and the properties that begin with `sasl.oauthbearer.`";
    const ADVERTISED: &str = "check the `advertised.listeners` of the broker that names this address, that it runs, and that this machine reaches it";
    const NO_TLS: &str = "use the port of a listener with TLS, or set `security.protocol` to PLAINTEXT or SASL_PLAINTEXT";

    /// What to do where a login is rejected.
    pub(super) fn login(mechanism: &str) -> &'static str {
        match mechanism {
            "OAUTHBEARER" => Self::BEARER,
            _ => Self::LOGIN,
        }
    }

    /// Translates a report or a log line of librdkafka.
    pub(super) fn of(report: &str) -> Cause {
        let is_handshake = report.contains("in state SSL_HANDSHAKE");
        let (broker, report) = split(report);
        let (what, next) = match report {
            // Reading may find the connection closed before the handshake does.
            _ if is_handshake && report.starts_with("Disconnected") => no_tls(),
            report => explain(report),
        };
        Cause {
            text: match broker {
                Some(broker) => format!("{broker}: {what}"),
                None => what,
            },
            next,
            rejects_credentials: report.starts_with(REJECTED),
            unanswered: broker
                .filter(|_| UNANSWERED.iter().any(|begin| report.starts_with(begin)))
                .map(str::to_owned),
        }
    }

    /// Returns what to do next about a cluster that was looked for at `addresses`: one that did not answer and is not among them was named
    /// by a broker.
    pub(super) fn next_at(&self, addresses: &str) -> &'static str {
        const PORT: &str = ":9092";
        let Some(unanswered) = &self.unanswered else {
            return self.next;
        };
        let bare = |address: &str| address.trim().replace(['[', ']'], "");
        let is_given = addresses.split(',').map(bare).any(|given| {
            let given = given.split_once("://").map_or(&*given, |(_, given)| given);
            *unanswered == given || *unanswered == format!("{given}{PORT}")
        });
        match is_given {
            true => self.next,
            false => Self::ADVERTISED,
        }
    }

    /// A quota of the cluster, which an administrator can raise.
    pub(super) fn quota(text: String) -> Cause {
        Cause {
            text,
            next: "raise the quota of this client's user or client id (kafka-configs --entity-type), or wait",
            rejects_credentials: false,
            unanswered: None,
        }
    }

    /// A cause that librdkafka has not reported.
    pub(super) fn unreported(text: &str) -> Cause {
        Cause {
            text: text.to_owned(),
            next: Self::NEXT,
            rejects_credentials: false,
            unanswered: None,
        }
    }
}

/// How the reports begin that nobody answers at an address.
const UNANSWERED: [&str; 4] = [
    "Connect to ",
    "Failed to resolve",
    "Connection setup timed out in state CONNECT",
    "Connection setup timed out in state TRY_CONNECT",
];

/// How the report begins that the credentials were rejected.
const REJECTED: &str = "SASL authentication error: ";

/// Splits a report `[[thrd:NAME]: ][ROLE: ][PROTOCOL://]ADDRESS[/NODE]: TEXT[ (after N ms in state STATE)]` into the address and the text.
fn split(report: &str) -> (Option<&str>, &str) {
    let mut report = report.split_once("]: ").map_or(report, |(_, line)| line);
    if let Some(end) = report.rfind(" (after ").filter(|_| report.ends_with(')')) {
        report = &report[..end];
    }
    for role in ["TxnCoordinator: ", "GroupCoordinator: "] {
        report = report.strip_prefix(role).unwrap_or(report);
    }
    match report.split_once(": ") {
        Some((name, text)) if !name.contains(' ') && name.contains([':', '/']) => {
            let address = name.split_once("://").map_or(name, |(_, address)| address);
            let address = address
                .split_once('/')
                .map_or(address, |(address, _)| address);
            (Some(address), text)
        }
        _ => (None, report),
    }
}

/// Returns what has happened and what to do next.
fn explain(report: &str) -> (String, &'static str) {
    let has = |part: &str| report.contains(part);
    let last = || report.rsplit_once(": ").map_or(report, |(_, last)| last);
    if report.starts_with("Connect to ") {
        let next = "check the address and the port, and that the broker runs";
        return (last().to_owned(), next);
    }
    if report.starts_with("Failed to resolve") {
        let what = format!("the host name does not resolve: {}", last());
        return (what, "check the name, and the name servers of this machine");
    }
    if let Some((_, state)) = report.split_once("setup timed out in state ") {
        return silent(state);
    }
    if let Some((request, _)) = report.split_once("Request in flight") {
        let request = request.rsplit(' ').next().unwrap_or_default();
        return (format!("no answer to a {request} request"), Cause::NEXT);
    }
    if let Some((_, size)) = report.split_once("Invalid response size ") {
        let size = size.split(' ').next().and_then(|size| size.parse().ok());
        let server = size.and_then(|size: i32| foreign::server(size.to_be_bytes()));
        if let Some(server) = server {
            let next = "check the address, and that this is the port of a Kafka listener";
            return (format!("{server} answers there, and no Kafka broker"), next);
        }
    }
    if has("mechanism handshake failed") {
        return no_such_mechanism(report);
    }
    if let Some(reason) = report.strip_prefix(REJECTED) {
        let reason = reason
            .strip_prefix("Authentication failed: ")
            .unwrap_or(reason);
        return (reason.to_owned(), Cause::LOGIN);
    }
    if let Some(reason) = report.strip_prefix("Failed to acquire SASL OAUTHBEARER token: ") {
        let next = "check the properties that begin with `sasl.oauthbearer.`";
        return (reason.to_owned(), next);
    }
    // With TLS 1.3, a listener rejects a client's certificate after the handshake.
    if report.starts_with("SSL handshake failed") || has("SSL routines") {
        return no_tls_handshake(report);
    }
    (plain(report), Cause::NEXT)
}

/// Explains a connection on which nothing was answered in time.
fn silent(state: &str) -> (String, &'static str) {
    match state {
        "CONNECT" | "TRY_CONNECT" => (
            "no answer: nobody accepts or refuses the connection, as behind a firewall that drops packets".to_owned(),
            "check the address, and the firewalls on the way",
        ),
        "SSL_HANDSHAKE" => (
            "no answer: the TLS handshake is not answered".to_owned(),
            Cause::NO_TLS,
        ),
        _ => (
            "no answer: the connection is accepted, and nothing is sent on it".to_owned(),
            "check that this is the port of a Kafka listener, that its broker is well, and `security.protocol`",
        ),
    }
}

/// Explains a listener that does not offer the configured mechanism.
fn no_such_mechanism(report: &str) -> (String, &'static str) {
    let asked = report.split_whitespace().nth(1).unwrap_or_default();
    let (_, offered) = report
        .rsplit_once("supported mechanisms:")
        .unwrap_or_default();
    match offered.trim() {
        "" => (
            "the listener does not use SASL".to_owned(),
            "use the port of a listener with SASL, or set `security.protocol` to PLAINTEXT or SSL",
        ),
        offered => (
            format!("the listener offers {offered}, and not {asked}"),
            "set `sasl.mechanism` to a mechanism that it offers",
        ),
    }
}

fn no_tls() -> (String, &'static str) {
    let what = "the listener does not answer in TLS";
    (what.to_owned(), Cause::NO_TLS)
}

fn no_tls_handshake(report: &str) -> (String, &'static str) {
    let has = |parts: &[&str]| parts.iter().any(|part| report.contains(part));
    if has(&["certificate verify failed"]) {
        let what = "its certificate cannot be verified: it is signed by nobody whom this client trusts, is for another host name, \
                    or has expired";
        let next = "check `ssl.truststore.location` (`ssl.ca.location` with -X) and the host name in the address";
        return (what.to_owned(), next);
    }
    if has(&[
        "authentication might be required",
        "certificate required",
        "alert bad certificate",
        "alert handshake failure",
        "alert unknown ca",
    ]) {
        let what = "the listener accepts no client without a certificate that it trusts";
        let next = "check `ssl.keystore.location` (`ssl.certificate.location` and `ssl.key.location` with -X)";
        return (what.to_owned(), next);
    }
    if has(&[
        "PLAINTEXT broker listener",
        "wrong version number",
        "packet length too long",
    ]) {
        return no_tls();
    }
    let reason = report
        .strip_prefix("SSL handshake failed: ")
        .unwrap_or(report);
    (
        format!("TLS fails: {reason}"),
        "check `security.protocol` and the properties that begin with `ssl.`",
    )
}

/// Returns a description of librdkafka without the mark of where it comes from.
pub(super) fn plain(text: &str) -> String {
    let unmarked = ["Local: ", "Broker: "]
        .iter()
        .find_map(|mark| text.strip_prefix(mark));
    let Some(text) = unmarked else {
        return text.to_owned();
    };
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn explained(report: &str, text: &str, next: &str) {
        let cause = Cause::of(report);
        assert_eq!(cause.text, text);
        assert!(cause.next.contains(next), "{}", cause.next);
    }

    #[test]
    fn an_address_that_was_not_given_was_advertised() {
        let refused = |address: &str| {
            Cause::of(&format!(
                "{address}/1: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)"
            ))
        };
        for (address, given, is_advertised) in [
            ("kafka:9092", "kafka", false),
            ("kafka:9092", "other:1, SSL://kafka:9092", false),
            ("::1:31040", "[::1]:31040", false),
            ("::1:31040", "127.0.0.1:31040", true),
            ("kafka:9093", "kafka", true),
        ] {
            let next = refused(address).next_at(given);
            assert_eq!(
                next.contains("advertised.listeners"),
                is_advertised,
                "{address} {given}"
            );
        }
        // Whoever answers is there.
        let rejected =
            Cause::of("kafka:9093/1: SASL authentication error: no (after 1ms in state AUTH_REQ)");
        assert_eq!(rejected.next_at("kafka"), Cause::LOGIN);
    }

    #[test]
    fn a_report_loses_what_only_librdkafka_understands() {
        for report in [
            "127.0.0.1:18192/1: Connect to ipv4#127.0.0.1:18192 failed: Connection refused (after 0ms in state CONNECT, 1 identical \
             error(s) suppressed)",
            "[thrd:127.0.0.1:18192/bootstrap]: 127.0.0.1:18192/bootstrap: Connect to ipv4#127.0.0.1:18192 failed: Connection refused \
             (after 0ms in state CONNECT)",
            "TxnCoordinator: 127.0.0.1:18192: Connect to ipv4#127.0.0.1:18192 failed: Connection refused (after 0ms in state CONNECT)",
            "sasl_ssl://127.0.0.1:18192/bootstrap: Connect to ipv4#127.0.0.1:18192 failed: Connection refused (after 0ms in state \
             CONNECT)",
        ] {
            explained(
                report,
                "127.0.0.1:18192: Connection refused",
                "that the broker runs",
            );
        }
        let unknown = "ssl://[::1]:9/2: Something new: of librdkafka (after 3ms in state UP)";
        explained(
            unknown,
            "[::1]:9: Something new: of librdkafka",
            "check the address",
        );
        explained(
            "Something without an address",
            "Something without an address",
            "check",
        );
    }

    #[test]
    fn a_server_that_is_not_a_broker_is_named() {
        let report = |size: &str| {
            format!(
                "127.0.0.1:80/bootstrap: Receive failed: Invalid response size {size} (0..100000000): increase receive.message.max.bytes"
            )
        };
        explained(
            &report("1213486160"),
            "127.0.0.1:80: an HTTP server answers there, and no Kafka broker",
            "port of a Kafka listener",
        );
        let limit = "receive.message.max.bytes";
        assert!(Cause::of(&report("100000001")).text.contains(limit));
    }

    #[test]
    fn names_silence_and_requests_are_explained() {
        explained(
            "no.such:9092/bootstrap: Failed to resolve 'no.such:9092': Name or service not known (after 0ms in state CONNECT)",
            "no.such:9092: the host name does not resolve: Name or service not known",
            "name servers",
        );
        for (state, text, next) in [
            ("CONNECT", "nobody accepts", "firewalls"),
            ("SSL_HANDSHAKE", "TLS handshake", "PLAINTEXT"),
            ("APIVERSION_QUERY", "nothing is sent", "Kafka listener"),
        ] {
            let cause = Cause::of(&format!(
                "x:1/bootstrap: Connection setup timed out in state {state} (after 8016ms in state {state})"
            ));
            assert!(cause.text.starts_with("x:1: no answer: "), "{}", cause.text);
            assert!(cause.text.contains(text), "{}", cause.text);
            assert!(cause.next.contains(next), "{}", cause.next);
        }
        explained(
            "[thrd:x:1/1]: x:1/1: Timed out ProduceRequest in flight (after 5012ms, timeout #0)",
            "x:1: no answer to a Produce request",
            "network",
        );
    }

    #[test]
    fn logins_that_fail_are_told_from_listeners_that_differ() {
        let rejected = Cause::of(
            "sasl_ssl://x:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 159ms in \
             state AUTH_REQ)",
        );
        assert_eq!(rejected.text, "x:1: Invalid username or password");
        assert!(rejected.rejects_credentials && rejected.next.contains("sasl.password"));
        let handshake =
            "sasl_ssl://x:1/bootstrap: SASL SCRAM-SHA-256 mechanism handshake failed: Broker: ";
        explained(
            &format!(
                "{handshake}Unsupported SASL mechanism: broker's supported mechanisms: PLAIN,SCRAM-SHA-512"
            ),
            "x:1: the listener offers PLAIN,SCRAM-SHA-512, and not SCRAM-SHA-256",
            "sasl.mechanism",
        );
        explained(
            &format!(
                "{handshake}Request not valid in current SASL state: broker's supported mechanisms:  (after 0ms in state X)"
            ),
            "x:1: the listener does not use SASL",
            "PLAINTEXT or SSL",
        );
        assert!(!Cause::of(handshake).rejects_credentials);
    }

    #[test]
    fn tls_that_fails_names_the_property() {
        for (reason, next) in [
            (
                "error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified",
                "ssl.truststore.location",
            ),
            (
                "Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker listener?",
                "SASL_PLAINTEXT",
            ),
            (
                "error:0A00010B:SSL routines::wrong version number",
                "SASL_PLAINTEXT",
            ),
            (
                "error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                "ssl.keystore.location",
            ),
            ("error:1: of another kind", "`ssl.`"),
        ] {
            let cause = Cause::of(&format!(
                "ssl://x:1/bootstrap: SSL handshake failed: {reason} (after 34ms in state SSL_HANDSHAKE)"
            ));
            assert!(cause.next.contains(next), "{cause:?}");
        }
        explained(
            "ssl://x:1/bootstrap: Disconnected: SSL connection closed by peer (after 3ms in state SSL_HANDSHAKE)",
            "x:1: the listener does not answer in TLS",
            "PLAINTEXT",
        );
    }

    #[test]
    fn descriptions_lose_their_mark() {
        assert_eq!(
            plain("Broker: Topic authorization failed"),
            "topic authorization failed"
        );
        assert_eq!(plain("Local: CRC mismatch"), "CRC mismatch");
        assert_eq!(plain("as it is"), "as it is");
    }
}

//! OAUTHBEARER with tokens from an endpoint, over both clients: what they back up and restore is the same, and so are the errors.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::{NamedTempFile, TempDir};

use crate::support::broker::{Broker, free_port};
use crate::support::process::{Finished, run};
use crate::support::produce::produce;
use crate::support::record::Message;
use crate::support::repo::Repo;
use crate::support::samples::Random;
use crate::support::token_endpoint::{Answer, CLIENT, SCOPE, SECRET, TokenEndpoint};
use crate::support::wire_client::{self, block_on};
use crate::support::{consume, samples, topics, wait};

const CLIENTS: [&str; 2] = ["wire", "librdkafka"];
const TOPIC: &str = "guarded";
const RECORDS: usize = 5_000;

/// A broker with a listener for tokens, where a session ends after three seconds at the latest.
struct Guarded {
    broker: Broker,
    address: String,
    folder: TempDir,
}

impl Guarded {
    fn start() -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let listener = format!("SASL_PLAINTEXT://{address}");
        let login = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
                     unsecuredLoginStringClaim_sub=\"broker\";";
        let broker = Broker::start(&[
            ("listeners", &listener),
            ("advertised.listeners", &listener),
            ("sasl.enabled.mechanisms", "OAUTHBEARER"),
            (
                "listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config",
                login,
            ),
            ("connections.max.reauth.ms", "3000"),
        ]);
        topics::create(&broker, TOPIC, 2, &[]);
        let records: Vec<_> = samples::mixed(1).take(RECORDS).collect();
        produce(&broker, "zstd", (TOPIC, 1), &records);
        let folder = TempDir::new().expect("a temporary folder");
        Self {
            broker,
            address,
            folder,
        }
    }

    /// Runs a command with a file for librdkafka's clients and more options.
    fn run(&self, repo: &Repo, url: &str, args: &[&str]) -> Finished {
        let file = NamedTempFile::new_in(self.folder.path()).expect("a file");
        let text = format!(
            "bootstrap.servers={}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.oauthbearer.method=oidc\n\
             sasl.oauthbearer.client.id={CLIENT}\nsasl.oauthbearer.client.secret={SECRET}\nsasl.oauthbearer.scope={SCOPE}\n\
             sasl.oauthbearer.token.endpoint.url={url}\nsasl.oauthbearer.extensions=logicalCluster=lkc-1\n",
            self.address
        );
        fs::write(file.path(), text).expect("written");
        let mut command = repo.kbk(args);
        let finished = run(command.arg("--command-config").arg(file.path()));
        for output in [&finished.stdout, &finished.stderr] {
            assert!(!output.contains(SECRET), "{finished:#?}");
            // How each token of these tests begins.
            assert!(!output.contains("eyJ"), "{finished:#?}");
        }
        finished
    }
}

/// Limits what each client id may read per second.
fn slow_down(broker: &Broker, bytes_per_second: u32) {
    let rate = format!("consumer_byte_rate={bytes_per_second}");
    let quota = [
        "--alter",
        "--entity-type",
        "clients",
        "--entity-default",
        "--add-config",
        &rate,
    ];
    broker.tool("kafka.admin.ConfigCommand", &quota);
}

#[test]
fn both_clients_back_up_and_restore_with_tokens_of_an_endpoint() {
    let guarded = Guarded::start();
    let endpoint = TokenEndpoint::start(Answer::Token { seconds: 3600 });
    let mut requests = 0;
    let mut asked_once = || {
        requests += 1;
        assert_eq!(
            endpoint.requests(),
            requests,
            "one token for all connections of both clients"
        );
    };
    for client in CLIENTS {
        let repo = Repo::new();
        // librdkafka logs more of what it does than kbk would.
        let backup = ["backup", "-vv", "-X", "debug=all", "--topic", TOPIC];
        let backup = [&backup[..], &["--client", client]].concat();
        guarded.run(&repo, &endpoint.url, &backup).expect_code(0);
        asked_once();
        let target = format!("by-{client}");
        let map = format!("{TOPIC}={target}");
        let restore = ["restore", "--map", &map, "--client", client];
        guarded.run(&repo, &endpoint.url, &restore).expect_code(0);
        asked_once();
        let same = consume::assert_same(&guarded.broker, (TOPIC, &target), 2);
        assert_eq!(same, RECORDS as u64);
    }

    // Over TLS, where the certificate is one to trust.
    let endpoint = TokenEndpoint::start_tls(Answer::Token { seconds: 3600 });
    let repo = Repo::new();
    let backup = ["backup", "--topic", TOPIC];
    let refused = guarded.run(&repo, &endpoint.url, &backup).expect_code(1);
    let says = &refused.stderr;
    assert!(
        says.contains("certificate cannot be verified") && says.contains("`https.ca.location`"),
        "{says}"
    );
    let file = guarded.folder.path().join("ca.pem");
    let pem = endpoint.certificate.as_ref().expect("it has TLS");
    fs::write(&file, pem).expect("written");
    let file = format!("https.ca.location={}", file.display());
    let pem = format!("https.ca.pem={pem}");
    for (client, trusted) in CLIENTS.iter().zip([&file, &pem]) {
        let repo = Repo::new();
        let args = [&backup[..], &["--client", client, "-X", trusted]].concat();
        guarded.run(&repo, &endpoint.url, &args).expect_code(0);
    }
}

#[test]
fn each_way_to_get_no_token_has_an_error_of_its_own() {
    let guarded = Guarded::start();
    let endpoint = TokenEndpoint::start(Answer::Token { seconds: 3600 });
    let repo = Repo::new();
    let nobody = format!("http://127.0.0.1:{}/token?hint=hidden", free_port());
    let html = Answer::Text(200, "<html>not a token</html>".to_owned());
    let echo = format!(r#"{{"error":"invalid_request","error_description":"{SECRET} is odd"}}"#);
    let answers = [
        (
            Answer::Endless,
            "its answer exceeds 524288 bytes",
            "token endpoint of OAuth 2.0",
        ),
        (
            html,
            "its answer of 24 bytes is not a JSON object",
            "token endpoint of OAuth 2.0",
        ),
        (
            Answer::Text(200, "{}".to_owned()),
            "no member `access_token`",
            "token endpoint of OAuth 2.0",
        ),
        (
            Answer::Token { seconds: -60 },
            "its token has expired",
            "check the clocks",
        ),
        (
            Answer::Text(400, echo),
            "it answered 400 Bad Request: invalid_request; ",
            "`sasl.oauthbearer.client.id`",
        ),
        (
            Answer::Text(302, String::new()),
            "it answered 302 Found; ",
            "token endpoint of OAuth 2.0",
        ),
        (
            Answer::Text(503, String::new()),
            "it answered 503 Service Unavailable; ",
            "the endpoint's health",
        ),
        (
            Answer::Half,
            "no whole answer within",
            "the endpoint's health",
        ),
    ];
    let fails = |url: &str, client: &str, more: &[&str], cause: &str, next: &str| {
        let started = Instant::now();
        let args = [&["backup", "--topic", TOPIC, "--client", client][..], more].concat();
        let refused = guarded.run(&repo, url, &args).expect_code(1);
        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?}: {refused:#?}");
        let shown = url.split('?').next().expect("a URL");
        let named = format!("cannot get a token for `sasl.mechanism` OAUTHBEARER from {shown}: ");
        for part in [&named, cause, next] {
            assert!(refused.stderr.contains(part), "{part}: {refused:#?}");
        }
        assert!(!refused.stderr.contains("hidden"), "{refused:#?}");
    };
    // Some of them wait for seconds, all at the same time.
    thread::scope(|scope| {
        let (fails, nobody, valid) = (&fails, &nobody, &endpoint.url);
        for client in CLIENTS {
            scope.spawn(move || {
                let wrong = ["-X", "sasl.oauthbearer.client.secret=hunter2-and-a-half"];
                let rejected =
                    "it answered 401 Unauthorized: invalid_client: Invalid client or Invalid";
                let secret = "`sasl.oauthbearer.client.secret`";
                fails(valid, client, &wrong, rejected, secret);
                let refused = "cannot connect: Connection refused";
                fails(nobody, client, &[], refused, "the endpoint's health");
            });
        }
        // Those of both clients come from one place: it is asked before either connects.
        for (answer, cause, next) in answers {
            let endpoint = TokenEndpoint::start(answer);
            scope.spawn(move || fails(&endpoint.url, "wire", &[], cause, next));
        }
    });
    // What brokers make of a token is theirs.
    endpoint.set(Answer::Text(
        200,
        r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ.c2ln"}"#
            .to_owned(),
    ));
    let refused = guarded
        .run(&repo, &endpoint.url, &["backup", "--topic", TOPIC])
        .expect_code(1);
    assert!(
        refused
            .stderr
            .contains("check which tokens the brokers accept"),
        "{refused:#?}"
    );
}

#[test]
fn tokens_are_replaced_while_a_backup_runs() {
    let guarded = Guarded::start();
    let mut random = Random::new(9);
    let records: Vec<Message> = (0..3_000)
        .map(|_| Message {
            value: Some(random.bytes(1_000)),
            ..samples::plain(samples::now_ms(), "")
        })
        .collect();
    produce(&guarded.broker, "none", (TOPIC, 0), &records);
    slow_down(&guarded.broker, 250_000);
    let backed_up = |client: &str, fetch: &[&str]| {
        let endpoint = TokenEndpoint::start(Answer::Token { seconds: 4 });
        let repo = Repo::new();
        let started = Instant::now();
        let id = format!("client.id=kbk-{client}");
        let backup = ["backup", "--json", "--topic", TOPIC, "-X", &id];
        let args = [&backup[..], &["--client", client], fetch].concat();
        let finished = guarded.run(&repo, &endpoint.url, &args).expect_code(0);
        let (took, requests) = (started.elapsed(), endpoint.requests());
        assert!(took > Duration::from_secs(9), "{client}: {took:?}");
        // One for each connection to begin with, and from then on one in three seconds.
        let most = 10 + took.as_secs() as usize / 2;
        assert!(
            (3..most).contains(&requests),
            "{client}: {requests} in {took:?}"
        );
        assert!(!finished.stderr.contains("token"), "{finished:#?}");
        let report = finished.json();
        assert_eq!(
            report["records"],
            (RECORDS + records.len()) as u64,
            "{client}"
        );
    };
    // All at the same time, each with an endpoint and a quota of its own. The wire client's size of a fetch is not the user's.
    let small = ["fetch.max.bytes=300000", "message.max.bytes=300000"];
    thread::scope(|scope| {
        scope.spawn(|| backed_up("wire", &[]));
        scope.spawn(|| backed_up("librdkafka", &["-X", small[0], "-X", small[1]]));
        scope.spawn(|| connections_outlive_their_tokens(&guarded));
    });
}

/// Connections of the wire client on which requests are sent all the time: none of them fails while tokens come and go.
fn connections_outlive_their_tokens(guarded: &Guarded) {
    let endpoint = TokenEndpoint::start(Answer::Token { seconds: 4 });
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.client.id", CLIENT),
        ("sasl.oauthbearer.client.secret", SECRET),
        ("sasl.oauthbearer.scope", SCOPE),
        ("sasl.oauthbearer.token.endpoint.url", &endpoint.url),
    ];
    let timeout = Some(Duration::from_secs(10));
    let client = wire_client::with(&guarded.address, timeout, &properties);
    let began = Instant::now();
    let call = || block_on(client.metadata(None));
    let lasts = |time: Duration, what: &mut dyn FnMut()| {
        let started = Instant::now();
        while started.elapsed() < time {
            what();
            thread::sleep(Duration::from_millis(20));
        }
    };
    lasts(Duration::from_secs(9), &mut || {
        drop(call().expect("logged in again"))
    });
    let requests = endpoint.requests();
    let most = 4 + began.elapsed().as_secs() as usize / 2;
    assert!((3..most).contains(&requests), "{requests}");

    // A token in use outlives its endpoint; a token that has expired does not. A new one is usable for seconds.
    let before = endpoint.requests();
    wait::until("a new token to be asked for", || {
        call().expect("logged in again");
        (endpoint.requests() > before).then_some(())
    });
    lasts(Duration::from_millis(200), &mut || {
        drop(call().expect("logged in again"))
    });
    endpoint.set(Answer::Text(503, String::new()));
    lasts(Duration::from_millis(500), &mut || {
        drop(call().expect("the token is still valid"))
    });
    thread::sleep(Duration::from_secs(4));
    let error = call().expect_err("no token").to_string();
    assert!(
        error.contains("503 Service Unavailable") && error.contains(&endpoint.url),
        "{error}"
    );
    endpoint.set(Answer::Token { seconds: 3600 });
    call().expect("the endpoint is back");
}

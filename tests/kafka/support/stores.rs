//! Object stores for the tests: an S3 server (versitygw) and an Azure one (Azurite) on free loopback ports, in temporary folders. For Google's
//! protocol there is a translation before the S3 server.
//!
//! As a broker does, they end with the test process, however it ends.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use tempfile::TempDir;

use super::broker::free_port;
use super::google::GoogleTranslation;
use super::process::kbk;
use super::s3::S3Client;
use super::wait::PATIENCE;

const CACHE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache");
const VERSITYGW: &str = "versitygw-v1.8.0/versitygw";
const AZURITE: &str = "azurite-3.35.0/node_modules/azurite/dist/src/blob/main.js";

/// The bucket, or the container, that every server has.
pub(crate) const BUCKET: &str = "backups";
/// What must appear nowhere.
pub(crate) const SECRET: &str = "aHVudGVyMmh1bnRlcjJodW50ZXIy";
const ACCOUNT: &str = "kbktest";

/// Runs "$@" until standard input ends.
const SUPERVISOR: &str = r#"
"$@" >server.log 2>&1 &
read -r _
kill -s KILL $!
wait
"#;

/// Whose protocol a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    S3,
    Azure,
    /// Google's, as a translation of S3.
    Google,
}

/// A server with one empty bucket.
#[derive(Debug)]
pub(crate) struct ObjectServer {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
    folder: TempDir,
    process: Child,
    translation: Option<GoogleTranslation>,
}

impl ObjectServer {
    /// Starts a server.
    pub(crate) fn start(protocol: Protocol) -> Self {
        let folder = TempDir::with_prefix("kbk-store-").expect("a temporary folder");
        let port = free_port();
        let data = folder.path().join("data");
        fs::create_dir(&data).expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISOR, "sh"]);
        match protocol {
            Protocol::S3 | Protocol::Google => {
                fs::create_dir(data.join(BUCKET)).expect("the bucket is a folder");
                command
                    .arg(cached(VERSITYGW))
                    .args(["--quiet", "--port", &format!("127.0.0.1:{port}")])
                    .arg("posix")
                    .arg(&data)
                    .env("ROOT_ACCESS_KEY", ACCOUNT)
                    .env("ROOT_SECRET_KEY", SECRET);
            }
            Protocol::Azure => {
                command
                    .arg("node")
                    .arg(cached(AZURITE))
                    .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
                    .arg("--location")
                    .arg(&data)
                    .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
                    .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{SECRET}"));
            }
        }
        let process = command
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let mut server = Self {
            protocol,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            folder,
            process,
            translation: None,
        };
        server.wait();
        match protocol {
            Protocol::S3 => (),
            Protocol::Azure => server.create_container(),
            Protocol::Google => server.translate(),
        }
        server
    }

    fn wait(&self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let log = fs::read_to_string(self.folder.path().join("server.log"));
            assert!(
                Instant::now() < deadline,
                "the server does not start: {log:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Puts the translation before the server.
    fn translate(&mut self) {
        let translation = GoogleTranslation::start(self.s3(), self.folder.path());
        self.address = translation.address;
        self.translation = Some(translation);
    }

    /// Returns a client of the S3 server that uses nothing of kbk.
    pub(crate) fn s3(&self) -> S3Client {
        S3Client {
            server: self.address,
            key_id: ACCOUNT,
            secret: SECRET,
        }
    }

    /// Azurite has no other way to create one than a request that is signed.
    fn create_container(&self) {
        let date = jiff::Timestamp::now()
            .strftime("%a, %d %b %Y %H:%M:%S GMT")
            .to_string();
        let version = "2021-08-06";
        let text = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
        );
        let key = BASE64.decode(SECRET.as_bytes()).expect("base64");
        let key = PKey::hmac(&key).expect("a key");
        let mut signer = Signer::new(MessageDigest::sha256(), &key).expect("HMAC");
        let signature = signer.sign_oneshot_to_vec(text.as_bytes()).expect("HMAC");
        let signature = BASE64.encode(&signature);
        let request = format!(
            "PUT /{ACCOUNT}/{BUCKET}?restype=container HTTP/1.1\r\nHost: {}\r\nx-ms-date: {date}\r\nx-ms-version: {version}\r\n\
             Authorization: SharedKey {ACCOUNT}:{signature}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        );
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    }

    /// Returns the location of a repository.
    pub(crate) fn location(&self, prefix: &str) -> String {
        match self.protocol {
            Protocol::S3 => format!("s3://{BUCKET}/{prefix}"),
            Protocol::Azure => format!("az://{BUCKET}/{prefix}"),
            Protocol::Google => format!("gs://{BUCKET}/{prefix}"),
        }
    }

    /// Returns the endpoint of the server, or of a proxy before it.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> String {
        match self.protocol {
            Protocol::S3 | Protocol::Google => format!("http://{address}"),
            Protocol::Azure => format!("http://{address}/{ACCOUNT}"),
        }
    }

    /// Returns the variables that give a process the credentials.
    pub(crate) fn credentials(&self) -> Vec<(&'static str, String)> {
        match self.protocol {
            Protocol::S3 => vec![
                ("AWS_ACCESS_KEY_ID", ACCOUNT.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ],
            Protocol::Azure => vec![
                ("AZURE_STORAGE_ACCOUNT", ACCOUNT.to_owned()),
                ("AZURE_STORAGE_KEY", SECRET.to_owned()),
            ],
            Protocol::Google => {
                let file = self.translation().key_file().display();
                vec![("GOOGLE_APPLICATION_CREDENTIALS", file.to_string())]
            }
        }
    }

    /// Returns what translates Google's protocol.
    #[track_caller]
    pub(crate) fn translation(&self) -> &GoogleTranslation {
        self.translation
            .as_ref()
            .expect("it speaks Google's protocol")
    }

    /// Returns what must appear nowhere.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let translation = self.translation.iter();
        let secrets = translation.flat_map(GoogleTranslation::secrets);
        secrets.chain([SECRET.to_owned()]).collect()
    }

    /// Returns a `kbk` command on a repository in this server.
    pub(crate) fn kbk(&self, prefix: &str, args: &[&str]) -> Command {
        self.kbk_by(self.address, prefix, args)
    }

    /// Returns the same through a proxy.
    pub(crate) fn kbk_by(&self, address: SocketAddr, prefix: &str, args: &[&str]) -> Command {
        let mut command = kbk(["--repo"]);
        command.arg(self.location(prefix));
        command.arg(format!(
            "--store-option=endpoint={}",
            self.endpoint(address)
        ));
        command.arg("--store-option=allow-http=true").args(args);
        for name in [
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_ENDPOINT_URL",
            "AZURE_STORAGE_ACCOUNT_NAME",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_SERVICE_ACCOUNT",
        ] {
            command.env_remove(name);
        }
        command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_CONFIG_FILE", "/dev/null");
        command.envs(self.credentials());
        command
    }

    /// Returns the folder in which the server keeps its data.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[track_caller]
fn cached(name: &str) -> std::path::PathBuf {
    let path = Path::new(CACHE).join(name);
    assert!(
        path.exists(),
        "{} is missing: run `scripts/setup stores`",
        path.display()
    );
    path
}

//! Tokens as logins need them: fetched before the first connection, kept, and replaced before they expire, by one request at a time for
//! all connections of the process.
//!
//! A thread of its own sends the requests, since one of the clients blocks and the other one does not. While a token is valid nobody
//! waits: the next one is fetched meanwhile, and a failure to do so is no one's failure until the present one expires.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;

use super::failure::TokenFailure;
use super::settings::OidcSettings;
use super::token::Token;
use crate::kafka::outage;

/// The pause after the first failure, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, and that after a failure that will be the same next time. librdkafka pauses for as long.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the first token may be out of reach for a while, as while an endpoint is started.
const SURELY_DOWN: Duration = Duration::from_secs(3);

/// Where tokens come from. Dropping it ends its thread.
pub(in crate::kafka) struct TokenSource(Arc<Shared>);

struct Shared {
    settings: OidcSettings,
    state: Mutex<State>,
    /// For those who block, and the thread.
    changed: Condvar,
    /// For those who do not.
    notify: Notify,
}

#[derive(Default)]
struct State {
    is_started: bool,
    is_closed: bool,
    token: Option<Arc<Token>>,
    /// Requests that have ended.
    attempts: u64,
    /// Failures since the last token.
    failures: u32,
    failure: Option<TokenFailure>,
    /// When to ask again after a failure.
    retry_at: Option<Instant>,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSource")
            .field(&self.0.settings)
            .finish()
    }
}

impl Drop for TokenSource {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl TokenSource {
    /// Creates a source, which asks for its first token when somebody needs one.
    pub(in crate::kafka) fn new(settings: OidcSettings) -> TokenSource {
        TokenSource(Arc::new(Shared {
            settings,
            state: Mutex::default(),
            changed: Condvar::new(),
            notify: Notify::new(),
        }))
    }

    /// What goes to brokers with each token, by name.
    pub(in crate::kafka) fn extensions(&self) -> &[(String, String)] {
        &self.0.settings.extensions
    }

    /// Returns a token for a login.
    ///
    /// # Errors
    ///
    /// The failure of the next request where no token is valid, or that none has ended within `patience`.
    pub(in crate::kafka) async fn token(
        &self,
        patience: Duration,
    ) -> Result<Arc<Token>, TokenFailure> {
        let seen = self.start()?;
        let waiting = async {
            loop {
                // Registered before the state is read, so that no change is missed.
                let mut changed = std::pin::pin!(self.0.notify.notified());
                changed.as_mut().enable();
                if let Some(outcome) = self.0.lock().outcome_since(seen) {
                    return outcome;
                }
                changed.await;
            }
        };
        let outcome = tokio::time::timeout(patience, waiting).await;
        outcome.unwrap_or_else(|_| Err(self.late(patience)))
    }

    /// Does the same, and blocks meanwhile.
    pub(in crate::kafka) fn wait(&self, patience: Duration) -> Result<Arc<Token>, TokenFailure> {
        let seen = self.start()?;
        let deadline = Instant::now() + patience;
        let mut state = self.0.lock();
        loop {
            if let Some(outcome) = state.outcome_since(seen) {
                return outcome;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                return Err(self.late(patience));
            }
            state = self.0.wait(state, left);
        }
    }

    /// Returns a token for the first login, and blocks meanwhile. An endpoint that may be there soon is asked again for a while.
    pub(in crate::kafka) fn wait_first(
        &self,
        patience: Duration,
    ) -> Result<Arc<Token>, TokenFailure> {
        let started = Instant::now();
        loop {
            let left = patience.saturating_sub(started.elapsed());
            match self.wait(left) {
                Err(failure) if failure.is_transient && started.elapsed() < SURELY_DOWN => {}
                outcome => return outcome,
            }
        }
    }

    /// The failure of whoever has waited for this long: that of the last request where there is one, since it says more.
    fn late(&self, waited: Duration) -> TokenFailure {
        let failure = self.0.lock().failure.clone();
        failure.unwrap_or_else(|| self.0.settings.endpoint.late(waited))
    }

    /// Starts the thread, once, and returns how many requests have ended.
    fn start(&self) -> Result<u64, TokenFailure> {
        let mut state = self.0.lock();
        if !state.is_started {
            let shared = Arc::clone(&self.0);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let started = runtime.and_then(|runtime| {
                let thread = thread::Builder::new().name("kbk-tokens".to_owned());
                thread.spawn(move || shared.run(&runtime))
            });
            started.map_err(|error| self.cannot_start(&error))?;
            state.is_started = true;
        }
        Ok(state.attempts)
    }

    fn cannot_start(&self, error: &io::Error) -> TokenFailure {
        TokenFailure {
            endpoint: self.0.settings.endpoint.name.clone(),
            cause: format!("no thread can be started: {error}"),
            next: "raise the limits of this process",
            is_transient: false,
        }
    }
}

impl State {
    /// Returns what whoever came after `seen` requests gets; `None` where it has to wait.
    fn outcome_since(&self, seen: u64) -> Option<Result<Arc<Token>, TokenFailure>> {
        let usable = self.token.as_ref();
        if let Some(token) = usable.filter(|token| token.is_usable(SystemTime::now())) {
            return Some(Ok(Arc::clone(token)));
        }
        let failure = self.failure.as_ref();
        let failure = failure.filter(|failure| self.attempts > seen || !failure.is_transient);
        failure.map(|failure| Err(failure.clone()))
    }

    /// How long the thread has nothing to do. At most a minute, since a machine may be suspended, and its clock be set.
    fn rest(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let rest = match (self.retry_at, &self.token) {
            (Some(at), _) => at.saturating_duration_since(Instant::now()),
            (None, Some(token)) => {
                let rest = token.refresh_at.duration_since(SystemTime::now());
                rest.unwrap_or_default()
            }
            (None, None) => Duration::ZERO,
        };
        rest.min(LONGEST)
    }

    fn learn(&mut self, answered: Result<Token, TokenFailure>) {
        self.attempts += 1;
        match answered {
            Ok(token) => {
                self.token = Some(Arc::new(token));
                (self.failures, self.failure, self.retry_at) = (0, None, None);
            }
            Err(failure) => {
                let pause = match failure.is_transient {
                    true => FIRST_PAUSE.saturating_mul(1 << self.failures.min(8)),
                    false => LONGEST_PAUSE,
                };
                let pause = pause.min(LONGEST_PAUSE);
                self.retry_at = Some(Instant::now() + pause);
                self.failures = self.failures.saturating_add(1);
                let valid = self.token.as_ref();
                if valid.is_some_and(|token| token.is_usable(SystemTime::now())) {
                    outage::mention(&format!(
                        "{failure}; the present token is still valid, and kbk tries again"
                    ));
                }
                self.failure = Some(failure);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, most: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, most);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Keeps a valid token until the source is dropped.
    fn run(&self, runtime: &tokio::runtime::Runtime) {
        let mut state = self.lock();
        while !state.is_closed {
            let rest = state.rest();
            if !rest.is_zero() {
                state = self.wait(state, rest);
                continue;
            }
            drop(state);
            let answered = runtime.block_on(self.settings.endpoint.fetch());
            state = self.lock();
            state.learn(answered);
            self.changed.notify_all();
            self.notify.notify_waiters();
        }
    }
}

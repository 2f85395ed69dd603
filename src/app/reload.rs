//! Reload: on SIGHUP the configuration is read anew, and when one of the files of certificates
//! changes, these are. What is valid replaces what is in force; what is not changes nothing and is
//! told with all that is wrong, in the log, in `/status` and by the part `configuration` of
//! `/health`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::done;
use super::running::{Running, Stage};
use super::settings::{Prepared, Settings};
use crate::api::ReloadBoard;
use crate::config::{Changes, ConfigErrors, Loaded};
use crate::health::{Component, Health};
use crate::metrics::{Metrics, Reloaded};
use crate::tls::fingerprint;

/// Time between two looks at the files; one that changed is read when it has not by the next look.
const LOOK: Duration = Duration::from_millis(500);
/// Time before its end at which a certificate is warned of.
const NEAR: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Reads the configuration anew.
pub type Load = Arc<dyn Fn() -> Result<Loaded, ConfigErrors> + Send + Sync>;

/// Sets the level of the log, as `log.level` has it.
pub type SetLogLevel = Box<dyn Fn(&str) + Send + Sync>;

/// Where reloads come from, and what only the process can change.
pub struct Reload {
    /// The configuration that the agent was built with.
    pub loaded: Loaded,
    /// Reads it anew, from the same sources.
    pub load: Load,
    /// Sets the level of the log.
    pub set_log_level: SetLogLevel,
    /// Asks for a reload.
    pub requests: mpsc::Receiver<()>,
}

/// The task that reloads.
pub(super) struct Reloader {
    settings: Settings,
    reload: Option<Reload>,
    board: ReloadBoard,
    metrics: Metrics,
    /// How the configuration is.
    component: Component,
    /// Where it tells how the listeners' certificate is, if there is one.
    health: Health,
    clock: fn() -> SystemTime,
}

impl Reloader {
    pub(super) fn new(
        (settings, reload): (Settings, Option<Reload>),
        board: ReloadBoard,
        (health, metrics): (Health, Metrics),
    ) -> Self {
        Self {
            settings,
            reload,
            board,
            metrics,
            component: health.component("configuration"),
            health,
            clock: SystemTime::now,
        }
    }

    /// Starts it.
    pub(super) fn start(self, running: &mut Running) {
        let reloads = Box::pin(self.run(running.token(Stage::Inputs)));
        running.spawn(Stage::Inputs, "reload", done(reloads));
    }

    /// Runs until `stop`.
    async fn run(mut self, stop: CancellationToken) {
        self.component.healthy(Duration::ZERO);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What is in force or was refused, and what the last look saw.
        let mut known = self.settings.prepared().files;
        let mut seen = known;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = requested(&mut self.reload) => {
                    self.reload().await;
                    known = self.settings.prepared().files;
                    seen = known;
                }
                _ = looks.tick() => {
                    let found = self.look().await;
                    // A pair is seldom written at once: a change counts when it has settled.
                    if found != known && found == seen {
                        known = if self.read_files().await {
                            self.settings.prepared().files
                        } else {
                            found
                        };
                    }
                    seen = found;
                    self.tell_expiry();
                }
            }
        }
    }

    async fn look(&self) -> Option<[u8; 32]> {
        let config = self.settings.prepared().config.clone();
        let looked = tokio::task::spawn_blocking(move || fingerprint(&config));
        looked.await.ok().flatten()
    }

    /// The configuration anew, all or nothing.
    async fn reload(&mut self) {
        let Some(reload) = &mut self.reload else {
            return;
        };
        let (load, loaded) = (Arc::clone(&reload.load), reload.loaded.clone());
        let read = tokio::task::spawn_blocking(move || loaded.reload(&load()?)).await;
        let outcome = match read {
            Ok(Ok((loaded, changes))) => match self.prepare(&loaded).await {
                Ok(next) => Ok((loaded, changes, next)),
                Err(errors) => Err(errors),
            },
            Ok(Err(errors)) => Err(errors),
            Err(error) => return tracing::error!(%error, "the reload ended early"),
        };
        match outcome {
            Ok((loaded, changes, next)) => {
                if let Some(reload) = &mut self.reload {
                    (reload.set_log_level)(&loaded.config.log.level);
                    reload.loaded = loaded;
                }
                self.settings.apply(next);
                self.applied(&changes);
            }
            Err(errors) => self.refused(&errors),
        }
    }

    /// The same configuration with the files of now; whether they can be used.
    async fn read_files(&mut self) -> bool {
        let config = self.settings.prepared().config.clone();
        let before = self.settings.prepared().clone();
        let made = tokio::task::spawn_blocking(move || Prepared::new(&config, Some(&before)));
        match made.await {
            Ok(Ok(next)) => {
                self.settings.apply(next);
                tracing::info!("certificates read anew");
                self.took();
                return true;
            }
            Ok(Err(errors)) => self.refused(&errors),
            Err(error) => tracing::error!(%error, "the reload ended early"),
        }
        false
    }

    async fn prepare(&self, loaded: &Loaded) -> Result<Box<Prepared>, ConfigErrors> {
        let (config, before) = (loaded.config.clone(), self.settings.prepared().clone());
        let made = tokio::task::spawn_blocking(move || Prepared::new(&config, Some(&before)));
        made.await.unwrap_or_else(|_| Err(ConfigErrors(Vec::new())))
    }

    fn applied(&self, changes: &Changes) {
        let restart: Vec<String> = changes
            .restart
            .iter()
            .map(|key| (*key).to_owned())
            .collect();
        tracing::info!(changed = ?changes.applied, "configuration reloaded");
        if !restart.is_empty() {
            tracing::warn!(keys = ?restart, "these take effect at the next start");
        }
        self.took();
        self.board.tell(|report| report.restart_needed = restart);
    }

    fn took(&self) {
        self.metrics.config_reloaded(Reloaded::Applied);
        self.component.healthy(Duration::ZERO);
        self.board.tell(|report| {
            report.applied += 1;
            report.mistakes.clear();
        });
    }

    fn refused(&self, errors: &ConfigErrors) {
        let mistakes = errors.0.iter();
        let mistakes: Vec<String> = mistakes.map(ToString::to_string).collect();
        tracing::error!(?mistakes, "reload refused; what was in force before stays");
        self.metrics.config_reloaded(Reloaded::Refused);
        let all = mistakes.join("; ");
        let message = format!("a reload was refused, what was before stays in force: {all}");
        self.component.degraded(&message);
        self.board.tell(|report| {
            report.refused += 1;
            report.mistakes = mistakes;
        });
    }

    /// Tells when the listeners' certificate ends, and that it is near.
    fn tell_expiry(&self) {
        let server = self.settings.prepared().server.as_ref();
        let expires = server.map(|server| server.expires_unix);
        self.metrics.certificate_expires(expires);
        let Some(expires) = expires else {
            return;
        };
        let certificate = self.health.component("certificate");
        let now = (self.clock)()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let left = expires.saturating_sub(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        match left {
            left if left <= 0 => certificate.degraded(
                "the certificate of the listeners has expired: write a new one to \
                 tls.certificate_file and tls.key_file, it is read without a restart",
            ),
            left if left.unsigned_abs() < NEAR.as_secs() => {
                let days = left / (24 * 60 * 60);
                certificate.degraded(&format!(
                    "the certificate of the listeners expires in {days} days: write a new one to \
                     tls.certificate_file and tls.key_file, it is read without a restart"
                ));
            }
            _ => certificate.healthy(Duration::ZERO),
        }
    }
}

/// The next request for a reload; never, if there are none.
async fn requested(reload: &mut Option<Reload>) {
    if let Some(reload) = reload
        && reload.requests.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

//! The spools of the sinks that are configured: opened before anything runs, watched while it does,
//! closed at the end.

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Component;
use crate::metrics::{Metrics, Stage};
use crate::spool::{
    DeadLetter, DeadLetterFile, DeadLetterSetup, DeadLetterTask, Limits, Reader, Spool, SpoolError,
    SpoolSetup, Writer,
};

/// Time between two looks at how the spools are.
const LOOK: Duration = Duration::from_secs(1);
/// How long the last writes may take.
const CLOSING: Duration = Duration::from_millis(500);

/// Both ends of a spool.
pub(super) struct Ends {
    pub(super) writer: Writer,
    pub(super) reader: Reader,
    pub(super) dead_letter: Option<(DeadLetter, DeadLetterTask)>,
}

/// One spool for each sink that is configured.
pub(super) struct Spools {
    pub(super) forward: Option<Ends>,
    pub(super) influx: Option<Ends>,
}

impl Spools {
    /// Opens them; what is in them from before goes out as soon as the sinks run.
    pub(super) fn open(config: &Config, metrics: &Metrics) -> Result<Self, SpoolError> {
        let open = |stage: Stage, memory_bytes: usize| {
            let sink = stage.name();
            let folder = config.spool_folder().join(sink);
            let (writer, reader) = Spool::open(SpoolSetup {
                folder: folder.clone(),
                sink: stage,
                limits: limits(config, memory_bytes),
                metrics: metrics.clone(),
            })?;
            metrics.spool_limit(sink, config.spool.max_bytes);
            let dead_letter = DeadLetter::open(DeadLetterSetup {
                folder,
                sink: stage,
                max_bytes: config.spool.dead_letter_bytes,
                metrics: metrics.clone(),
                clock: SystemTime::now,
            });
            Ok(Ends {
                writer,
                reader,
                dead_letter,
            })
        };
        let forward = config.forward.endpoint.as_ref();
        let forward = forward.map(|_| open(Stage::Forward, config.forward.buffer_bytes));
        let influx = config.influx.url.as_ref();
        // The other half is the sink's.
        let influx = influx.map(|_| open(Stage::Influx, config.influx.buffer_bytes / 2));
        // What is for InfluxDB is counted by the flow, when it hands it over.
        let forward = forward.transpose()?.map(|ends| Ends {
            writer: ends.writer.counting(),
            ..ends
        });
        Ok(Self {
            forward,
            influx: influx.transpose()?,
        })
    }

    /// Where what the servers refuse for good is kept.
    pub(super) fn dead_letters(&self) -> Vec<DeadLetterFile> {
        let all = self.forward.iter().chain(&self.influx);
        let kept = all.filter_map(|ends| ends.dead_letter.as_ref());
        kept.map(|(dead_letter, _)| dead_letter.file()).collect()
    }

    /// The spools, to be watched.
    pub(super) fn watched(&self) -> Watched {
        let forward = self.forward.iter().map(|ends| ("forward", ends));
        let influx = self.influx.iter().map(|ends| ("influx", ends));
        let both = forward.chain(influx);
        let spools = both.map(|(sink, ends)| (sink, ends.writer.spool()));
        Watched(spools.collect())
    }
}

/// A request as large as the receiver takes finds a place, if the disk's share has one for it.
fn limits(config: &Config, memory_bytes: usize) -> Limits {
    let default = Limits::default();
    Limits {
        disk_bytes: config.spool.max_bytes,
        record_bytes: default.record_bytes.max(config.receiver.max_body_bytes),
        memory_bytes,
        ..default
    }
}

/// Spools by their sinks; it does not keep them open.
#[derive(Clone)]
pub(super) struct Watched(Vec<(&'static str, Spool)>);

impl Watched {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells `component` how the spools are, until `stop`.
    pub(super) async fn run(self, component: Component, stop: CancellationToken) {
        loop {
            match self.failing() {
                Some(message) => component.degraded(&message),
                None => component.healthy(Duration::ZERO),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Why one of them takes nothing now.
    fn failing(&self) -> Option<String> {
        self.0.iter().find_map(|(sink, spool)| {
            let why = spool.stats().failing?;
            Some(format!(
                "what is for {sink} is refused: {why}; fix: make room on the disk, or set \
                 spool.folder to another one"
            ))
        })
    }

    /// Waits until all of them are closed, but not for long.
    pub(super) async fn closed(self) {
        let all = async {
            for (_, spool) in &self.0 {
                spool.closed().await;
            }
        };
        if tokio::time::timeout(CLOSING, all).await.is_err() {
            tracing::warn!("a spool takes long to close; what was sent last may be sent again");
        }
    }
}

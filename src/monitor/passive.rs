//! `queue.declare` with `passive`: how many messages are ready and how many consumers there are,
//! without any plugin and without any delay.
//!
//! Input: names of queues in the virtual host of the AMQP URL. Output: both numbers for each. All
//! are asked for on one channel, [`PIPELINE`] at once: one at a time would take ten times as long.
//! A name that does not exist closes the channel, and what was asked behind it is lost: the
//! channel is opened anew, and goes on behind that name. Answers are told apart by their order,
//! never by the name in them: the broker strips line breaks from names.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;

use super::failure::{Cause, Plugin, RequestError};
use super::lane::{Outcome, Reply};
use crate::config::{PeerTls, Secret};
use crate::tls::Material;

/// Names that are asked for before the first answer is there.
const PIPELINE: usize = 256;
/// Names that are asked for together: both sides work on many frames at once, and while the broker
/// answers one batch the next is there.
const BATCH: usize = PIPELINE / 2;
/// Names that may be missing in one round; a list that is so wrong is left for the next one.
const MOST_MISSING: usize = 100;
/// Largest name that AMQP has room for.
const LONGEST_NAME: usize = 255;

/// What the broker says of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) queue: Arc<str>,
    pub(super) ready: u64,
    pub(super) consumers: u64,
}

/// One round of answers.
#[derive(Clone, Debug, Default)]
pub(super) struct PassiveList {
    pub(super) vhost: Arc<str>,
    pub(super) queues: Vec<Declared>,
    /// Names that are not there, or that others own.
    pub(super) missing: u64,
}

/// A connection of its own, made when it is first needed and kept.
#[derive(Clone)]
pub(super) struct Passive {
    url: Secret,
    tls: PeerTls,
    vhost: Arc<str>,
    open: Arc<Mutex<Option<Open>>>,
}

struct Open {
    connection: Connection,
    channel: Channel,
}

impl std::fmt::Debug for Passive {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Passive")
            .field("vhost", &self.vhost)
            .finish_non_exhaustive()
    }
}

impl Passive {
    pub(super) fn new(url: &Secret, tls: &PeerTls) -> Self {
        Self {
            url: url.clone(),
            tls: tls.clone(),
            vhost: vhost_of(url.expose()),
            open: Arc::default(),
        }
    }

    /// The virtual host whose queues can be asked for.
    pub(super) const fn vhost(&self) -> &Arc<str> {
        &self.vhost
    }

    /// Where it asks, without the login.
    pub(super) fn host(&self) -> String {
        let url = self.url.expose();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
    }

    /// Asks for every name, all within `timeout`.
    pub(super) async fn ask(self, names: Vec<Arc<str>>, timeout: Duration) -> Outcome<PassiveList> {
        let begun = Instant::now();
        let mut open = self.open.lock().await;
        let asked = tokio::time::timeout(timeout, self.ask_all(&mut open, &names)).await;
        let cause = match asked {
            Ok(Ok(value)) => {
                return Ok(Reply {
                    value,
                    at: Instant::now(),
                    bytes: 0,
                    took: begun.elapsed(),
                });
            }
            Ok(Err(error)) => self.cause(&error),
            Err(_) => Cause::Timeout(timeout),
        };
        // Whatever it was: the next round begins with a new connection.
        *open = None;
        Err(self.error(cause))
    }

    async fn ask_all(
        &self,
        open: &mut Option<Open>,
        names: &[Arc<str>],
    ) -> Result<PassiveList, lapin::Error> {
        let mut list = PassiveList {
            vhost: self.vhost.clone(),
            ..PassiveList::default()
        };
        let mut left: Vec<Arc<str>> = names.iter().filter(|name| fits(name)).cloned().collect();
        list.missing = (names.len() - left.len()) as u64;
        let mut missing = 0;
        while !left.is_empty() && missing < MOST_MISSING {
            let opened = match open.take() {
                Some(opened) if opened.channel.status().connected() => opened,
                Some(opened) if opened.connection.status().connected() => Open {
                    channel: opened.connection.create_channel().await?,
                    connection: opened.connection,
                },
                _ => self.connect().await?,
            };
            let opened = open.insert(opened);
            let (answered, refusal) = declare(&opened.channel, &left).await;
            let behind = answered.len();
            list.queues.extend(answered);
            match refusal {
                None => break,
                Some(error) if is_missing(&error) => {
                    missing += 1;
                    left.drain(..=behind.min(left.len() - 1));
                }
                Some(error) => return Err(error),
            }
        }
        list.missing += missing as u64;
        Ok(list)
    }

    async fn connect(&self) -> Result<Open, lapin::Error> {
        let properties =
            ConnectionProperties::default().with_connection_name("rabtrace monitor".into());
        let connection = connect(&self.url, &self.tls, properties).await?;
        let channel = connection.create_channel().await?;
        Ok(Open {
            connection,
            channel,
        })
    }

    /// An error of it; the login never gets into it.
    pub(super) fn error(&self, cause: Cause) -> RequestError {
        RequestError {
            plugin: Plugin::Amqp,
            url: format!("amqp://{}", self.host()),
            cause,
        }
    }

    fn cause(&self, error: &lapin::Error) -> Cause {
        match error.kind() {
            ErrorKind::ProtocolError(refused) if refused.get_id() == 403 => Cause::Login {
                user: user_of(self.url.expose()),
                reason: refused.get_message().to_string(),
            },
            ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                Cause::Refused
            }
            _ => Cause::Connection(error.to_string()),
        }
    }
}

/// Opens a connection, with the certificates that are in the files now.
///
/// # Errors
/// If a file cannot be used, or the broker does not let it in.
pub async fn connect(
    url: &Secret,
    tls: &PeerTls,
    properties: ConnectionProperties,
) -> Result<Connection, lapin::Error> {
    let material = Material::read(tls)
        .map_err(|error| ErrorKind::IOError(Arc::new(std::io::Error::other(error))))?;
    let runtime = lapin::runtime::default_runtime()?;
    Connection::connect_with_config(url.expose(), properties, material.amqp(), runtime).await
}

/// Asks for `names` in order; the answers before the first refusal, and that.
async fn declare(channel: &Channel, names: &[Arc<str>]) -> (Vec<Declared>, Option<lapin::Error>) {
    let mut found = Vec::with_capacity(names.len());
    let together = |batch: &[Arc<str>]| {
        let batch = batch.iter().cloned();
        join_all(batch.map(|name| declare_one(channel.clone(), name)))
    };
    let batches = stream::iter(names.chunks(BATCH)).map(together);
    let mut answers = batches.buffered(PIPELINE / BATCH);
    while let Some(batch) = answers.next().await {
        for answer in batch {
            match answer {
                Ok(declared) => found.push(declared),
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

async fn declare_one(channel: Channel, queue: Arc<str>) -> Result<Declared, lapin::Error> {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let found = channel
        .queue_declare((&*queue).into(), options, FieldTable::default())
        .await?;
    Ok(Declared {
        ready: found.message_count().into(),
        consumers: found.consumer_count().into(),
        queue,
    })
}

/// Whether a refusal is about that one name: not found, not allowed, or another's own.
fn is_missing(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(refused) if [403, 404, 405].contains(&refused.get_id()))
}

/// An empty name would be the last queue that was declared on the channel.
fn fits(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(['\r', '\n'])
}

fn vhost_of(url: &str) -> Arc<str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or(path);
    match &*percent_encoding::percent_decode_str(path).decode_utf8_lossy() {
        "" => Arc::from("/"),
        vhost => Arc::from(vhost),
    }
}

fn user_of(url: &str) -> Option<String> {
    let login = url.split_once("://")?.1.rsplit_once('@')?.0;
    let user = login.split(':').next()?;
    Some(
        percent_encoding::percent_decode_str(user)
            .decode_utf8_lossy()
            .into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::{Passive, fits, user_of};
    use crate::config::{PeerTls, Secret};
    use crate::monitor::failure::Cause;

    #[test]
    fn the_virtual_host_is_that_of_the_url_and_the_password_is_never_shown() {
        for (url, vhost, host) in [
            ("amqp://guest:canary@h:1", "/", "h:1"),
            ("amqp://u:canary@h/", "/", "h"),
            ("amqp://u:canary@h/a%2Fb?x=canary", "a/b", "h"),
            ("amqp://h/%2f", "/", "h"),
        ] {
            let passive = Passive::new(&Secret::new(url), &PeerTls::none("broker"));
            assert_eq!(
                (&**passive.vhost(), &*passive.host()),
                (vhost, host),
                "{url}"
            );
            let shown = format!("{passive:?} {}", passive.error(Cause::Refused));
            assert!(!shown.contains("canary"), "{shown}");
        }
        assert_eq!(user_of("amqp://a%40b:c@h"), Some("a@b".to_owned()));
        assert_eq!(user_of("amqp://h"), None);
    }

    #[test]
    fn names_that_cannot_be_asked_for() {
        assert!(fits("a b") && fits(&"x".repeat(255)));
        assert!(!fits("") && !fits("a\nb") && !fits(&"x".repeat(256)));
    }
}

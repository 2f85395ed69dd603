//! What can go wrong when a broker is asked, and what to do about each.

use std::fmt;
use std::time::Duration;

/// Which of the broker's plugins was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// `rabbitmq_prometheus`.
    Prometheus,
    /// `rabbitmq_management`.
    Management,
    /// No plugin: the broker itself, over AMQP.
    Amqp,
}

impl Plugin {
    /// The plugin's name, as `rabbitmq-plugins enable` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "rabbitmq_prometheus",
            Self::Management => "rabbitmq_management",
            Self::Amqp => "amqp",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Prometheus => "broker.prometheus_urls",
            Self::Management => "broker.management_url",
            Self::Amqp => "broker.amqp_url",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Prometheus => 15692,
            Self::Management => 15672,
            Self::Amqp => 5672,
        }
    }
}

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The URL of the configuration cannot be used.
    Url(String),
    /// Nobody listens there.
    Refused,
    /// The connection could not be made, or broke.
    Connection(String),
    /// No whole answer in time.
    Timeout(Duration),
    /// The login was refused (401); the user and the broker's own reason.
    Login {
        /// Who tried to log in; none if without a login.
        user: Option<String>,
        /// What the broker said.
        reason: String,
    },
    /// Another status than 200.
    Status(u16),
    /// The answer is larger than this many bytes.
    TooLarge(usize),
    /// The answer is not what the plugin answers.
    Body(String),
}

/// A request that failed: where, why. It never holds a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError {
    /// Which plugin was asked.
    pub plugin: Plugin,
    /// The whole URL, without its login.
    pub url: String,
    /// What happened.
    pub cause: Cause,
}

impl RequestError {
    /// Whether the plugin just does not seem to be there, as when it is not enabled.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.cause, Cause::Refused | Cause::Status(404))
    }

    /// Whether what was asked for is not there.
    pub(super) const fn is_missing(&self) -> bool {
        matches!(self.cause, Cause::Status(404))
    }

    /// Whether a single virtual host was asked for, which is not there or hidden from the user: to
    /// 4.3 that is the same (404), before it is refused (401).
    fn is_of_vhost(&self) -> bool {
        match &self.cause {
            Cause::Login { reason, .. } => reason.contains("virtual host"),
            Cause::Status(404) => self.url.contains("/api/queues/"),
            _ => false,
        }
    }

    /// Whether the broker is there and refuses the login.
    #[must_use]
    pub fn is_login(&self) -> bool {
        matches!(self.cause, Cause::Login { .. })
    }

    /// What happened, in one word: the field `error` of `rabbitmq_poll`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self.cause {
            Cause::Url(_) => "url",
            Cause::Refused => "refused",
            Cause::Connection(_) => "connection",
            Cause::Timeout(_) => "timeout",
            Cause::Login { .. } => "login",
            Cause::Status(_) => "status",
            Cause::TooLarge(_) => "too_large",
            Cause::Body(_) => "body",
        }
    }

    /// Status of the answer, if there was one.
    #[must_use]
    pub const fn http_status(&self) -> Option<u16> {
        match self.cause {
            Cause::Login { .. } if matches!(self.plugin, Plugin::Amqp) => None,
            Cause::Login { .. } => Some(401),
            Cause::Status(status) => Some(status),
            Cause::TooLarge(_) | Cause::Body(_) => Some(200),
            _ => None,
        }
    }

    /// What happened, in a few words.
    #[must_use]
    pub fn why(&self) -> String {
        match &self.cause {
            Cause::Url(reason) => format!("the URL cannot be used: {reason}"),
            Cause::Refused => "connection refused".to_owned(),
            Cause::Connection(reason) => format!("connection failed: {reason}"),
            Cause::Timeout(after) => format!("no answer within {} ms", after.as_millis()),
            Cause::Login { reason, .. } if reason.is_empty() => "login refused (401)".to_owned(),
            Cause::Login { reason, .. } => format!("login refused (401): {reason}"),
            Cause::Status(status) => format!("answered with status {status}"),
            Cause::TooLarge(limit) => format!("the answer is larger than {limit} bytes"),
            Cause::Body(reason) => format!("not an answer of {}: {reason}", self.plugin.name()),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        let (plugin, key, port) = (self.plugin.name(), self.plugin.key(), self.plugin.port());
        match &self.cause {
            _ if self.is_of_vhost() => "let the user see the virtual hosts of \
                broker.include_vhosts: `rabbitmqctl set_permissions -p VHOST USER '^$' '^$' '^$'`, \
                which lets it do nothing there"
                .to_owned(),
            Cause::Url(_) => format!("set {key} to a URL such as http://rabbit:{port}"),
            Cause::Refused if self.plugin == Plugin::Amqp => {
                format!("set {key} to where the broker listens")
            }
            Cause::Refused | Cause::Status(404) => {
                format!("`rabbitmq-plugins enable {plugin}`, or set {key} to where it listens")
            }
            Cause::Connection(_) => format!("check host and port of {key}, and the network to it"),
            Cause::Timeout(_) => "look for a node that hangs (`rabbitmqctl cluster_status`), \
                                  or raise broker.poll_timeout"
                .to_owned(),
            Cause::Login { .. } if self.plugin == Plugin::Prometheus => {
                format!("put user and password into {key}: http://user:password@rabbit:{port}")
            }
            Cause::Login { .. } => "`rabbitmqctl add_user rabtrace PASSWORD`, `rabbitmqctl \
                 set_user_tags rabtrace monitoring`, then put that login into broker.amqp_url or \
                 broker.management_url; guest may log in only from localhost"
                .to_owned(),
            Cause::Status(_) => "look into the broker's log".to_owned(),
            Cause::TooLarge(_) => "the broker has more queues than this version reads".to_owned(),
            Cause::Body(_) => format!("check that {key} is {plugin} and not another service"),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.plugin.name(), self.why())?;
        write!(formatter, "\n  url   {}", self.url)?;
        if let Cause::Login { user, .. } = &self.cause {
            let user = user.as_deref().unwrap_or("(none)");
            write!(formatter, "\n  user  {user}")?;
        }
        write!(formatter, "\n  fix   {}", self.fix())
    }
}

impl std::error::Error for RequestError {}

/// Why a poll gave nothing about any queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonitorError {
    /// The broker is there, but does not let the monitor in.
    #[error("{0}")]
    Login(RequestError),
    /// No plugin of the broker answers.
    #[error("the broker does not answer\n{}", lines(.0))]
    Away(Vec<RequestError>),
}

impl MonitorError {
    /// From all that failed in a poll in which nothing was learned.
    pub(super) fn new(failures: Vec<RequestError>) -> Self {
        match failures.iter().find(|failure| failure.is_login()) {
            Some(login) => Self::Login(login.clone()),
            None => Self::Away(failures),
        }
    }
}

fn lines(failures: &[RequestError]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Cause, MonitorError, Plugin, RequestError};
    use expect_test::{Expect, expect};

    fn failure(plugin: Plugin, cause: Cause) -> RequestError {
        let url = "http://rabbit:1/x".to_owned();
        RequestError { plugin, url, cause }
    }

    fn check(failures: Vec<RequestError>, expect: &Expect) {
        expect.assert_eq(&MonitorError::new(failures).to_string());
    }

    #[test]
    fn an_error_says_where_why_and_what_to_do() {
        let refused = failure(Plugin::Prometheus, Cause::Refused);
        check(
            vec![
                refused.clone(),
                failure(Plugin::Management, Cause::Status(503)),
            ],
            &expect![[r#"
                the broker does not answer
                rabbitmq_prometheus: connection refused
                  url   http://rabbit:1/x
                  fix   `rabbitmq-plugins enable rabbitmq_prometheus`, or set broker.prometheus_urls to where it listens
                rabbitmq_management: answered with status 503
                  url   http://rabbit:1/x
                  fix   look into the broker's log"#]],
        );
        let login = Cause::Login {
            user: Some("guest".to_owned()),
            reason: "Login failed".to_owned(),
        };
        check(
            vec![refused, failure(Plugin::Management, login)],
            &expect![[r#"
                rabbitmq_management: login refused (401): Login failed
                  url   http://rabbit:1/x
                  user  guest
                  fix   `rabbitmqctl add_user rabtrace PASSWORD`, `rabbitmqctl set_user_tags rabtrace monitoring`, then put that login into broker.amqp_url or broker.management_url; guest may log in only from localhost"#]],
        );
    }
}

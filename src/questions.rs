//! The questions that ship with rabtrace: one file each in Flux and in InfluxDB 3's SQL. The embedded
//! store is asked in the latter too, with its own words for the time, unless it has a file of its own.
//! All have the same columns. Pure.
//!
//! Input: a question, and how far back it looks. Output: the text to ask. Each file runs as it
//! stands; what is replaced in it are the bucket and the time, which are written, never pasted.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// How far back a file looks as it stands: in Flux, in SQL, in the store's SQL.
const LOOKS_BACK: [&str; 3] = ["since = -1h", "INTERVAL '1 hour'", "(unixepoch() - 3600)"];
/// The store's words for the time, where a file for InfluxDB 3 has its own.
const STORE_WORDS: [(&str, &str); 2] = [
    (
        "now() - INTERVAL '1 hour'",
        "(unixepoch() - 3600) * 1000000000",
    ),
    ("CAST(time AS BIGINT)", "time"),
];
/// The bucket that a file in Flux asks as it stands.
const BUCKET: &str = "bucket = \"rabtrace\"";

/// A question in its three languages.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its name, that of its files in `influx/`.
    pub name: &'static str,
    /// The columns of its answer.
    pub columns: &'static [&'static str],
    flux: &'static str,
    sql: &'static str,
    /// The store's own SQL, where that of InfluxDB 3 will not do.
    store: Option<&'static str>,
}

macro_rules! question {
    ($name:literal, $columns:expr) => {
        question!($name, $columns, None)
    };
    ($name:literal, $columns:expr, with its own for the store) => {
        question!(
            $name,
            $columns,
            Some(include_str!(concat!("../influx/store/", $name, ".sql")))
        )
    };
    ($name:literal, $columns:expr, $store:expr) => {
        Question {
            name: $name,
            columns: &$columns,
            flux: include_str!(concat!("../influx/", $name, ".flux")),
            sql: include_str!(concat!("../influx/", $name, ".sql")),
            store: $store,
        }
    };
}

/// Every question.
pub const QUESTIONS: &[Question] = &[
    question!(
        "message_flow",
        [
            "path",
            "messages",
            "errors",
            "redelivered",
            "avg_ms",
            "worst_p95_ms"
        ],
        with its own for the store
    ),
    question!(
        "slow_operations",
        [
            "agent_id",
            "notification_type",
            "notifications",
            "avg_ms",
            "max_ms"
        ]
    ),
    question!(
        "slow_spans",
        [
            "service_name",
            "span_name",
            "destination",
            "spans",
            "avg_ms",
            "max_ms"
        ]
    ),
    question!(
        "error_rate",
        [
            "window_start",
            "service_name",
            "requests",
            "errors",
            "error_rate"
        ],
        with its own for the store
    ),
    question!(
        "queue_growth",
        ["vhost", "queue", "messages", "growth_per_second"]
    ),
    question!(
        "queue_drain",
        [
            "vhost",
            "queue",
            "messages",
            "drained_per_second",
            "drain_seconds"
        ]
    ),
    question!(
        "queue_throughput",
        ["vhost", "queue", "published", "delivered", "acknowledged"]
    ),
    question!(
        "consumer_starvation",
        ["vhost", "queue", "polls", "starved_polls", "max_ready"]
    ),
    question!("dead_letters", ["reason", "dead_lettered"]),
    question!(
        "agent_costs",
        [
            "agent_id",
            "notifications_processed",
            "tool_executions",
            "llm_calls",
            "input_tokens",
            "output_tokens"
        ]
    ),
    question!(
        "task_duration",
        [
            "creator_id",
            "status",
            "steps",
            "avg_seconds",
            "max_seconds"
        ]
    ),
];

/// The question of that name.
#[must_use]
pub fn question(name: &str) -> Option<&'static Question> {
    QUESTIONS.iter().find(|question| question.name == name)
}

impl Question {
    /// What it answers: the comment at the head of its files.
    ///
    /// ```
    /// let question = rabtrace::questions::question("dead_letters").ok_or("no such question")?;
    /// assert!(question.answers().starts_with("Why messages were dead-lettered"));
    /// # Ok::<(), &str>(())
    /// ```
    #[must_use]
    pub fn answers(&self) -> String {
        let comment = self.sql.lines().map_while(|line| line.strip_prefix("--"));
        comment.map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// The question in Flux, to `bucket`, over the time `since`.
    #[must_use]
    pub fn flux(&self, bucket: &str, since: Duration) -> String {
        let bucket = format!("bucket = {}", flux_text(bucket));
        let since = format!("since = -{}s", seconds(since));
        // The time first: a bucket may be called anything.
        let text = self.flux.replacen(LOOKS_BACK[0], &since, 1);
        text.replacen(BUCKET, &bucket, 1)
    }

    /// The question in InfluxDB 3's SQL, over the time `since`.
    #[must_use]
    pub fn sql(&self, since: Duration) -> String {
        let since = format!("INTERVAL '{} seconds'", seconds(since));
        self.sql.replace(LOOKS_BACK[1], &since)
    }

    /// The question in the embedded store's SQL, over the time `since`.
    #[must_use]
    pub fn store(&self, since: Duration) -> String {
        let since = format!("(unixepoch() - {})", seconds(since));
        self.store_as_it_stands().replace(LOOKS_BACK[2], &since)
    }

    fn store_as_it_stands(&self) -> String {
        let translate = |sql: String, (own, store): (&str, &str)| sql.replace(own, store);
        match self.store {
            Some(text) => text.to_owned(),
            None => STORE_WORDS.into_iter().fold(self.sql.to_owned(), translate),
        }
    }
}

fn seconds(since: Duration) -> u64 {
    since.as_secs().max(1)
}

/// A text as a literal of Flux: `${` begins an expression there.
fn flux_text(text: &str) -> String {
    let mut literal = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' | '$' => literal.extend(['\\', character]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

//! What comes in goes out: every stage of the agent, by what it tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Agent, eventually, whole};

/// What one stage received, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    /// Below zero is a mistake of its own.
    pub(crate) waiting: i64,
}

/// Every stage by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance(pub(crate) BTreeMap<String, Account>);

fn label<'a>(name: &'a str, label: &str) -> Option<&'a str> {
    let (_, rest) = name.split_once(&format!("{label}=\""))?;
    rest.split('"').next()
}

impl Balance {
    /// Of the text of `/metrics`, read into names and values.
    pub(crate) fn of(metrics: &BTreeMap<String, f64>) -> Self {
        let mut balance = Self::default();
        for (name, value) in metrics {
            let Some(stage) = label(name, "stage") else {
                continue;
            };
            let of = balance.0.entry(stage.to_owned()).or_default();
            match name.split('{').next().unwrap_or_default() {
                "rabtrace_items_received_total" => of.received = whole(*value),
                "rabtrace_items_sent_total" => of.sent = whole(*value),
                "rabtrace_dropped_total" => of.dropped += whole(*value),
                #[expect(clippy::cast_possible_truncation, reason = "a whole number")]
                "rabtrace_items_waiting" => of.waiting = *value as i64,
                _ => {}
            }
        }
        // They have no way in of their own.
        balance.0.remove("store_columns");
        balance
    }

    /// The stages that do not add up.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let is_wrong = |account: &Account| {
            let gone = i128::from(account.sent) + i128::from(account.dropped);
            let waiting = i128::from(account.waiting);
            i128::from(account.received) != gone + waiting || waiting < 0
        };
        let wrong = self.0.iter().filter(|(_, account)| is_wrong(account));
        wrong
            .map(|(stage, account)| format!("{stage}: {account:?}"))
            .collect()
    }
}

impl Agent {
    /// Waits until nothing moves any more, and says how the stages stand then: which do not add up
    /// is told by panic.
    pub(crate) async fn balanced(&self, within: Duration) -> Balance {
        let mut before = Balance::default();
        let what = || async {
            let now = Balance::of(&self.metrics().await);
            tokio::time::sleep(Duration::from_millis(300)).await;
            let then = Balance::of(&self.metrics().await);
            (now == then && !now.0.is_empty()).then_some(now)
        };
        let begun = std::time::Instant::now();
        while begun.elapsed() < within {
            before = eventually("nothing moves", within, what).await;
            if before.mistakes().is_empty() {
                return before;
            }
        }
        panic!("{:?}", before.mistakes());
    }
}

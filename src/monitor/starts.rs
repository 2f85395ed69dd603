//! When each node started, from the uptime that it tells: told once, and kept until it falls.
//!
//! A node's counts begin with it, so that is since when they count. Reckoned anew from each poll it
//! would be another moment each time, by as much as the uptime is old.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::NodeSample;

/// By how much an uptime may be older than the one before it: the two plugins do not tell the same.
const OLDER: Duration = Duration::from_secs(15);
/// Nodes that are remembered, and then forgotten all at once.
const MOST: usize = 1_000;

#[derive(Clone, Copy, Debug)]
struct Start {
    unix_nano: i64,
    uptime: Duration,
}

/// The nodes that told an uptime.
#[derive(Debug, Default)]
pub(super) struct Starts(HashMap<Arc<str>, Start>);

impl Starts {
    /// Says of each node when it started, as far as that is known at `unix_nano`.
    pub(super) fn tell(&mut self, nodes: &mut [NodeSample], unix_nano: i64) {
        if self.0.len() > MOST {
            self.0.clear();
        }
        for node in nodes {
            if let Some(uptime) = node.uptime {
                self.take(&node.node, uptime, unix_nano);
            }
            node.started_unix_nano = self.of(&node.node);
        }
    }

    /// When a node started.
    fn of(&self, node: &str) -> Option<i64> {
        self.0.get(node).map(|start| start.unix_nano)
    }

    fn take(&mut self, node: &Arc<str>, uptime: Duration, now: i64) {
        let known = self.0.get_mut(node);
        if let Some(start) = known.filter(|start| uptime + OLDER >= start.uptime) {
            start.uptime = start.uptime.max(uptime);
            return;
        }
        let since = i64::try_from(uptime.as_nanos()).unwrap_or(i64::MAX);
        let unix_nano = now.saturating_sub(since);
        self.0.insert(node.clone(), Start { unix_nano, uptime });
    }
}

#[cfg(test)]
mod tests {
    use super::Starts;
    use crate::model::NodeSample;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_start_stays_until_the_uptime_falls() {
        let mut starts = Starts::default();
        let mut at = |second: i64, uptime: Option<u64>| {
            let mut nodes = [NodeSample {
                node: "a".into(),
                uptime: uptime.map(Duration::from_secs),
                ..NodeSample::default()
            }];
            starts.tell(&mut nodes, second * SECOND);
            nodes[0].started_unix_nano.map(|nanos| nanos / SECOND)
        };
        assert_eq!(at(1_000, None), None, "absent is not known");
        assert_eq!(at(1_005, Some(100)), Some(905));
        assert_eq!(at(1_010, Some(100)), Some(905), "an uptime that is late");
        assert_eq!(at(1_015, Some(95)), Some(905), "the other plugin's");
        assert_eq!(at(1_020, None), Some(905));
        // A wall clock that jumps moves nothing.
        assert_eq!(at(4_600, Some(120)), Some(905));
        assert_eq!(at(4_700, Some(20)), Some(4_680), "it was started again");
    }
}

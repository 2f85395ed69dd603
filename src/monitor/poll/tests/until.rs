//! Polls until one is as it should be: on a busy machine an answer may be had by a later poll.

use std::time::{Duration, Instant};

use crate::model::BrokerSnapshot;
use crate::monitor::Monitor;

pub(super) async fn until(
    monitor: &mut Monitor,
    is_whole: impl Fn(&BrokerSnapshot) -> bool,
) -> BrokerSnapshot {
    let begun = Instant::now();
    loop {
        let polled = monitor.poll_once().await;
        if let Ok(snapshot) = &polled
            && is_whole(snapshot)
        {
            return polled.unwrap();
        }
        let is_late = begun.elapsed() > Duration::from_secs(60);
        assert!(!is_late, "{:?}", polled.map(|snapshot| snapshot.poll));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

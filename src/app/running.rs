//! The agent's tasks and the order in which they stop.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest time that all stages together may take to stop; with what comes after them it is 5 s.
const GRACE: Duration = Duration::from_millis(3500);
/// What a stage has even when those before it used the time up.
const LEAST: Duration = Duration::from_millis(250);

/// Tasks stop stage by stage, in this order; a stage's inputs are gone when its turn comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Inputs,
    Flow,
    Sinks,
    Api,
}

const STAGES: [Stage; 4] = [Stage::Inputs, Stage::Flow, Stage::Sinks, Stage::Api];

/// What a task ends with: its name and result.
type Ended = (&'static str, anyhow::Result<()>);

#[derive(Default)]
struct Part {
    token: CancellationToken,
    tasks: JoinSet<Ended>,
    /// Names of the tasks that have not ended.
    names: Vec<&'static str>,
}

/// Every task of the agent.
#[derive(Default)]
pub(super) struct Running([Part; 4]);

impl Running {
    /// The token that tells a stage to stop.
    pub(super) fn token(&self, stage: Stage) -> CancellationToken {
        self.0[stage as usize].token.clone()
    }

    /// Starts a task.
    pub(super) fn spawn<E>(
        &mut self,
        stage: Stage,
        name: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + Send,
    {
        let part = &mut self.0[stage as usize];
        part.names.push(name);
        part.tasks
            .spawn(async move { (name, work.await.map_err(Into::into)) });
    }

    /// Runs until `stop` or until a task ends, then stops stage by stage.
    pub(super) async fn until(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.any_ended() => Err(ended),
        };
        let end = Instant::now() + GRACE;
        for stage in STAGES {
            let part = &mut self.0[stage as usize];
            part.token.cancel();
            let left = end.saturating_duration_since(Instant::now()).max(LEAST);
            let result = part
                .drain(left)
                .await
                .with_context(|| format!("while stopping {stage:?}"));
            outcome = outcome.and(result);
        }
        outcome
    }

    /// The first task that ends though nobody told it to.
    async fn any_ended(&mut self) -> anyhow::Error {
        let [inputs, flow, sinks, api] = &mut self.0;
        let ended = tokio::select! {
            Some(ended) = inputs.tasks.join_next() => ended,
            Some(ended) = flow.tasks.join_next() => ended,
            Some(ended) = sinks.tasks.join_next() => ended,
            Some(ended) = api.tasks.join_next() => ended,
            else => return anyhow::anyhow!("every task ended"),
        };
        match ended {
            Ok((name, Ok(()))) => anyhow::anyhow!("{name} ended unexpectedly"),
            Ok((name, Err(error))) => error.context(format!("{name} failed")),
            Err(error) => anyhow::Error::new(error).context("a task panicked"),
        }
    }
}

impl Part {
    /// Waits for the tasks, and aborts those that take longer than the grace period.
    async fn drain(&mut self, grace: Duration) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        let waited = tokio::time::timeout(grace, async {
            while let Some(ended) = self.tasks.join_next().await {
                let result = match ended {
                    Ok((name, result)) => {
                        self.names.retain(|other| *other != name);
                        result.with_context(|| format!("{name} failed"))
                    }
                    Err(error) => Err(error.into()),
                };
                if outcome.is_ok() {
                    outcome = result;
                }
            }
        });
        if waited.await.is_err() {
            self.tasks.abort_all();
            return Err(anyhow::anyhow!(
                "{} did not stop within {grace:?}",
                self.names.join(", ")
            ));
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::{Running, Stage};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn stages_stop_one_after_the_other() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut running = Running::default();
        for (stage, name) in [
            (Stage::Api, "api"),
            (Stage::Sinks, "sinks"),
            (Stage::Flow, "flow"),
            (Stage::Inputs, "inputs"),
        ] {
            let (token, order) = (running.token(stage), Arc::clone(&order));
            running.spawn(stage, name, async move {
                token.cancelled().await;
                order.lock().unwrap().push(name);
                std::io::Result::Ok(())
            });
        }
        let stop = CancellationToken::new();
        stop.cancel();
        running.until(stop).await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["inputs", "flow", "sinks", "api"]);
    }

    #[tokio::test]
    async fn a_task_that_does_not_stop_is_named() {
        let mut running = Running::default();
        running.spawn(Stage::Sinks, "influx", async {
            std::future::pending::<std::io::Result<()>>().await
        });
        running.spawn(Stage::Sinks, "store", async { std::io::Result::Ok(()) });
        let sinks = &mut running.0[Stage::Sinks as usize];
        let error = sinks.drain(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.to_string(), "influx did not stop within 50ms");
    }

    #[tokio::test]
    async fn a_task_that_ends_stops_the_agent_with_an_error() {
        let mut running = Running::default();
        running.spawn(Stage::Sinks, "store", async {
            Err(std::io::Error::other("disk is gone"))
        });
        let error = running.until(CancellationToken::new()).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "store failed: disk is gone");
    }
}

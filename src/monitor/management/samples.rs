//! The answers of the management API as samples.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::json::{Count, Flag, Object, Text, rows};
use crate::model::{BindingSample, ExchangeSample, NodeSample, OverviewSample, QueueSample};

/// The queues of a listing and how many of its rows had no name.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueList {
    pub(crate) queues: Vec<QueueSample>,
    pub(crate) bad_rows: u64,
}

/// The exchanges of a listing and how many of its rows had no name.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExchangeList {
    pub(crate) exchanges: Vec<ExchangeSample>,
    pub(crate) bad_rows: u64,
}

impl QueueList {
    /// Adds those of another virtual host.
    pub(crate) fn extend(&mut self, other: Self) {
        self.queues.extend(other.queues);
        self.bad_rows += other.bad_rows;
    }
}

impl ExchangeList {
    /// Adds those of another virtual host.
    pub(crate) fn extend(&mut self, other: Self) {
        self.exchanges.extend(other.exchanges);
        self.bad_rows += other.bad_rows;
    }
}

/// The totals and the name of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) overview: OverviewSample,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QueueStats {
    publish: Count,
    deliver_get: Count,
    ack: Count,
    redeliver: Count,
    get_empty: Count,
    deliver_no_ack: Count,
    get_no_ack: Count,
}

impl QueueStats {
    /// Delivered without the need of an acknowledgement, by consume or get.
    fn no_ack(&self) -> Option<u64> {
        match (self.deliver_no_ack.0, self.get_no_ack.0) {
            (Some(consumed), Some(got)) => Some(consumed.saturating_add(got)),
            (consumed, got) => consumed.or(got),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QueueRow {
    vhost: Text,
    name: Text,
    #[serde(rename = "type")]
    queue_type: Text,
    node: Text,
    state: Text,
    exclusive: Flag,
    messages: Count,
    messages_ready: Count,
    messages_unacknowledged: Count,
    consumers: Count,
    memory: Count,
    message_bytes: Count,
    head_message_timestamp: Count,
    message_stats: Object<QueueStats>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ExchangeStats {
    publish_in: Count,
    publish_out: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ExchangeRow {
    vhost: Text,
    name: Text,
    #[serde(rename = "type")]
    exchange_type: Text,
    message_stats: Object<ExchangeStats>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BindingRow {
    vhost: Text,
    source: Text,
    destination: Text,
    destination_type: Text,
    routing_key: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NodeRow {
    name: Text,
    running: Flag,
    mem_used: Count,
    mem_limit: Count,
    mem_alarm: Flag,
    disk_free: Count,
    disk_free_limit: Count,
    disk_free_alarm: Flag,
    fd_used: Count,
    fd_total: Count,
    sockets_used: Count,
    sockets_total: Count,
    proc_used: Count,
    proc_total: Count,
    run_queue: Count,
    uptime: Count,
    applications: Vec<Application>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Application {
    name: Text,
    version: Text,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ObjectTotals {
    connections: Count,
    channels: Count,
    consumers: Count,
    exchanges: Count,
    queues: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct QueueTotals {
    messages: Count,
    messages_ready: Count,
    messages_unacknowledged: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct MessageTotals {
    publish: Count,
    deliver_get: Count,
    ack: Count,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OverviewRow {
    cluster_name: Text,
    rabbitmq_version: Text,
    object_totals: Object<ObjectTotals>,
    queue_totals: Object<QueueTotals>,
    message_stats: Object<MessageTotals>,
}

/// Texts that many rows share, each held once.
#[derive(Default)]
struct Shared(HashSet<Arc<str>>);

impl Shared {
    fn text(&mut self, text: Text) -> Option<Arc<str>> {
        let text = text.0?;
        if let Some(known) = self.0.get(text.as_str()) {
            return Some(known.clone());
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        Some(new)
    }
}

/// Reads `/api/queues`.
pub(crate) fn queues(body: &str) -> Result<QueueList, serde_json::Error> {
    let mut shared = Shared::default();
    let mut list = QueueList::default();
    rows(body, |row: QueueRow| {
        let (Some(vhost), Some(queue)) = (shared.text(row.vhost), row.name.0) else {
            list.bad_rows += 1;
            return;
        };
        let stats = row.message_stats.0;
        list.queues.push(QueueSample {
            vhost,
            queue: queue.into(),
            queue_type: shared.text(row.queue_type),
            node: shared.text(row.node),
            state: shared.text(row.state),
            exclusive: row.exclusive.0,
            messages: row.messages.0,
            messages_ready: row.messages_ready.0,
            messages_unack: row.messages_unacknowledged.0,
            consumers: row.consumers.0,
            messages_publish: stats.publish.0,
            messages_deliver_get: stats.deliver_get.0,
            messages_ack: stats.ack.0,
            messages_redeliver: stats.redeliver.0,
            messages_get_empty: stats.get_empty.0,
            messages_deliver_no_ack: stats.no_ack(),
            memory: row.memory.0,
            message_bytes: row.message_bytes.0,
            // A stream without messages has a zero here.
            head_message_timestamp: row.head_message_timestamp.0.filter(|time| *time > 0),
            ..QueueSample::default()
        });
    })?;
    list.queues.shrink_to_fit();
    Ok(list)
}

/// Reads `/api/exchanges`.
pub(crate) fn exchanges(body: &str) -> Result<ExchangeList, serde_json::Error> {
    let mut shared = Shared::default();
    let mut list = ExchangeList::default();
    rows(body, |row: ExchangeRow| {
        let (Some(vhost), Some(exchange)) = (shared.text(row.vhost), shared.text(row.name)) else {
            list.bad_rows += 1;
            return;
        };
        let stats = row.message_stats.0;
        list.exchanges.push(ExchangeSample {
            vhost,
            exchange,
            exchange_type: shared.text(row.exchange_type),
            messages_publish_in: stats.publish_in.0,
            messages_publish_out: stats.publish_out.0,
            ..ExchangeSample::default()
        });
    })?;
    Ok(list)
}

/// Reads `/api/bindings`, without those of the default exchange.
pub(crate) fn bindings(body: &str) -> Result<Vec<BindingSample>, serde_json::Error> {
    let mut shared = Shared::default();
    let mut sample = |row: BindingRow| {
        let source = shared.text(row.source)?;
        (!source.is_empty()).then_some(())?;
        Some(BindingSample {
            source,
            vhost: shared.text(row.vhost)?,
            destination: shared.text(row.destination)?,
            destination_type: shared.text(row.destination_type)?,
            routing_key: shared.text(row.routing_key).unwrap_or_default(),
            present: true,
        })
    };
    let mut bindings = Vec::new();
    rows(body, |row| bindings.extend(sample(row)))?;
    Ok(bindings)
}

/// Reads `/api/nodes`.
pub(crate) fn nodes(body: &str) -> Result<Vec<NodeSample>, serde_json::Error> {
    let rows: Vec<NodeRow> = serde_json::from_str(body)?;
    let sample = |row: NodeRow| {
        let version = row
            .applications
            .into_iter()
            .find(|application| application.name.0.as_deref() == Some("rabbit"))
            .and_then(|application| application.version.0);
        Some(NodeSample {
            node: row.name.0?.into(),
            running: row.running.0,
            mem_used: row.mem_used.0,
            mem_limit: row.mem_limit.0,
            mem_alarm: row.mem_alarm.0,
            disk_free: row.disk_free.0,
            disk_free_limit: row.disk_free_limit.0,
            disk_free_alarm: row.disk_free_alarm.0,
            fd_used: row.fd_used.0,
            fd_total: row.fd_total.0,
            // From 4.0 on sockets are not counted any more: both are zero there.
            sockets_used: row
                .sockets_used
                .0
                .filter(|_| row.sockets_total.0 != Some(0)),
            sockets_total: row.sockets_total.0.filter(|total| *total > 0),
            proc_used: row.proc_used.0,
            proc_total: row.proc_total.0,
            run_queue: row.run_queue.0,
            uptime: row.uptime.0.map(Duration::from_millis),
            version: version.map(Into::into),
            ..NodeSample::default()
        })
    };
    Ok(rows.into_iter().filter_map(sample).collect())
}

/// Reads `/api/overview`.
pub(crate) fn overview(body: &str) -> Result<Cluster, serde_json::Error> {
    let row: OverviewRow = serde_json::from_str(body)?;
    if row.cluster_name.0.is_none() && row.rabbitmq_version.0.is_none() {
        return Err(serde::de::Error::missing_field("rabbitmq_version"));
    }
    let (objects, totals, stats) = (row.object_totals.0, row.queue_totals.0, row.message_stats.0);
    Ok(Cluster {
        name: row.cluster_name.0.map(Into::into),
        overview: OverviewSample {
            connections: objects.connections.0,
            channels: objects.channels.0,
            consumers: objects.consumers.0,
            exchanges: objects.exchanges.0,
            queues: objects.queues.0,
            messages: totals.messages.0,
            messages_ready: totals.messages_ready.0,
            messages_unack: totals.messages_unacknowledged.0,
            messages_published: stats.publish.0,
            messages_delivered: stats.deliver_get.0,
            messages_acked: stats.ack.0,
            version: row.rabbitmq_version.0.map(Into::into),
        },
    })
}

#[cfg(test)]
mod tests;

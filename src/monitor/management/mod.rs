//! What the plugin `rabbitmq_management` tells: JSON to samples, no I/O.
//!
//! Input: the body of `/api/queues`, `/api/overview`, `/api/nodes` or `/api/exchanges`. Output:
//! samples. A broker leaves out what it does not know (its metrics collector may be off, a queue
//! may be down) or puts a word in a number's place: both become `None`, never zero. A row without
//! a name is skipped and counted.

mod json;
mod samples;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) use samples::{
    Cluster, ExchangeList, QueueList, bindings, exchanges, nodes, overview, queues,
};

/// The paths that ask for a listing: that of all virtual hosts, or that of each of `vhosts`.
pub(super) fn paths(path: &str, vhosts: &[String]) -> Vec<String> {
    if vhosts.is_empty() {
        return vec![path.to_owned()];
    }
    let (resource, query) = path.split_once('?').unwrap_or((path, ""));
    let of = |vhost| {
        let vhost = utf8_percent_encode(vhost, NON_ALPHANUMERIC);
        format!("{resource}/{vhost}?{query}")
    };
    vhosts.iter().map(|vhost| of(vhost)).collect()
}

/// Every queue with its depth: a seventh and less of the work of the statistics.
pub(super) const TOTALS_PATH: &str = "/api/queues?disable_stats=true&enable_queue_totals=true";
/// Every queue's name, type and node: what changes only when somebody declares something.
pub(super) const NAMES_PATH: &str = "/api/queues?disable_stats=true";
/// Every queue, cut to what is read. Never paged: the broker would do all its work for each page.
pub(super) const QUEUES_PATH: &str = "/api/queues?columns=vhost,name,type,node,state,exclusive,messages,\
    messages_ready,messages_unacknowledged,consumers,memory,message_bytes,head_message_timestamp,\
    message_stats.publish,message_stats.deliver_get,message_stats.ack,message_stats.redeliver,\
    message_stats.get_empty,message_stats.deliver_no_ack,message_stats.get_no_ack";
/// The totals, the cluster's name, the version.
pub(super) const OVERVIEW_PATH: &str = "/api/overview";
/// Every node.
pub(super) const NODES_PATH: &str = "/api/nodes?columns=name,running,mem_used,mem_limit,mem_alarm,\
    disk_free,disk_free_limit,disk_free_alarm,fd_used,fd_total,sockets_used,sockets_total,\
    proc_used,proc_total,run_queue,uptime,applications";
/// Every binding.
pub(super) const BINDINGS_PATH: &str =
    "/api/bindings?columns=vhost,source,destination,destination_type,routing_key";
/// Every exchange.
pub(super) const EXCHANGES_PATH: &str = "/api/exchanges?columns=vhost,name,type,\
    message_stats.publish_in,message_stats.publish_out";

#[cfg(test)]
mod tests {
    use super::{EXCHANGES_PATH, TOTALS_PATH, paths};

    #[test]
    fn a_virtual_host_is_asked_for_by_its_name() {
        assert_eq!(paths(TOTALS_PATH, &[]), [TOTALS_PATH]);
        let vhosts = ["/", "a b/\u{e9}"].map(str::to_owned);
        assert_eq!(
            paths(TOTALS_PATH, &vhosts),
            [
                "/api/queues/%2F?disable_stats=true&enable_queue_totals=true",
                "/api/queues/a%20b%2F%C3%A9?disable_stats=true&enable_queue_totals=true",
            ]
        );
        assert!(paths(EXCHANGES_PATH, &vhosts)[0].starts_with("/api/exchanges/%2F?columns="));
    }
}

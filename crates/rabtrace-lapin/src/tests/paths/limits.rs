//! What is bounded or joined: many names, many paths, several deliveries, no tracer.

use std::collections::HashSet;
use std::sync::Arc;

use opentelemetry::Context;
use opentelemetry::trace::noop::NoopTracerProvider;
use opentelemetry::trace::{FutureExt, SpanId, TraceContextExt};

use super::{EDGE, MESSAGES, check, hex, measured, send, send_as, shown, take, value};
use crate::config::TraceConfig;
use crate::fan_in::merged_context;
use crate::path::OTHER_PATHS;
use crate::tests::meters::{Meters, Series};
use crate::tests::{BasicProperties, Delivery, Service, attribute};

#[test]
fn a_hundred_thousand_names_are_a_bounded_number_of_series() {
    let (service, meters) = measured(|config| config);
    for at in 0..100_000 {
        let key = format!("order.{at}");
        let sent = send(&service, ("", &key), &Context::new());
        drop(take(&service, (&key, ("", &key)), sent));
        let replies = format!("amq.gen-{at}");
        send(&service, ("", &replies), &Context::new());
    }
    assert!(service.telemetry.paths.len() <= 1_024);
    let series = meters.series();
    let paths: Vec<_> = series
        .iter()
        .filter(|series| series.metric == MESSAGES)
        .collect();
    assert!(paths.len() <= 1_026, "{}", paths.len());
    assert_eq!(meters.total(MESSAGES, &[]), 300_000, "none is lost");
    let generated = "messaging.destination.name=amq.gen";
    assert_eq!(meters.total(MESSAGES, &[generated]), 100_000);
}

#[test]
fn beyond_the_limit_paths_are_the_others() {
    let (service, meters) = measured(|config| config.with_path_limit(2));
    let mut sent = Vec::new();
    for queue in ["one", "two", "three", "four"] {
        let properties = send(&service, ("", queue), &Context::new());
        let path = crate::propagation::extract(properties.headers().as_ref()).path;
        let is_other = path.unwrap().hash() == OTHER_PATHS;
        assert_eq!(is_other, ["three", "four"].contains(&queue), "{queue}");
        sent.push((queue, properties));
    }
    for (queue, properties) in sent {
        drop(take(&service, (queue, ("", queue)), properties));
    }
    let expect = [
        "in _other | 4",
        "out _other | 2",
        "out one | 1",
        "out two | 1",
    ];
    check(&meters, MESSAGES, &expect);
    let other = format!("rabtrace.path.hash={}", hex(OTHER_PATHS));
    assert_eq!(meters.total(MESSAGES, &[&other]), 6);
    // Another service goes on from there, and says so.
    let sent = send(&service, ("", "three"), &Context::new());
    let (audit, meters) = measured(|config| config.with_service_name("audit"));
    drop(take(&audit, ("three", ("", "three")), sent));
    let parent = format!("rabtrace.path.parent={}", hex(OTHER_PATHS));
    assert_eq!(meters.total(MESSAGES, &[&parent]), 1);
}

#[test]
fn channels_of_one_configuration_share_the_table() {
    let meters = Meters::new();
    let config = TraceConfig::new().with_meter_provider(&meters.provider);
    let one = crate::telemetry::Telemetry::new(&config);
    let two = crate::telemetry::Telemetry::new(&config.clone());
    assert!(Arc::ptr_eq(&one.paths, &two.paths));
    let other = crate::telemetry::Telemetry::new(&config.with_path_limit(5));
    assert!(!Arc::ptr_eq(&one.paths, &other.paths));
}

/// Three deliveries by two paths, and the publishes of their messages.
fn three(service: &Service) -> (Vec<Delivery>, HashSet<SpanId>) {
    let taken = ["one", "two", "two"].iter().map(|queue| {
        let sent = send(service, ("", queue), &Context::new());
        take(service, (queue, ("", queue)), sent)
    });
    let taken: Vec<Delivery> = taken.collect();
    let spans = service.spans();
    let ids = spans.iter().map(|span| span.span_context.span_id());
    (taken, ids.collect())
}

#[tokio::test]
async fn a_message_of_several_deliveries_without_room_is_one_of_the_others() {
    // Two publishes, two deliveries, and one edge for what they are made into.
    for (limit, expect) in [
        (4, ["out _other merge | 3", "out _other | 1"].as_slice()),
        (5, &["out _other merge | 3", "out joined | 1"]),
        (
            6,
            &[
                "out _other merge | 2",
                "out joined merge | 1",
                "out joined | 1",
            ],
        ),
    ] {
        let (service, meters) = measured(|config| config.with_path_limit(limit));
        let (taken, _) = three(&service);
        let sent = async { send(&service, ("", "joined"), &Context::current()) };
        sent.with_context(merged_context(&taken)).await;
        let lines = shown(&meters, MESSAGES);
        let joined = lines
            .iter()
            .filter(|line| line.contains("_other") || line.contains("joined"));
        assert_eq!(joined.collect::<Vec<_>>(), expect, "{limit}");
    }
}

/// Kind, hash, parent and number of the messages to `joined`.
fn joined(meters: &Meters) -> Vec<(String, String, String, i64)> {
    let all = meters.series().into_iter();
    let text = |series: &Series, key: &str| value(series, key).unwrap_or_default().to_owned();
    let mut rows: Vec<_> = all
        .filter(|series| series.metric == MESSAGES)
        .filter(|series| value(series, "messaging.destination.name") == Some("joined"))
        .map(|series| {
            let hashes =
                ["hash", "parent"].map(|key| text(&series, &format!("rabtrace.path.{key}")));
            let [hash, parent] = hashes;
            (
                text(&series, "rabtrace.edge.kind"),
                hash,
                parent,
                series.value,
            )
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn a_message_of_several_deliveries_has_all_their_paths() {
    let meters = Meters::new();
    let service = Service::new("joiner");
    let service = service.configured(|config| config.with_meter_provider(&meters.provider));
    let (taken, publishes) = three(&service);
    service.exporter.reset();
    let sent = async { send(&service, ("", "joined"), &Context::current()) };
    let sent = sent.with_context(merged_context(&taken)).await;
    let span = service.spans().remove(0);
    let links = span.links.iter().map(|link| link.span_context.span_id());
    assert_eq!(links.clone().count(), 3);
    assert_eq!(links.collect::<HashSet<_>>(), publishes);
    let path = crate::propagation::extract(sent.headers().as_ref()).path;
    let hash = hex(path.unwrap().hash());
    let [one, two] = [0, 1].map(|at: usize| hex(taken[at].path().unwrap().hash()));
    let said = |name: &str| attribute(&span, name);
    assert_eq!(said("rabtrace.path.hash").as_ref(), Some(&hash));
    assert_eq!(said("rabtrace.path.parent").as_ref(), Some(&one));
    let row =
        |kind: &str, parent: &str, count| (kind.to_owned(), hash.clone(), parent.to_owned(), count);
    let mut expect = [
        row("", &one, 1),
        row("merge", &one, 1),
        row("merge", &two, 2),
    ];
    expect.sort();
    assert_eq!(joined(&meters), expect);
    assert!(!merged_context(&[]).has_active_span());
}

#[test]
fn without_a_tracer_the_path_travels_alone() {
    let (service, meters) =
        measured(|config| config.with_tracer_provider(&NoopTracerProvider::new()));
    let sent = send(&service, ("", "tasks"), &Context::new());
    let headers = sent.headers().as_ref().unwrap();
    let keys: Vec<&str> = headers.inner().keys().map(|key| key.as_str()).collect();
    assert_eq!(keys, ["tracestate"]);
    let taken = take(&service, ("tasks", ("", "tasks")), sent.clone());
    let again = send_as(&service, ("", "next"), (sent, &taken.context()));
    let path = crate::propagation::extract(again.headers().as_ref())
        .path
        .unwrap();
    assert_eq!(path.steps(), 3);
    check(&meters, EDGE, &["in tasks | 1", "out next | 1"]);
    // Without a meter of its own it stays silent.
    let silent =
        service.configured(|config| config.with_tracer_provider(&NoopTracerProvider::new()));
    let sent = send(&silent, ("", "tasks"), &Context::new());
    assert_eq!(sent, BasicProperties::default());
}

//! Many destinations: a limit on names that add up, templates, names that were made up.

use std::collections::HashSet;

use opentelemetry::Context;
use opentelemetry_sdk::trace::SpanData;

use super::meters::Meters;
use super::{AckMode, BasicProperties, Service, attribute, hand_out, message};
use crate::config::TraceConfig;
use crate::outcome::PublishOutcome;
use crate::path::{Direction, PathContext, Step, checkpoint};
use crate::propagation;

const LIMIT: usize = 100;

fn measured(change: impl FnOnce(TraceConfig) -> TraceConfig) -> (Service, Meters) {
    let meters = Meters::new();
    let service = Service::new("planner").configured(|config| {
        change(
            config
                .with_meter_provider(&meters.provider)
                .with_destination_limit(LIMIT),
        )
    });
    (service, meters)
}

/// The span of a publish, and the path on the wire.
fn publish(service: &Service, to: (&str, &str)) -> (SpanData, PathContext) {
    let (mut publish, properties) = service.start(to, BasicProperties::default(), &Context::new());
    publish.written();
    publish.end(PublishOutcome::Acked);
    let span = service.spans().pop().unwrap();
    service.exporter.reset();
    let path = propagation::extract(properties.headers().as_ref()).path;
    (span, path.unwrap())
}

/// The distinct destinations in the series of a metric.
fn series_of(meters: &Meters, metric: &str) -> HashSet<String> {
    let series = meters.series().into_iter();
    series
        .filter(|series| series.metric == metric)
        .map(|series| {
            let mut attributes = series.attributes.into_iter();
            let found = attributes.find(|attribute| attribute.contains("messaging.destination."));
            found.unwrap()
        })
        .collect()
}

#[test]
fn five_thousand_destinations_have_a_hundred_and_one_series() {
    let (service, meters) = measured(|config| config);
    for round in 0..2 {
        for at in 0..5_000 {
            let queue = format!("queue-{at}");
            let (span, _) = publish(&service, ("", &queue));
            let exact = attribute(&span, "messaging.destination.name");
            assert_eq!(exact.as_deref(), Some(queue.as_str()), "{round}");
            let label = attribute(&span, "rabtrace.destination").unwrap();
            assert!(label == queue || label == "_other", "{label}");
            assert_eq!(span.name, format!("publish {label}"));
        }
    }
    for metric in [
        "messaging.client.sent.messages",
        "messaging.client.operation.duration",
        "rabtrace.publish.outcomes",
    ] {
        let series = series_of(&meters, metric);
        assert_eq!(series.len(), LIMIT + 1, "{metric}");
        assert!(series.contains("messaging.destination.template=_other"));
        assert!(series.contains("messaging.destination.name=queue-99"));
        assert_eq!(meters.total(metric, &[]), 10_000, "none is lost");
    }
}

#[test]
fn beyond_the_limit_names_metrics_and_paths_say_other() {
    let (service, meters) = measured(|config| config);
    for at in 0..LIMIT {
        publish(&service, ("", &format!("queue-{at}")));
    }
    let (span, path) = publish(&service, ("events", "late"));
    assert_eq!(span.name, "publish _other");
    let text = |name| attribute(&span, name).unwrap();
    assert_eq!(text("messaging.destination.name"), "events:late");
    assert_eq!(text("messaging.destination.template"), "_other");
    assert_eq!(text("messaging.rabbitmq.destination.routing_key"), "late");
    assert_eq!(text("rabtrace.destination"), "_other");
    let expect = checkpoint(None, &Step::new("planner", Direction::Out, "_other"), 1);
    assert_eq!(path.hash(), expect.context.hash());
    let other = ["messaging.destination.template=_other"];
    assert_eq!(meters.total("rabtrace.publish.outcomes", &other), 1);
    // Those that have a name keep it.
    let (span, _) = publish(&service, ("", "queue-0"));
    assert_eq!(span.name, "publish queue-0");
}

#[test]
fn destinations_that_are_not_used_any_more_make_room_in_span_names() {
    let (service, _meters) = measured(|config| config);
    for at in 0..LIMIT {
        publish(&service, ("", &format!("old-{at}")));
    }
    let name = |at: usize| {
        let queue = format!("new-{}", at % 50);
        publish(&service, ("", &queue)).0.name
    };
    assert_eq!(name(0), "publish _other");
    let tries = (0..10 * LIMIT).find(|at| name(*at) == format!("publish new-{}", at % 50));
    assert!(tries.is_some(), "no room was made");
    (0..50).for_each(|at| {
        name(at);
    });
    for at in 0..50 {
        assert_eq!(name(at), format!("publish new-{at}"));
    }
}

#[test]
fn a_template_is_one_destination_however_many_keys_it_has() {
    let (service, meters) = measured(|config| config.with_template("order.{id}"));
    for at in 0..1_000 {
        let key = format!("order.{at}");
        let (span, path) = publish(&service, ("events", &key));
        assert_eq!(span.name, "publish events:order.{id}");
        let text = |name| attribute(&span, name).unwrap();
        assert_eq!(text("messaging.destination.name"), format!("events:{key}"));
        assert_eq!(text("messaging.destination.template"), "events:order.{id}");
        assert_eq!(text("messaging.rabbitmq.destination.routing_key"), key);
        assert_eq!(text("rabtrace.destination"), "events");
        let expect = checkpoint(None, &Step::new("planner", Direction::Out, "events"), 1);
        assert_eq!(path.hash(), expect.context.hash());
    }
    // There is still room for others.
    let (span, _) = publish(&service, ("", "audit"));
    assert_eq!(span.name, "publish audit");
    let (span, _) = publish(&service, ("", "order.7"));
    assert_eq!(
        attribute(&span, "rabtrace.destination").unwrap(),
        "order.{id}"
    );
    let series = series_of(&meters, "messaging.client.sent.messages");
    let expect = [
        "messaging.destination.template=events:order.{id}",
        "messaging.destination.name=audit",
        "messaging.destination.template=order.{id}",
    ];
    assert_eq!(series, expect.map(str::to_owned).into());
}

#[test]
fn names_that_were_made_up_are_in_no_span_name_and_no_metric() {
    let (service, meters) = measured(|config| config);
    let made_up = [
        ("amq.gen-JzTY20BRgKO-HjmUJj0wLg", "amq.gen"),
        ("amq.rabbitmq.reply-to.g1.abc", "amq.rabbitmq.reply-to"),
        ("amq_3f2a", "amq_"),
        ("spring.gen-x1", "spring.gen"),
        ("0af7651916cd43dd8448eb211c80319c", "{uuid}"),
        ("123e4567-e89b-12d3-a456-426614174000", "{uuid}"),
    ];
    for (queue, template) in made_up {
        let (published, _) = publish(&service, ("", queue));
        assert_eq!(published.name, format!("publish {template}"));
        let source = service.source(queue, AckMode::Manual);
        let received = message((1, "", queue), BasicProperties::default());
        drop(hand_out(&source, received, &Context::new()));
        let processed = service.spans().pop().unwrap();
        assert_eq!(processed.name, format!("process {template}"));
        for span in [published, processed] {
            let text = |name| attribute(&span, name).unwrap();
            assert_eq!(text("messaging.destination.name"), queue);
            assert_eq!(text("messaging.destination.template"), template);
            assert_eq!(text("messaging.destination.anonymous"), "true");
            assert_eq!(text("rabtrace.destination"), template);
        }
    }
    for series in meters.series() {
        let line = series.attributes.join(" ");
        let found = made_up.iter().find(|(queue, _)| line.contains(queue));
        assert!(found.is_none(), "{line}");
    }
}

#[test]
fn a_limit_of_none_still_traces_and_counts() {
    let (service, meters) = measured(|config| config.with_destination_limit(0));
    let (span, _) = publish(&service, ("", "tasks"));
    assert_eq!(span.name, "publish _other");
    assert_eq!(meters.total("rabtrace.publish.outcomes", &[]), 1);
}

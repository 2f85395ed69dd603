//! Publishes and deliveries that do not succeed, and messages of which little is known.

use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use lapin::types::AMQPValue;
use opentelemetry::Context;

use super::{EDGE, ERRORS, MESSAGES, PROCESS, SKEW, TOTAL, check, measured, take, with};
use crate::outcome::PublishOutcome;
use crate::tests::BasicProperties;

#[tokio::test]
async fn what_does_not_succeed_is_an_error_of_its_path() {
    let (service, meters) = measured(|config| config);
    let publish = |outcome, error: Option<&'static str>, is_written| {
        let (mut publish, _) =
            service.start(("", "tasks"), BasicProperties::default(), &Context::new());
        if is_written {
            publish.written();
        }
        if let Some(error) = error {
            publish.set_error(error, "as a test".to_owned());
        }
        publish.end(outcome);
    };
    publish(PublishOutcome::Acked, None, true);
    publish(PublishOutcome::Returned, Some("NO_ROUTE"), true);
    publish(PublishOutcome::Nacked, Some("nack"), true);
    publish(PublishOutcome::ChannelLost, Some("CONNECTION_FORCED"), true);
    publish(PublishOutcome::Failed, Some("InvalidChannelState"), false);
    publish(PublishOutcome::Dropped, None, false);
    check(&meters, MESSAGES, &["out tasks | 6"]);
    let expect = [
        "out tasks CONNECTION_FORCED | 1",
        "out tasks InvalidChannelState | 1",
        "out tasks NO_ROUTE | 1",
        "out tasks nack | 1",
    ];
    check(&meters, ERRORS, &expect);

    let (service, meters) = measured(|config| config);
    let next = || {
        take(
            &service,
            ("tasks", ("", "tasks")),
            BasicProperties::default(),
        )
    };
    let failed = next();
    failed.set_error(&std::io::Error::other("no such tool"));
    failed.ack(BasicAckOptions::default()).await.unwrap();
    next().nack(BasicNackOptions::default()).await.unwrap();
    next().reject(BasicRejectOptions::default()).await.unwrap();
    next().ack(BasicAckOptions::default()).await.unwrap();
    let expect = [
        "in tasks _OTHER | 1",
        "in tasks nack_discard | 1",
        "in tasks reject_discard | 1",
    ];
    check(&meters, ERRORS, &expect);
    check(&meters, PROCESS, &["in tasks | 4"]);
}

#[test]
fn messages_without_a_context_are_counted() {
    let (service, meters) = measured(|config| config);
    drop(take(
        &service,
        ("tasks", ("", "tasks")),
        BasicProperties::default(),
    ));
    check(&meters, MESSAGES, &["in tasks | 1"]);
    check(&meters, EDGE, &[]);
    check(&meters, TOTAL, &[]);
    // With a stamp of the broker, their time in the queue is known.
    let stamped = with(
        &BasicProperties::default(),
        &[("timestamp_in_ms", AMQPValue::LongLongInt(1_000))],
    );
    let taken = take(&service, ("tasks", ("", "tasks")), stamped);
    assert_eq!(taken.path().unwrap().origin_us(), 1_000_000);
    for metric in [EDGE, TOTAL] {
        check(&meters, metric, &["in tasks | 1"]);
    }
    check(&meters, MESSAGES, &["in tasks | 2"]);
    // From tomorrow: the clocks disagree.
    let tomorrow = AMQPValue::LongLongInt(9_000_000_000_000);
    let stamped = with(
        &BasicProperties::default(),
        &[("timestamp_in_ms", tomorrow)],
    );
    drop(take(&service, ("tasks", ("", "tasks")), stamped));
    check(&meters, SKEW, &["in tasks | 1"]);
    check(&meters, EDGE, &["in tasks | 1"]);
    check(&meters, MESSAGES, &["in tasks | 3"]);
}

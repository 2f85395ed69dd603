//! Messages that no queue took: each is that of its own publish, whatever lapin says.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rabtrace::demo::broker::Broker;
use rabtrace_lapin::lapin::types::{AMQPValue, FieldTable};
use rabtrace_lapin::message::BasicReturnMessage;
use rabtrace_lapin::{Rule, TraceConfig, TracedConfirm};

use super::service::{Service, assert_child, attribute, broker, outcome, outcomes};
use crate::support::eventually;

const MESSAGES: usize = 20_000;
/// Confirms that are outstanding at a time.
const WINDOW: usize = 500;

/// One in seven goes nowhere.
const fn is_routed(id: usize) -> bool {
    !id.is_multiple_of(7)
}

fn expected() -> BTreeMap<usize, String> {
    let of = |id| {
        if is_routed(id) {
            "acked"
        } else {
            "returned NO_ROUTE"
        }
    };
    (0..MESSAGES).map(|id| (id, of(id).to_owned())).collect()
}

async fn service(broker: &Broker, queue: &str) -> Service {
    let service = Service::confirming(broker, "gateway").await;
    with_quorum_queue(service, queue).await
}

async fn with_quorum_queue(service: Service, queue: &str) -> Service {
    let mut arguments = FieldTable::default();
    let quorum = AMQPValue::LongString("quorum".into());
    arguments.insert("x-queue-type".into(), quorum);
    service.durable_queue(queue, arguments).await;
    service
}

/// Half of the routed ones are mandatory as well.
async fn publish(service: &Service, queue: &str, id: usize) -> TracedConfirm {
    let key = if is_routed(id) { queue } else { "nowhere" };
    let mandatory = !is_routed(id) || id.is_multiple_of(2);
    let published = service.publish_as(("", key), id, mandatory);
    published.await.unwrap()
}

fn id_of(message: &BasicReturnMessage) -> usize {
    let id = message.properties.message_id().as_ref().unwrap();
    id.as_str().parse().unwrap()
}

async fn assert_every_span(service: &Service) {
    let all = eventually("every span", Duration::from_secs(60), || async {
        (service.ended() >= MESSAGES).then_some(())
    });
    all.await;
    let ended = outcomes(&service.take());
    let wrong = |(id, _): &(&usize, &String)| ended.get(id) != expected().get(id);
    assert!(ended == expected(), "{:?}", ended.iter().find(wrong));
    service.assert_nothing_kept();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_returned_message_is_that_of_its_publish() {
    let broker = broker().await;
    awaited(&broker).await;
    waited_for(&broker).await;
    not_awaited(&broker).await;
    beside_untraced_ones(&broker).await;
    without_confirms(&broker).await;
}

/// What lapin says of one message: whether it brought another one's, or lost its own.
fn is_wrong(id: usize, message: Option<&BasicReturnMessage>) -> bool {
    message.map(id_of) != (!is_routed(id)).then_some(id)
}

async fn awaited(broker: &Broker) {
    let service = service(broker, "awaited").await;
    let mut outstanding = FuturesUnordered::new();
    let mut wrong = 0;
    for id in 0..MESSAGES {
        let confirm = publish(&service, "awaited", id).await;
        outstanding.push(async move { (id, confirm.await.unwrap()) });
        if outstanding.len() >= WINDOW {
            let (id, confirmation) = outstanding.next().await.unwrap();
            wrong += usize::from(is_wrong(id, confirmation.take_message().as_ref()));
        }
    }
    while let Some((id, confirmation)) = outstanding.next().await {
        wrong += usize::from(is_wrong(id, confirmation.take_message().as_ref()));
    }
    eprintln!("of {MESSAGES} confirmations, lapin paired {wrong} wrongly");
    assert_every_span(&service).await;
}

/// Confirms of publishes that are not traced bring the messages of others as well.
async fn beside_untraced_ones(broker: &Broker) {
    let rule = Rule::queue("untraced").untraced();
    let change = |config: TraceConfig| config.with_rule(rule);
    let traced = Service::configured(&broker.amqp_url(), "gateway", change).await;
    let service = with_quorum_queue(traced.with_confirms().await, "untraced").await;
    let mut outstanding = FuturesUnordered::new();
    let mut elsewhere = 0;
    for id in 0..MESSAGES {
        let confirm = publish(&service, "untraced", id).await;
        outstanding.push(async move { (id, confirm.await.unwrap()) });
        if outstanding.len() >= WINDOW {
            let (id, confirmation) = outstanding.next().await.unwrap();
            let is_there = confirmation.take_message().is_some();
            elsewhere += usize::from(is_routed(id) && is_there);
        }
    }
    while outstanding.next().await.is_some() {}
    eprintln!("untraced publishes brought {elsewhere} messages of others");
    let ended = outcomes(&service.take());
    assert_eq!(ended.len(), MESSAGES.div_ceil(7));
    let wrong = ended
        .iter()
        .find(|(_, outcome)| *outcome != "returned NO_ROUTE");
    assert_eq!(wrong, None);
    service.assert_nothing_kept();
}

async fn waited_for(broker: &Broker) {
    let service = service(broker, "waited_for").await;
    for id in 0..MESSAGES {
        drop(publish(&service, "waited_for", id).await);
    }
    let returned = service.channel.wait_for_confirms().await.unwrap();
    let mut returned: Vec<usize> = returned.iter().map(id_of).collect();
    returned.sort_unstable();
    let expect: Vec<usize> = (0..MESSAGES).filter(|id| !is_routed(*id)).collect();
    assert!(returned == expect, "{} of {}", returned.len(), expect.len());
    assert_every_span(&service).await;
}

async fn not_awaited(broker: &Broker) {
    let service = service(broker, "not_awaited").await;
    for id in 0..MESSAGES {
        drop(publish(&service, "not_awaited", id).await);
    }
    let all = eventually("every span", Duration::from_secs(60), || async {
        (service.ended() >= MESSAGES).then_some(())
    });
    all.await;
    let returned = service.channel.wait_for_confirms().await.unwrap();
    assert_eq!(returned.len(), MESSAGES.div_ceil(7));
    assert_every_span(&service).await;
}

/// The publish ended when it was written; what came back is a child of it.
async fn without_confirms(broker: &Broker) {
    let service = Service::connect(broker, "gateway").await;
    for id in 0..10 {
        publish(&service, "waited_for", id).await.await.unwrap();
    }
    let publishes = service.take();
    assert!(publishes.iter().all(|span| outcome(span) == "unconfirmed"));
    let channel = &service.channel;
    let returns = eventually("the messages", Duration::from_secs(10), || async {
        channel.wait_for_confirms().await.unwrap();
        (service.ended() == 2).then(|| service.take())
    });
    let returns = returns.await;
    let id = |span| attribute(span, "messaging.message.id");
    for (span, expect) in returns.iter().zip(["0", "7"]) {
        assert_eq!(span.name, "return nowhere");
        assert_eq!(id(span).as_deref(), Some(expect));
        assert_eq!(attribute(span, "error.type").as_deref(), Some("NO_ROUTE"));
        let publish = publishes.iter().find(|publish| id(publish) == id(span));
        assert_child(span, publish.unwrap());
    }
}

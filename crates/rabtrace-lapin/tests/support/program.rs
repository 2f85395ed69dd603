//! One program that uses lapin in all of its ways, as text: `program!(name, lapin)` makes a module
//! of it on lapin, `program!(name, rabtrace_lapin::traced)` the same on this crate.
//!
//! `run` takes a connection to a broker and the beginning of its queues' names, does everything
//! once, and gives what it saw, line by line. What it saw must not depend on the crate.

macro_rules! program {
    ($module:ident, $($lapin:ident)::+) => {
        mod $module {
            use std::pin::Pin;
            use std::sync::Arc;
            use std::sync::atomic::{AtomicUsize, Ordering};

            use futures_util::future::{join_all, ready};
            use futures_util::{StreamExt, TryStreamExt};
            use $($lapin)::+::message::{
                BasicGetMessage, BasicReturnMessage, Delivery, DeliveryResult,
            };
            use $($lapin)::+::options::*;
            use $($lapin)::+::types::{DeliveryTag, FieldTable, ShortString};
            use $($lapin)::+::{
                Acker, BasicProperties, Channel, Confirmation, Connection, Consumer,
                ConsumerDelegate, Error, PublisherConfirm, Result,
            };
            use tokio::sync::mpsc::{Sender, channel};

            const BODY: &[u8] = b"body";

            /// What there is to see.
            type Seen = Vec<String>;

            /// A publish that waits for its confirm.
            struct Pending {
                label: &'static str,
                confirm: PublisherConfirm,
            }

            struct Application {
                channel: Channel,
                queue: ShortString,
                pending: Vec<Pending>,
                seen: Seen,
            }

            /// A delegate by hand, with state.
            struct Counting {
                count: Arc<AtomicUsize>,
                sender: Sender<String>,
            }

            impl ConsumerDelegate for Counting {
                fn on_new_delivery(
                    &self,
                    delivery: DeliveryResult,
                ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
                    let (count, sender) = (Arc::clone(&self.count), self.sender.clone());
                    Box::pin(async move {
                        let line = match delivery {
                            Ok(Some(delivery)) => {
                                let acked = delivery.ack(BasicAckOptions::default()).await;
                                let count = count.fetch_add(1, Ordering::SeqCst);
                                format!("by hand {count}: {:?}", acked.ok())
                            }
                            Ok(None) => "by hand: cancelled".to_owned(),
                            Err(_) => "by hand: failed".to_owned(),
                        };
                        let _ = sender.try_send(line);
                    })
                }

                fn drop_prefetched_messages(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
                    self.count.store(0, Ordering::SeqCst);
                    Box::pin(ready(()))
                }
            }

            pub(crate) async fn run(connection: &Connection, prefix: &str) -> Result<Seen> {
                let channel = connection.create_channel().await?;
                let other = connection.create_channel().await?;
                let mut application = Application {
                    queue: format!("{prefix}.work").into(),
                    channel: channel.clone(),
                    pending: Vec::new(),
                    seen: vec![format!("{} {}", channel == channel.clone(), channel == other)],
                };
                let confirms = ConfirmSelectOptions::default();
                application.channel.confirm_select(confirms).await?;
                application.declare().await?;
                application.publish_and_confirm().await?;
                application.publish_unroutable().await?;
                application.fetch().await?;
                application.consume().await?;
                application.settle_by_tag().await?;
                application.call_delegates().await?;
                application.recover().await?;
                application.transact(&other).await?;
                application.fail().await;
                Ok(application.seen)
            }

            impl Application {
                fn see(&mut self, line: impl Into<String>) {
                    self.seen.push(line.into());
                }

                /// How many messages are ready in the queue.
                async fn declare(&self) -> Result<u32> {
                    let queue = self.queue.clone();
                    let options = QueueDeclareOptions {
                        exclusive: true,
                        ..QueueDeclareOptions::default()
                    };
                    let arguments = FieldTable::default();
                    let declared = self.channel.queue_declare(queue, options, arguments);
                    Ok(declared.await?.message_count())
                }

                async fn publish(&self) -> Result<PublisherConfirm> {
                    publish(&self.channel, &self.queue, false).await
                }

                /// Publishes, and waits until the queue has it.
                async fn fill(&self, count: usize) -> Result<()> {
                    for _ in 0..count {
                        self.publish().await?.await?;
                    }
                    Ok(())
                }

                async fn publish_and_confirm(&mut self) -> Result<()> {
                    for label in ["one", "two", "three"] {
                        let confirm = self.publish().await?;
                        self.pending.push(Pending { label, confirm });
                    }
                    let pending = self.pending.drain(..);
                    let all = pending.map(|Pending { label, confirm }| async move {
                        (label, confirm.await)
                    });
                    for (label, confirmation) in join_all(all).await {
                        let confirmation: Confirmation = confirmation?;
                        assert_eq!(confirmation, Confirmation::Ack(None));
                        self.see(format!("{label} {}", confirmation.is_ack()));
                    }
                    let mut confirm = self.publish().await?;
                    (&mut confirm).await?;
                    let again = confirm.await.map_err(|error| error.to_string());
                    self.see(format!("again {again:?}"));
                    Ok(())
                }

                async fn publish_unroutable(&mut self) -> Result<()> {
                    let nowhere = ShortString::from("nowhere");
                    let confirmation = publish(&self.channel, &nowhere, true).await?.await?;
                    let Confirmation::Ack(Some(message)) = confirmation else {
                        panic!("not returned: {confirmation:?}");
                    };
                    let error = message.error().map(|error| error.to_string());
                    let BasicReturnMessage { delivery, reply_code, reply_text } = message;
                    let Delivery { acker, routing_key, data, .. } = delivery;
                    let acked = acker.ack(BasicAckOptions::default()).await?;
                    self.see(format!("{reply_code} {reply_text} {routing_key} {data:?}"));
                    self.see(format!("{acked} {} {error:?}", acker.usable()));

                    drop(publish(&self.channel, &nowhere, true).await?);
                    drop(self.publish().await?);
                    let returned = self.channel.wait_for_confirms().await?;
                    for message in returned {
                        self.see(format!("waited {} {:?}", message.routing_key, message.data));
                    }
                    Ok(())
                }

                /// Five messages are in the queue.
                async fn fetch(&mut self) -> Result<()> {
                    let get = || {
                        let options = BasicGetOptions::default();
                        self.channel.basic_get(self.queue.clone(), options)
                    };
                    let mut lines = Vec::new();
                    let message = get().await?.expect("a message");
                    let acked = message.ack(BasicAckOptions::default()).await?;
                    lines.push(format!("got {} {acked}", message.message_count));
                    let message = get().await?.expect("a message");
                    let BasicGetMessage { mut delivery, message_count } = message;
                    let data = std::mem::take(&mut delivery.data);
                    let rejected = delivery.reject(BasicRejectOptions::default()).await?;
                    lines.push(format!("got {message_count} {data:?} {rejected}"));
                    let mut message = get().await?.expect("a message");
                    message.routing_key = "moved".into();
                    let nacked = message.nack(BasicNackOptions::default()).await?;
                    lines.push(format!("got {} {nacked}", message.routing_key));
                    self.seen.extend(lines);
                    let purged = self.channel.queue_purge(self.queue.clone(), QueuePurgeOptions::default());
                    let purged = purged.await?;
                    let empty = self.channel.basic_get(self.queue.clone(), BasicGetOptions { no_ack: true });
                    self.seen.push(format!("purged {purged} {:?}", empty.await?));
                    Ok(())
                }

                async fn consumer(&self, tag: &str, no_ack: bool) -> Result<Consumer> {
                    let options = BasicConsumeOptions { no_ack, ..BasicConsumeOptions::default() };
                    let arguments = FieldTable::default();
                    let queue = self.queue.clone();
                    self.channel.basic_consume(queue, tag.into(), options, arguments).await
                }

                async fn cancel(&self, consumer: Consumer) -> Result<()> {
                    let options = BasicCancelOptions::default();
                    self.channel.basic_cancel(consumer.tag(), options).await
                }

                async fn consume(&mut self) -> Result<()> {
                    self.fill(5).await?;
                    let mut consumer = self.consumer("stream", false).await?;
                    let mut twin = consumer.clone();
                    let same = consumer.tag() == twin.tag() && consumer.queue() == twin.queue();
                    self.see(format!("twins {same} {}", consumer.tag()));

                    let delivery = consumer.next().await.expect("a delivery")?;
                    let Delivery { data, acker, delivery_tag, .. } = delivery;
                    let kept: Acker = acker.clone();
                    let task = tokio::spawn(async move {
                        acker.ack(BasicAckOptions::default()).await
                    });
                    let acked = task.await.expect("the task")?;
                    let again = kept.ack(BasicAckOptions::default()).await?;
                    self.see(format!("{delivery_tag} {data:?} {acked} {again} {}", kept.usable()));

                    let delivery = twin.next().await.expect("a delivery")?;
                    self.see(format!("twin {}", delivery.delivery_tag));
                    delivery.reject(BasicRejectOptions { requeue: false }).await?;

                    let rest: Vec<(DeliveryTag, Acker)> = consumer
                        .by_ref()
                        .take(3)
                        .map_ok(|delivery| (delivery.delivery_tag, delivery.acker))
                        .try_collect()
                        .await?;
                    let tags: Vec<_> = rest.iter().map(|(tag, _)| *tag).collect();
                    let (_, last) = rest.last().expect("three");
                    let multiple = BasicAckOptions { multiple: true };
                    self.see(format!("rest {tags:?} {}", last.ack(multiple).await?));
                    self.cancel(twin).await?;
                    let end = consumer.next().await.is_none();
                    self.see(format!("ended {end}"));

                    self.fill(2).await?;
                    let mut automatic = self.consumer("automatic", true).await?;
                    let bodies: Vec<Vec<u8>> = automatic
                        .by_ref()
                        .take(2)
                        .map(|delivery| delivery.map(|delivery| delivery.data))
                        .try_collect()
                        .await?;
                    self.see(format!("automatic {bodies:?}"));
                    self.cancel(automatic).await
                }

                async fn settle_by_tag(&mut self) -> Result<()> {
                    let consumer = self.consumer("by-tag", false).await?;
                    self.fill(3).await?;
                    let clone = self.channel.clone();
                    let mut deliveries = Box::pin(consumer.clone().enumerate());
                    while let Some((index, delivery)) = deliveries.next().await {
                        let Delivery { delivery_tag: tag, redelivered, .. } = delivery?;
                        self.see(format!("{index} {redelivered}"));
                        match index {
                            0 => {
                                let requeue = BasicNackOptions { requeue: true, ..Default::default() };
                                clone.basic_nack(tag, requeue).await?;
                            }
                            1 => clone.basic_reject(tag, BasicRejectOptions::default()).await?,
                            2 => {}
                            _ => {
                                clone.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
                                break;
                            }
                        }
                    }
                    drop(deliveries);
                    self.cancel(consumer).await?;
                    let left = self.declare().await?;
                    self.see(format!("left {left}"));
                    Ok(())
                }

                async fn call_delegates(&mut self) -> Result<()> {
                    let (sender, mut lines) = channel(8);
                    let count = Arc::new(AtomicUsize::new(0));
                    let counting = Counting { count, sender: sender.clone() };
                    let consumer = self.consumer("by-hand", false).await?;
                    consumer.set_delegate(counting);
                    self.fill(1).await?;
                    self.see(lines.recv().await.expect("a line"));
                    // The broker cancels the consumer of a queue that goes; a client's own cancel is
                    // not told to a delegate.
                    let options = QueueDeleteOptions::default();
                    self.channel.queue_delete(self.queue.clone(), options).await?;
                    self.see(lines.recv().await.expect("a line"));
                    self.declare().await?;

                    let consumer = self.consumer("closure", false).await?;
                    let name = Arc::new("closure".to_owned());
                    consumer.set_delegate(move |delivery: DeliveryResult| {
                        let (name, sender) = (Arc::clone(&name), sender.clone());
                        async move {
                            let Ok(Some(Delivery { data, acker, .. })) = delivery else {
                                return;
                            };
                            let nacked = acker.nack(BasicNackOptions::default()).await;
                            let _ = sender.try_send(format!("{name} {data:?} {:?}", nacked.ok()));
                        }
                    });
                    self.fill(1).await?;
                    self.see(lines.recv().await.expect("a line"));
                    self.cancel(consumer).await
                }

                async fn recover(&mut self) -> Result<()> {
                    self.fill(1).await?;
                    let get = || {
                        let options = BasicGetOptions::default();
                        self.channel.basic_get(self.queue.clone(), options)
                    };
                    let first = get().await?.expect("a message");
                    let options = BasicRecoverOptions { requeue: true };
                    self.channel.basic_recover(options).await?;
                    let second = get().await?.expect("a message");
                    let acked = second.ack(BasicAckOptions::default()).await?;
                    let line = format!("{} {} {acked}", first.redelivered, second.redelivered);
                    self.see(line);
                    Ok(())
                }

                async fn transact(&mut self, channel: &Channel) -> Result<()> {
                    let queue = self.queue.clone();
                    channel.tx_select().await?;
                    let confirmation = publish(channel, &queue, false).await?.await?;
                    channel.tx_rollback().await?;
                    let none = self.declare().await?;
                    publish(channel, &queue, false).await?;
                    channel.tx_commit().await?;
                    let one = self.declare().await?;
                    self.see(format!("{confirmation:?} {none} {one}"));
                    Ok(())
                }

                async fn fail(&mut self) {
                    let gone = self.channel.close(200, "done".into()).await;
                    let publish = self.publish().await.map(|_| ());
                    let consume = self.consumer("late", false).await.map(|_| ());
                    for result in [gone, publish, consume] {
                        let result: std::result::Result<(), Error> = result;
                        self.see(format!("{:?}", result.map_err(|error| error.to_string())));
                    }
                }
            }

            async fn publish(
                channel: &Channel,
                queue: &ShortString,
                mandatory: bool,
            ) -> Result<PublisherConfirm> {
                let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
                let properties = BasicProperties::default().with_priority(1);
                channel.basic_publish("".into(), queue.clone(), options, BODY, properties).await
            }
        }
    };
}

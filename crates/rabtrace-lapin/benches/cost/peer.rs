//! A scripted AMQP 0-9-1 server: just enough of the protocol for a client that publishes with
//! confirms, or consumes.
//!
//! Input: one client per connection, on loopback. Output: an acknowledgement for every publish, and
//! deliveries for every consumer, as many as `queue.purge` of a queue named by a number asks for.
//! The queue's name says which headers its deliveries carry ([`Headers`]). Nothing is routed, kept
//! or limited but by the prefetch. A client that says something else ends its connection.

use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::floor::Headers;
use crate::frames::{self, Arguments, Frame};

/// Serves every client that connects, each on a thread of its own, while the process lives.
///
/// # Errors
///
/// If no port can be bound.
pub(crate) fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || Client::new(stream).and_then(|mut client| client.run()));
        }
    });
    Ok(address)
}

/// A consumer and what it may still get.
struct Consumer {
    tag: String,
    headers: Headers,
    no_ack: bool,
    wanted: u64,
    unsettled: u64,
}

/// One connection; its consumers and tags are those of its only channel in use.
struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    channel: u16,
    prefetch: u64,
    published: u64,
    delivered: u64,
    consumer: Option<Consumer>,
}

impl Client {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            channel: 0,
            prefetch: u64::MAX,
            published: 0,
            delivered: 0,
            consumer: None,
        })
    }

    fn run(&mut self) -> Result<()> {
        self.stream.read_exact(&mut [0; 8])?;
        frames::connection_start(&mut self.output);
        let mut buffer = vec![0; 1 << 18];
        loop {
            self.stream.write_all(&self.output)?;
            self.output.clear();
            let length = self.stream.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.input.extend_from_slice(&buffer[..length]);
            let input = std::mem::take(&mut self.input);
            let mut rest = input.as_slice();
            while let Some((frame, left)) = frames::next(rest) {
                self.frame(&frame)?;
                rest = left;
            }
            self.input = rest.to_vec();
            self.deliver();
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) -> Result<()> {
        let Some((class, method, mut arguments)) = frame.method() else {
            // Headers, bodies and heartbeats: the publish itself was answered.
            return Ok(());
        };
        match (class, method) {
            (10, 11) => frames::tune(&mut self.output),
            (10, 31) | (20, 41) | (10, 51) => {}
            (60, 40) => {
                self.published += 1;
                frames::ack(&mut self.output, frame.channel, self.published);
            }
            (60, 80) => self.settled(&mut arguments),
            (60, 20) => self.consume(frame.channel, &mut arguments),
            (60, 10) => {
                arguments.skip(4);
                self.prefetch = match arguments.u16() {
                    0 => u64::MAX,
                    count => u64::from(count),
                };
                frames::answer(&mut self.output, frame.channel, (60, 11), &[]);
            }
            (50, 30) => {
                arguments.skip(2);
                let count: u64 = arguments.short().parse().unwrap_or_default();
                if let Some(consumer) = &mut self.consumer {
                    consumer.wanted += count;
                }
                frames::answer(&mut self.output, frame.channel, (50, 31), &[0; 4]);
            }
            (10, 40) => frames::answer(&mut self.output, 0, (10, 41), &[0]),
            (20, 10) => {
                (self.published, self.delivered, self.consumer) = (0, 0, None);
                frames::answer(&mut self.output, frame.channel, (20, 11), &[0; 4]);
            }
            (85, 10) => frames::answer(&mut self.output, frame.channel, (85, 11), &[]),
            (60, 30) => {
                let tag = self.consumer.take().map(|consumer| consumer.tag);
                let tag = frames::short(&tag.unwrap_or_default());
                frames::answer(&mut self.output, frame.channel, (60, 31), &tag);
            }
            (20, 40) => frames::answer(&mut self.output, frame.channel, (20, 41), &[]),
            (10, 50) => frames::answer(&mut self.output, 0, (10, 51), &[]),
            _ => return Err(Error::new(ErrorKind::InvalidData, "not in the script")),
        }
        Ok(())
    }

    fn consume(&mut self, channel: u16, arguments: &mut Arguments<'_>) {
        arguments.skip(2);
        let queue = arguments.short().to_owned();
        let _ = arguments.short();
        self.channel = channel;
        self.consumer = Some(Consumer {
            tag: "scripted".to_owned(),
            headers: Headers::named(&queue),
            no_ack: arguments.u8() & 2 != 0,
            wanted: 0,
            unsettled: 0,
        });
        let tag = frames::short("scripted");
        frames::answer(&mut self.output, channel, (60, 21), &tag);
    }

    fn settled(&mut self, arguments: &mut Arguments<'_>) {
        let (tag, multiple) = (arguments.u64(), arguments.u8() & 1 != 0);
        let delivered = self.delivered;
        if let Some(consumer) = &mut self.consumer {
            consumer.unsettled = if multiple {
                delivered.saturating_sub(tag)
            } else {
                consumer.unsettled.saturating_sub(1)
            };
        }
    }

    fn deliver(&mut self) {
        let Some(consumer) = &mut self.consumer else {
            return;
        };
        while consumer.wanted > 0 && (consumer.no_ack || consumer.unsettled < self.prefetch) {
            consumer.wanted -= 1;
            consumer.unsettled += u64::from(!consumer.no_ack);
            self.delivered += 1;
            let headers = consumer.headers.encode(self.delivered);
            let delivery = (self.channel, consumer.tag.as_str(), self.delivered);
            frames::deliver(&mut self.output, delivery, headers.as_deref());
        }
    }
}

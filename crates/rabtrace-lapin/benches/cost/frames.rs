//! Frames of AMQP 0-9-1, as far as the scripted server needs them (specification §2.3.5, §4.2).

/// Bytes of every message's body.
pub(crate) const PAYLOAD: [u8; 256] = [b'x'; 256];
/// Where every message goes.
pub(crate) const QUEUE: &str = "work_queue";

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
/// `basic`, with content.
const BASIC: u16 = 60;
/// The property flag of `headers`.
const HAS_HEADERS: u16 = 1 << 13;

pub(crate) struct Frame<'a> {
    kind: u8,
    pub(crate) channel: u16,
    payload: &'a [u8],
}

/// The first whole frame of `input`, and what follows it.
pub(crate) fn next(input: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (head, rest) = input.split_at_checked(7)?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let frame = Frame {
        kind: head[0],
        channel: u16::from_be_bytes([head[1], head[2]]),
        payload,
    };
    Some((frame, rest.get(1..)?))
}

impl<'a> Frame<'a> {
    /// Class, method and arguments, if it is a method's frame.
    pub(crate) fn method(&self) -> Option<(u16, u16, Arguments<'a>)> {
        let mut arguments = Arguments(self.payload);
        let ids = (self.kind == METHOD).then(|| (arguments.u16(), arguments.u16()))?;
        Some((ids.0, ids.1, arguments))
    }
}

/// The arguments of a method that were not read yet; missing ones are zero.
pub(crate) struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn number(&mut self, bytes: usize) -> u64 {
        let taken = self.take(bytes).iter();
        taken.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    pub(crate) fn skip(&mut self, bytes: usize) {
        self.take(bytes);
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::try_from(self.number(1)).unwrap_or_default()
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::try_from(self.number(2)).unwrap_or_default()
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.number(8)
    }

    pub(crate) fn short(&mut self) -> &'a str {
        let length = usize::from(self.u8());
        std::str::from_utf8(self.take(length)).unwrap_or_default()
    }
}

fn write(output: &mut Vec<u8>, (kind, channel): (u8, u16), payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    output.push(kind);
    output.extend_from_slice(&channel.to_be_bytes());
    output.extend_from_slice(&long_length(length));
    for part in payload {
        output.extend_from_slice(part);
    }
    output.push(END);
}

fn long_length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// A method without content.
pub(crate) fn answer(
    output: &mut Vec<u8>,
    channel: u16,
    (class, method): (u16, u16),
    arguments: &[u8],
) {
    let parts: [&[u8]; 3] = [&class.to_be_bytes(), &method.to_be_bytes(), arguments];
    write(output, (METHOD, channel), &parts);
}

/// A short string.
pub(crate) fn short(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap_or_default()];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A long string, or a field table of these bytes.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    [&long_length(bytes.len()), bytes].concat()
}

pub(crate) fn connection_start(output: &mut Vec<u8>) {
    let arguments = [vec![0, 9], long(&[]), long(b"PLAIN"), long(b"en_US")].concat();
    answer(output, 0, (10, 10), &arguments);
}

/// Many channels, frames of 128 KiB, no heartbeats.
pub(crate) fn tune(output: &mut Vec<u8>) {
    answer(output, 0, (10, 30), &[0x07, 0xFF, 0, 2, 0, 0, 0, 0]);
}

/// The confirm of one publish.
pub(crate) fn ack(output: &mut Vec<u8>, channel: u16, tag: u64) {
    let arguments = [&tag.to_be_bytes()[..], &[0]].concat();
    answer(output, channel, (BASIC, 80), &arguments);
}

/// One message to a consumer, from the default exchange.
pub(crate) fn deliver(
    output: &mut Vec<u8>,
    (channel, consumer, tag): (u16, &str, u64),
    headers: Option<&[u8]>,
) {
    let arguments = [
        &short(consumer)[..],
        &tag.to_be_bytes(),
        &[0],
        &short(""),
        &short(QUEUE),
    ]
    .concat();
    answer(output, channel, (BASIC, 60), &arguments);
    let size = u64::try_from(PAYLOAD.len()).unwrap_or_default();
    let flags = if headers.is_some() { HAS_HEADERS } else { 0 };
    let parts: [&[u8]; 5] = [
        &BASIC.to_be_bytes(),
        &[0, 0],
        &size.to_be_bytes(),
        &flags.to_be_bytes(),
        headers.unwrap_or_default(),
    ];
    write(output, (HEADER, channel), &parts);
    write(output, (BODY, channel), &[&PAYLOAD]);
}

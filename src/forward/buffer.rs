//! Requests that wait for the upstream, oldest first, bounded in bytes.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::model::Signal;

/// One OTLP request as protobuf.
pub(super) type Request = (Signal, Bytes);

/// See the module.
#[derive(Debug)]
pub(super) struct Buffer {
    requests: VecDeque<Request>,
    bytes: usize,
    limit: usize,
}

impl Buffer {
    /// Holds at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            bytes: 0,
            limit,
        }
    }

    /// Adds the newest request, and says how many of the oldest were dropped for it. A request
    /// that is larger than the whole buffer is itself the one dropped.
    pub(super) fn push(&mut self, request: Request) -> u64 {
        if request.1.len() > self.limit {
            return 1;
        }
        let mut dropped = 0;
        while self.bytes + request.1.len() > self.limit && self.pop().is_some() {
            dropped += 1;
        }
        self.bytes += request.1.len();
        self.requests.push_back(request);
        dropped
    }

    /// Puts a request back to the front that could not be sent. If there is no room left, it is
    /// the oldest: it is dropped, and `false` comes back.
    pub(super) fn put_back(&mut self, request: Request) -> bool {
        let fits = self.bytes + request.1.len() <= self.limit;
        if fits {
            self.bytes += request.1.len();
            self.requests.push_front(request);
        }
        fits
    }

    /// Takes the oldest request.
    pub(super) fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.1.len();
        Some(request)
    }

    /// Bytes that wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Request};
    use crate::model::Signal;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn request(length: usize) -> Request {
        (Signal::Traces, Bytes::from(vec![0; length]))
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut buffer = Buffer::new(10);
        assert_eq!(buffer.push(request(4)), 0);
        assert_eq!(buffer.push(request(5)), 0);
        assert_eq!(buffer.push(request(6)), 2, "both older ones had to go");
        assert_eq!(buffer.bytes(), 6);
        assert_eq!(buffer.push(request(11)), 1, "it cannot fit at all");
        assert_eq!(buffer.len(), 1);
        assert!(!buffer.put_back(request(5)));
        assert!(buffer.put_back(request(3)));
        assert_eq!(buffer.pop().map(|(_, bytes)| bytes.len()), Some(3));
    }

    proptest! {
        #[test]
        fn bytes_stay_within_the_limit_and_every_request_is_accounted_for(
            lengths in prop::collection::vec(0_usize..40, 0..60),
        ) {
            let mut buffer = Buffer::new(100);
            let mut dropped = 0;
            for length in &lengths {
                dropped += buffer.push(request(*length));
                prop_assert!(buffer.bytes() <= 100);
            }
            prop_assert_eq!(dropped + buffer.len() as u64, lengths.len() as u64);
            while buffer.pop().is_some() {}
            prop_assert_eq!(buffer.bytes(), 0);
        }
    }
}

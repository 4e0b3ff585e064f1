//! What waits to be written, in the order it will be written: four classes and a byte count.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a payload is, for the order of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Ping, pong, bye, cancel, credit: always first.
    Control,
    /// Requests, responses and notifications of at most [`SMALL`] bytes.
    Small,
    /// Values and progress of requests in flight, and the answers that follow them.
    Items,
    /// Everything larger.
    Bulk,
}

/// A request, response or notification above this many bytes is bulk.
pub const SMALL: usize = 16 * 1024;
/// Echoes that may wait; a peer that causes more and reads nothing breaks the protocol.
pub const MAX_CONTROL: usize = 1024;
/// Places that an empty queue may keep, so that a call now and then needs no allocation.
const KEPT: usize = 8;

/// Queues by class. Strictly control, then small; items and bulk get the same number of bytes.
#[derive(Debug, Default)]
pub struct Outbox {
    control: VecDeque<Control>,
    small: VecDeque<Bytes>,
    items: VecDeque<Bytes>,
    bulk: VecDeque<Bytes>,
    bytes: usize,
    item_bytes: usize,
    echoes: usize,
    /// Bytes that items have written more than bulk, since both had something.
    lead: i64,
}

#[derive(Debug)]
struct Control {
    payload: Bytes,
    echo: bool,
}

impl Outbox {
    /// Adds a payload at the end of its class.
    pub fn push(&mut self, class: Class, payload: Bytes) {
        self.bytes += payload.len();
        match class {
            Class::Control => self.control.push_back(Control { payload, echo: false }),
            Class::Small => self.small.push_back(payload),
            Class::Items => {
                self.item_bytes += payload.len();
                self.items.push_back(payload);
            }
            Class::Bulk => self.bulk.push_back(payload),
        }
    }

    /// Adds a control message that the peer caused by itself: a pong, or the refusal of a request.
    pub fn push_echo(&mut self, payload: Bytes) {
        self.bytes += payload.len();
        self.echoes += 1;
        self.control.push_back(Control { payload, echo: true });
    }

    /// The next payload to write.
    pub fn pop(&mut self) -> Option<Bytes> {
        let payload =
            self.pop_control().or_else(|| self.small.pop_front()).or_else(|| self.pop_items_or_bulk())?;
        self.bytes -= payload.len();
        if self.bytes == 0 {
            self.shrink();
        }
        Some(payload)
    }

    fn pop_control(&mut self) -> Option<Bytes> {
        let Control { payload, echo } = self.control.pop_front()?;
        self.echoes -= usize::from(echo);
        Some(payload)
    }

    // Whoever has written less goes first: one large payload is paid back by many small ones.
    fn pop_items_or_bulk(&mut self) -> Option<Bytes> {
        if self.items.is_empty() || self.bulk.is_empty() {
            self.lead = 0;
            return self.pop_item().or_else(|| self.bulk.pop_front());
        }
        let len = |payload: &Bytes| i64::try_from(payload.len()).unwrap_or(i64::MAX);
        if self.lead <= 0 {
            let payload = self.pop_item()?;
            self.lead = self.lead.saturating_add(len(&payload));
            Some(payload)
        } else {
            let payload = self.bulk.pop_front()?;
            self.lead = self.lead.saturating_sub(len(&payload));
            Some(payload)
        }
    }

    fn pop_item(&mut self) -> Option<Bytes> {
        let payload = self.items.pop_front()?;
        self.item_bytes -= payload.len();
        Some(payload)
    }

    /// An idle connection holds no buffers.
    fn shrink(&mut self) {
        if self.control.capacity() > KEPT {
            self.control = VecDeque::new();
        }
        for queue in [&mut self.small, &mut self.items, &mut self.bulk] {
            if queue.capacity() > KEPT {
                *queue = VecDeque::new();
            }
        }
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of items that wait.
    pub fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    /// How many echoes wait: see [`Outbox::push_echo`].
    pub fn echoes(&self) -> usize {
        self.echoes
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(class: u8, len: usize) -> Bytes {
        Bytes::from(vec![class; len])
    }

    #[test]
    fn control_overtakes_everything() {
        let mut outbox = Outbox::default();
        outbox.push(Class::Bulk, payload(3, 1_000_000));
        outbox.push(Class::Items, payload(2, 10));
        outbox.push(Class::Small, payload(1, 10));
        outbox.push(Class::Control, payload(0, 10));
        let order: Vec<u8> = std::iter::from_fn(|| outbox.pop()).map(|p| p[0]).collect();
        assert_eq!(order, [0, 1, 2, 3]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn items_and_bulk_write_the_same_number_of_bytes() {
        let mut outbox = Outbox::default();
        for _ in 0..64 {
            outbox.push(Class::Items, payload(2, 1024));
        }
        for _ in 0..4 {
            outbox.push(Class::Bulk, payload(3, 16 * 1024));
        }
        let order: Vec<u8> = std::iter::from_fn(|| outbox.pop()).map(|p| p[0]).collect();
        assert_eq!(&order[..19], &[[2, 3].as_slice(), &[2; 16], &[3]].concat());
        assert_eq!(order.iter().filter(|c| **c == 2).count(), 64);
    }

    #[test]
    fn a_burst_leaves_no_buffer_behind() {
        let mut outbox = Outbox::default();
        for class in [Class::Control, Class::Small, Class::Items, Class::Bulk] {
            (0..1000).for_each(|_| outbox.push(class, payload(1, 1)));
        }
        (0..1000).for_each(|_| outbox.push_echo(payload(1, 1)));
        assert_eq!((outbox.echoes(), outbox.bytes()), (1000, 5000));
        while outbox.pop().is_some() {}
        assert_eq!((outbox.echoes(), outbox.bytes()), (0, 0));
        let kept = [outbox.small.capacity(), outbox.items.capacity(), outbox.bulk.capacity()];
        assert!(outbox.control.capacity() <= KEPT && kept.iter().all(|kept| *kept <= KEPT));
    }
}

//! What came in on a connection and has not been read yet.
//!
//! Both protocols parse in place: bytes go from the socket into this buffer and are looked at where they lie. It grows
//! only with bytes that really came (never with a length a peer merely announced), and gives memory back when empty.

/// Room made for one read; also what an idle connection costs.
const ROOM: usize = 4 * 1024;

/// Above this capacity an empty buffer is given back.
const KEEP: usize = 64 * 1024;

/// A buffer that is filled at its end and read at its beginning.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Everything before it has been read.
    taken: usize,
}

impl Inbox {
    /// What has come and not been taken.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Marks the first `count` unread bytes as read.
    pub fn take(&mut self, count: usize) {
        assert!(count <= self.unread().len(), "took more than had come");
        self.taken += count;
    }

    /// Where to read into: append to it. It has spare capacity.
    pub fn space(&mut self) -> &mut Vec<u8> {
        // Whoever asks for space has taken every whole message, so at most one unfinished message moves, and only once.
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > KEEP {
            self.bytes = Vec::new();
        }
        if self.bytes.capacity() - self.bytes.len() < ROOM / 4 {
            self.bytes.reserve(ROOM);
        }
        &mut self.bytes
    }

    /// How much memory it holds.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_the_order_they_came() {
        let mut inbox = Inbox::default();
        inbox.space().extend_from_slice(b"hello world");
        inbox.take(6);
        inbox.space().extend_from_slice(b"!");
        assert_eq!(inbox.unread(), b"world!");
    }

    #[test]
    fn an_empty_inbox_gives_large_buffers_back() {
        let mut inbox = Inbox::default();
        inbox.space().extend_from_slice(&vec![0; 1 << 20]);
        inbox.take(1 << 20);
        inbox.space();
        assert!(inbox.capacity() <= ROOM);
    }
}

//! The read buffer of a connection: received bytes that are not parsed yet.
//!
//! Both protocols parse in place, without copying. The buffer grows only with received bytes, never by a length that a
//! peer announces, and frees its memory when it is empty.

/// The spare capacity for a read.
const READ_SIZE: usize = 4 * 1024;

/// An empty buffer with a larger capacity is freed. An idle connection keeps this much for each direction, which is
/// within its reserve: it keeps nothing of the memory that connections share.
const RETAINED_MAX: usize = 8 * 1024;

/// A byte queue: bytes are appended at the end and consumed from the start.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    /// The number of bytes consumed.
    consumed: usize,
}

impl ReadBuffer {
    /// The bytes that are not consumed.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.consumed..]
    }

    /// Consumes the first `count` unread bytes.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.unread().len(), "consumed more than was received");
        self.consumed += count;
    }

    /// The vector to append received bytes to; it has spare capacity.
    pub fn space(&mut self) -> &mut Vec<u8> {
        // Callers have consumed all complete messages, so at most one incomplete message moves, and only once.
        if self.consumed > 0 {
            self.bytes.drain(..self.consumed);
            self.consumed = 0;
        }
        if self.bytes.is_empty() && self.bytes.capacity() > RETAINED_MAX {
            self.bytes = Vec::new();
        }
        if self.bytes.capacity() - self.bytes.len() < READ_SIZE / 4 {
            self.bytes.reserve(READ_SIZE);
        }
        &mut self.bytes
    }

    /// The allocated memory, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_the_order_they_came() {
        let mut buffer = ReadBuffer::default();
        buffer.space().extend_from_slice(b"hello world");
        buffer.consume(6);
        buffer.space().extend_from_slice(b"!");
        assert_eq!(buffer.unread(), b"world!");
    }

    #[test]
    fn a_large_buffer_is_freed_once_it_is_empty() {
        let mut buffer = ReadBuffer::default();
        buffer.space().extend_from_slice(&vec![0; 1 << 20]);
        buffer.consume(1 << 20);
        buffer.space();
        assert!(buffer.capacity() <= READ_SIZE);
    }
}

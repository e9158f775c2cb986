//! A memory budget that all connections of a listener share.
//!
//! Each connection has a reserve of its own, so that it can always work; what it buffers beyond that is charged to the
//! shared budget. A connection asks before it grows, so the total stays within `limit` plus the reserves, but for the
//! growth of one read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The share of one connection in the memory of all.
#[derive(Debug)]
pub struct MemoryAccount {
    shared: Arc<AtomicUsize>,
    limit: usize,
    reserved: usize,
    /// Bytes of the buffers for input and for output.
    input: usize,
    output: usize,
    /// The part of `shared` that is its own.
    charged: usize,
}

impl MemoryAccount {
    /// An account of a connection that may buffer `reserved` bytes itself, and beyond that a part of the `limit` bytes
    /// of all.
    pub fn new(shared: Arc<AtomicUsize>, limit: usize, reserved: usize) -> Self {
        Self { shared, limit, reserved, input: 0, output: 0, charged: 0 }
    }

    /// Sets the size of the input buffer.
    ///
    /// # Errors
    /// It grew, and all connections together are above the limit. The bytes are charged nevertheless, because they are
    /// in use: close the connection, or set a smaller size.
    pub fn input(&mut self, bytes: usize) -> Result<(), String> {
        self.input = bytes;
        self.count()
    }

    /// Sets the size of the output buffer.
    ///
    /// # Errors
    /// As [`input`](Self::input).
    pub fn output(&mut self, bytes: usize) -> Result<(), String> {
        self.output = bytes;
        self.count()
    }

    fn count(&mut self) -> Result<(), String> {
        let wanted = (self.input + self.output).saturating_sub(self.reserved);
        let charged = std::mem::replace(&mut self.charged, wanted);
        if wanted <= charged {
            self.shared.fetch_sub(charged - wanted, Relaxed);
            return Ok(());
        }
        let grown = wanted - charged;
        match self.shared.fetch_add(grown, Relaxed) + grown > self.limit {
            true => Err(format!("all clients together have more than {} bytes buffered", self.limit)),
            false => Ok(()),
        }
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        self.shared.fetch_sub(self.charged, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_share_one_budget_and_give_it_back() {
        let shared = Arc::new(AtomicUsize::new(0));
        let mut a = MemoryAccount::new(shared.clone(), 1_000, 100);
        let mut b = MemoryAccount::new(shared.clone(), 1_000, 100);
        assert!(a.input(100).is_ok());
        assert_eq!(shared.load(Relaxed), 0, "the reserved bytes are not charged");
        assert!(a.output(900).is_ok());
        assert!(b.input(300).is_err());
        assert!(b.input(150).is_ok(), "getting smaller is never refused");
        drop(a);
        assert!(b.input(1_000).is_ok());
        drop(b);
        assert_eq!(shared.load(Relaxed), 0);
    }
}

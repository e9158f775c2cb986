//! The requests and replies of the store.

use std::sync::Arc;

use crate::wire::{Decoder, Encoder, Malformed, Message};

/// A key's value, cheap to clone.
pub type Value = Arc<[u8]>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The fencing token of the sender's lease.
    pub token: u64,
    /// The key. Each request has one, and is executed atomically.
    pub key: &'a [u8],
    pub command: Command<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    Get,
    Set(&'a [u8]),
    Delete,
    /// Increment the integer; a missing key counts as 0.
    Increment,
}

/// A reply.
///
/// `version` orders replies about the same key. Of two replies the one with the higher version reflects every write
/// that the other does; replies with equal versions agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Get`.
    Value {
        /// The value; `None` if the key is missing.
        value: Option<Value>,
        version: u64,
    },
    /// To `Set`.
    Written { version: u64 },
    /// To `Delete`.
    Deleted { existed: bool, version: u64 },
    /// To `Increment`.
    Incremented { number: i64, version: u64 },
    /// To `Increment`, without effect: the value is not an integer, or the largest one.
    NotAnInteger {
        /// The value, for the sender's cache.
        value: Value,
        version: u64,
    },
    /// Refused without effect: the store has seen a newer token.
    Stale { newest: u64 },
    /// Refused without effect: the memory limit is reached.
    OutOfMemory,
}

fn unknown(tag: u8) -> Malformed {
    Malformed(format!("unknown tag {tag:#04x} in the protocol of the store"))
}

impl<'a> Message<'a> for Request<'a> {
    fn encode(&self, out: &mut Encoder<'_>) {
        let (tag, value) = match self.command {
            Command::Get => (0x10, None),
            Command::Set(value) => (0x11, Some(value)),
            Command::Delete => (0x12, None),
            Command::Increment => (0x13, None),
        };
        out.tag(tag).number(self.token).bytes(self.key);
        if let Some(value) = value {
            out.bytes(value);
        }
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        if !(0x10..=0x13).contains(&tag) {
            return Err(unknown(tag));
        }
        let (token, key) = (input.number()?, input.bytes()?);
        let command = match tag {
            0x10 => Command::Get,
            0x11 => Command::Set(input.bytes()?),
            0x12 => Command::Delete,
            _ => Command::Increment,
        };
        Ok(Self { token, key, command })
    }
}

impl<'a> Message<'a> for Reply {
    fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Reply::Value { value: None, version } => out.tag(0x18).number(*version),
            Reply::Value { value: Some(value), version } => out.tag(0x19).number(*version).bytes(value),
            Reply::Written { version } => out.tag(0x1a).number(*version),
            Reply::Deleted { existed, version } => out.tag(0x1b).number(*version).number(u64::from(*existed)),
            Reply::Incremented { number, version } => {
                out.tag(0x1c).number(*version).number(number.cast_unsigned())
            }
            Reply::NotAnInteger { value, version } => out.tag(0x1d).number(*version).bytes(value),
            Reply::Stale { newest } => out.tag(0x1e).number(*newest),
            Reply::OutOfMemory => out.tag(0x1f),
        };
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        Ok(match tag {
            0x18 => Reply::Value { version: input.number()?, value: None },
            0x19 => Reply::Value { version: input.number()?, value: Some(input.bytes()?.into()) },
            0x1a => Reply::Written { version: input.number()? },
            0x1b => Reply::Deleted { version: input.number()?, existed: input.number()? != 0 },
            0x1c => Reply::Incremented { version: input.number()?, number: input.number()?.cast_signed() },
            0x1d => Reply::NotAnInteger { version: input.number()?, value: input.bytes()?.into() },
            0x1e => Reply::Stale { newest: input.number()? },
            0x1f => Reply::OutOfMemory,
            _ => return Err(unknown(tag)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FrameDecoder;
    use crate::wire::tests::round_trip;

    #[test]
    fn every_request_survives_a_round_trip() {
        for command in [Command::Get, Command::Set(b"value"), Command::Delete, Command::Increment] {
            let request = Request { token: 7, key: b"key", command };
            assert_eq!(round_trip(&mut FrameDecoder::default(), &request), request);
        }
    }

    #[test]
    fn every_reply_survives_a_round_trip() {
        let value: Value = b"value"[..].into();
        for reply in [
            Reply::Value { value: None, version: 1 },
            Reply::Value { value: Some(value.clone()), version: 2 },
            Reply::Written { version: 3 },
            Reply::Deleted { existed: true, version: 4 },
            Reply::Deleted { existed: false, version: 5 },
            Reply::Incremented { number: i64::MIN, version: 6 },
            Reply::NotAnInteger { value, version: 7 },
            Reply::Stale { newest: u64::MAX },
            Reply::OutOfMemory,
        ] {
            assert_eq!(round_trip(&mut FrameDecoder::default(), &reply), reply);
        }
    }
}

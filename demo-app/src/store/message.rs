//! What a store is asked, and what it answers.

use std::sync::Arc;

use crate::wire::{Body, Fields, Malformed, Message};

/// A key's value; sharing it copies nothing.
pub type Value = Arc<[u8]>;

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The fencing token of the sender's lease.
    pub token: u64,
    /// The key it is about: every request is about one, and each is carried out as a whole.
    pub key: &'a [u8],
    /// What to do with it.
    pub command: Command<'a>,
}

/// What to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Read its value.
    Get,
    /// Give it a value.
    Set(&'a [u8]),
    /// Remove it.
    Delete,
    /// Add one to the number it holds; a key that is not there holds 0.
    Increment,
}

/// What came of a request.
///
/// `as_of` dates what is said about the key. Dates of one key are exact: of two replies the one with the later date
/// knows of every write the other knows of, and of equal dates both say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Get`.
    Value {
        /// The value, if the key is there.
        value: Option<Value>,
        /// When.
        as_of: u64,
    },
    /// To `Set`.
    Written {
        /// When.
        as_of: u64,
    },
    /// To `Delete`.
    Deleted {
        /// Whether it was there.
        existed: bool,
        /// When.
        as_of: u64,
    },
    /// To `Increment`.
    Incremented {
        /// The number it now holds.
        number: i64,
        /// When.
        as_of: u64,
    },
    /// To `Increment`, which did nothing: the key holds something that cannot be added to.
    NotAddable {
        /// What it holds. It is said because the sender learns something about the key here too.
        value: Value,
        /// When.
        as_of: u64,
    },
    /// Refused, nothing was done: a later lease has been seen.
    Stale {
        /// The newest token seen.
        newest: u64,
    },
    /// Refused, nothing was done: no memory left.
    Full,
}

/// Reads a tag's message, or says that a store has no such.
fn unknown(tag: u8) -> Malformed {
    Malformed(format!("tag {tag:#04x} is nothing one asks a store or hears from one"))
}

impl<'a> Message<'a> for Request<'a> {
    fn encode(&self, out: &mut Body<'_>) {
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

    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let tag = fields.tag()?;
        if !(0x10..=0x13).contains(&tag) {
            return Err(unknown(tag));
        }
        let (token, key) = (fields.number()?, fields.bytes()?);
        let command = match tag {
            0x10 => Command::Get,
            0x11 => Command::Set(fields.bytes()?),
            0x12 => Command::Delete,
            _ => Command::Increment,
        };
        Ok(Self { token, key, command })
    }
}

impl<'a> Message<'a> for Reply {
    fn encode(&self, out: &mut Body<'_>) {
        match self {
            Reply::Value { value: None, as_of } => out.tag(0x18).number(*as_of),
            Reply::Value { value: Some(value), as_of } => out.tag(0x19).number(*as_of).bytes(value),
            Reply::Written { as_of } => out.tag(0x1a).number(*as_of),
            Reply::Deleted { existed, as_of } => out.tag(0x1b).number(*as_of).number(u64::from(*existed)),
            Reply::Incremented { number, as_of } => {
                out.tag(0x1c).number(*as_of).number(number.cast_unsigned())
            }
            Reply::NotAddable { value, as_of } => out.tag(0x1d).number(*as_of).bytes(value),
            Reply::Stale { newest } => out.tag(0x1e).number(*newest),
            Reply::Full => out.tag(0x1f),
        };
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let tag = fields.tag()?;
        Ok(match tag {
            0x18 => Reply::Value { as_of: fields.number()?, value: None },
            0x19 => Reply::Value { as_of: fields.number()?, value: Some(fields.bytes()?.into()) },
            0x1a => Reply::Written { as_of: fields.number()? },
            0x1b => Reply::Deleted { as_of: fields.number()?, existed: fields.number()? != 0 },
            0x1c => Reply::Incremented { as_of: fields.number()?, number: fields.number()?.cast_signed() },
            0x1d => Reply::NotAddable { as_of: fields.number()?, value: fields.bytes()?.into() },
            0x1e => Reply::Stale { newest: fields.number()? },
            0x1f => Reply::Full,
            _ => return Err(unknown(tag)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frames;
    use crate::wire::tests::round_trip;

    #[test]
    fn every_request_comes_back_as_it_was_sent() {
        for command in [Command::Get, Command::Set(b"value"), Command::Delete, Command::Increment] {
            let request = Request { token: 7, key: b"key", command };
            assert_eq!(round_trip(&mut Frames::default(), &request), request);
        }
    }

    #[test]
    fn every_reply_comes_back_as_it_was_sent() {
        let value: Value = b"value"[..].into();
        for reply in [
            Reply::Value { value: None, as_of: 1 },
            Reply::Value { value: Some(value.clone()), as_of: 2 },
            Reply::Written { as_of: 3 },
            Reply::Deleted { existed: true, as_of: 4 },
            Reply::Deleted { existed: false, as_of: 5 },
            Reply::Incremented { number: i64::MIN, as_of: 6 },
            Reply::NotAddable { value, as_of: 7 },
            Reply::Stale { newest: u64::MAX },
            Reply::Full,
        ] {
            assert_eq!(round_trip(&mut Frames::default(), &reply), reply);
        }
    }
}

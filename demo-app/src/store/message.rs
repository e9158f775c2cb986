//! The requests and replies of the store.

use std::time::Duration;

pub use crate::storage::Value;
use crate::wire::{Decoder, Encoder, Malformed, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The fencing token of the sender's lease.
    pub token: u64,
    /// The key, on which the request is executed atomically. `Claim` and `Count` have none: it is empty.
    pub key: &'a [u8],
    pub command: Command<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Refuse all other tokens from now on. The first request of every lease.
    Claim,
    Get,
    Set {
        value: &'a [u8],
        condition: Condition,
        expiry: Expiry,
        /// Whether the reply has the previous value.
        wants_previous: bool,
    },
    Delete,
    /// Add to the integer; a missing key counts as 0.
    Add(i64),
    /// Let the key expire after this time.
    Expire(Duration),
    /// Let the key not expire.
    Persist,
    /// Count all keys.
    Count,
}

impl<'a> Command<'a> {
    /// An unconditional `Set` of a value that does not expire.
    #[cfg(test)]
    pub fn set(value: &'a [u8]) -> Self {
        Command::Set { value, condition: Condition::Always, expiry: Expiry::Never, wants_previous: false }
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Command::Claim | Command::Get | Command::Count)
    }
}

/// When a `Set` is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Always,
    IfMissing,
    IfPresent,
}

/// When the value of a `Set` expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Never,
    After(Duration),
    /// When the value before would have.
    Keep,
}

/// A key's value at a version.
///
/// `version` orders replies about the same key. Of two replies the one with the higher version reflects every write
/// that the other does; replies with equal versions agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The value; `None` if the key is missing.
    pub value: Option<Value>,
    /// How long it has until it expires, if it does.
    pub ttl: Option<Duration>,
    pub version: u64,
}

/// A reply. About versions see [`State`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Claim`.
    Claimed,
    /// To `Get`; to `Set` and `Add` if they had no effect: the condition does not hold, or the value is not an integer
    /// that can be added to.
    Found(State),
    /// To `Set`.
    Written {
        /// The time to live of the new value, if it expires.
        ttl: Option<Duration>,
        /// If it was asked for.
        previous: Option<Value>,
        version: u64,
    },
    /// To `Delete`.
    Deleted { existed: bool, version: u64 },
    /// To `Add`.
    Added { number: i64, ttl: Option<Duration>, version: u64 },
    /// To `Expire` and `Persist`: whether something changed. Whatever is cached about the key is out of date.
    Changed { changed: bool, version: u64 },
    /// To `Count`.
    Counted(u64),
    /// Refused without effect: this is not the token that was claimed last, or not claimed from this life of the store.
    Stale {
        /// The newest token that was claimed; 0 if none was.
        newest: u64,
    },
    /// To `Claim`, refused without effect: no lease daemon can have granted this token.
    AbsurdToken,
    /// Refused without effect: the memory limit is reached.
    OutOfMemory,
}

fn unknown(tag: u8) -> Malformed {
    Malformed(format!("unknown tag {tag:#04x} in the protocol of the store"))
}

impl<'a> Message<'a> for Request<'a> {
    fn encode(&self, out: &mut Encoder<'_>) {
        let tag = match self.command {
            Command::Claim => 0x10,
            Command::Get => 0x11,
            Command::Set { .. } => 0x12,
            Command::Delete => 0x13,
            Command::Add(_) => 0x14,
            Command::Expire(_) => 0x15,
            Command::Persist => 0x16,
            Command::Count => 0x17,
        };
        out.tag(tag).number(self.token).bytes(self.key);
        match self.command {
            Command::Set { value, condition, expiry, wants_previous } => {
                let condition = match condition {
                    Condition::Always => 0,
                    Condition::IfMissing => 1,
                    Condition::IfPresent => 2,
                };
                out.tag(condition).tag(u8::from(wants_previous));
                match expiry {
                    Expiry::Never => out.tag(0),
                    Expiry::After(ttl) => out.tag(1).duration(ttl),
                    Expiry::Keep => out.tag(2),
                };
                out.bytes(value);
            }
            Command::Add(number) => drop(out.number(number.cast_unsigned())),
            Command::Expire(ttl) => drop(out.duration(ttl)),
            Command::Claim | Command::Get | Command::Delete | Command::Persist | Command::Count => {}
        }
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        if !(0x10..=0x17).contains(&tag) {
            return Err(unknown(tag));
        }
        let (token, key) = (input.number()?, input.bytes()?);
        let command = match tag {
            0x10 => Command::Claim,
            0x11 => Command::Get,
            0x12 => {
                let condition = match input.tag()? {
                    0 => Condition::Always,
                    1 => Condition::IfMissing,
                    2 => Condition::IfPresent,
                    other => return Err(Malformed(format!("unknown condition {other}"))),
                };
                let wants_previous = input.tag()? != 0;
                let expiry = match input.tag()? {
                    0 => Expiry::Never,
                    1 => Expiry::After(input.duration()?),
                    2 => Expiry::Keep,
                    other => return Err(Malformed(format!("unknown expiry {other}"))),
                };
                Command::Set { value: input.bytes()?, condition, expiry, wants_previous }
            }
            0x13 => Command::Delete,
            0x14 => Command::Add(input.number()?.cast_signed()),
            0x15 => Command::Expire(input.duration()?),
            0x16 => Command::Persist,
            _ => Command::Count,
        };
        Ok(Self { token, key, command })
    }
}

impl<'a> Message<'a> for Reply {
    fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Reply::Claimed => out.tag(0x30),
            Reply::Found(State { value, ttl, version }) => {
                value_or_none(out.tag(0x31).number(*version), value.as_ref());
                ttl_or_none(out, *ttl)
            }
            Reply::Written { ttl, previous, version } => {
                value_or_none(out.tag(0x32).number(*version), previous.as_ref());
                ttl_or_none(out, *ttl)
            }
            Reply::Deleted { existed, version } => out.tag(0x33).number(*version).tag(u8::from(*existed)),
            Reply::Added { number, ttl, version } => {
                out.tag(0x34).number(*version).number(number.cast_unsigned());
                ttl_or_none(out, *ttl)
            }
            Reply::Changed { changed, version } => out.tag(0x35).number(*version).tag(u8::from(*changed)),
            Reply::Counted(count) => out.tag(0x36).number(*count),
            Reply::Stale { newest } => out.tag(0x37).number(*newest),
            Reply::AbsurdToken => out.tag(0x38),
            Reply::OutOfMemory => out.tag(0x39),
        };
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        let flag = |input: &mut Decoder<'a>| Ok::<_, Malformed>(input.tag()? != 0);
        Ok(match tag {
            0x30 => Reply::Claimed,
            0x31 => {
                let version = input.number()?;
                Reply::Found(State { value: optional_value(input)?, ttl: optional_ttl(input)?, version })
            }
            0x32 => {
                let version = input.number()?;
                Reply::Written { previous: optional_value(input)?, ttl: optional_ttl(input)?, version }
            }
            0x33 => Reply::Deleted { version: input.number()?, existed: flag(input)? },
            0x34 => {
                let (version, number) = (input.number()?, input.number()?.cast_signed());
                Reply::Added { number, ttl: optional_ttl(input)?, version }
            }
            0x35 => Reply::Changed { version: input.number()?, changed: flag(input)? },
            0x36 => Reply::Counted(input.number()?),
            0x37 => Reply::Stale { newest: input.number()? },
            0x38 => Reply::AbsurdToken,
            0x39 => Reply::OutOfMemory,
            _ => return Err(unknown(tag)),
        })
    }
}

fn value_or_none(out: &mut Encoder<'_>, value: Option<&Value>) {
    match value {
        None => out.tag(0),
        Some(value) => out.tag(1).bytes(value),
    };
}

fn optional_value(input: &mut Decoder<'_>) -> Result<Option<Value>, Malformed> {
    Ok(match input.tag()? {
        0 => None,
        _ => Some(input.bytes()?.into()),
    })
}

fn ttl_or_none<'a, 'b>(out: &'a mut Encoder<'b>, ttl: Option<Duration>) -> &'a mut Encoder<'b> {
    match ttl {
        None => out.tag(0),
        Some(ttl) => out.tag(1).duration(ttl),
    }
}

fn optional_ttl(input: &mut Decoder<'_>) -> Result<Option<Duration>, Malformed> {
    Ok(match input.tag()? {
        0 => None,
        _ => Some(input.duration()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FrameDecoder;
    use crate::wire::tests::round_trip;

    const TTL: Duration = Duration::from_millis(1500);

    #[test]
    fn every_request_survives_a_round_trip() {
        let mut commands = vec![
            Command::Claim,
            Command::Get,
            Command::Delete,
            Command::Add(-3),
            Command::Expire(TTL),
            Command::Persist,
            Command::Count,
        ];
        for condition in [Condition::Always, Condition::IfMissing, Condition::IfPresent] {
            for expiry in [Expiry::Never, Expiry::After(TTL), Expiry::Keep] {
                for wants_previous in [false, true] {
                    commands.push(Command::Set { value: b"value", condition, expiry, wants_previous });
                }
            }
        }
        for command in commands {
            let request = Request { token: 7, key: b"key", command };
            assert_eq!(round_trip(&mut FrameDecoder::default(), &request), request);
        }
    }

    #[test]
    fn every_reply_survives_a_round_trip() {
        let value: Option<Value> = Some(b"value"[..].into());
        for reply in [
            Reply::Claimed,
            Reply::Found(State { value: None, ttl: None, version: 1 }),
            Reply::Found(State { value: value.clone(), ttl: Some(TTL), version: 2 }),
            Reply::Written { ttl: None, previous: value.clone(), version: 3 },
            Reply::Written { ttl: Some(TTL), previous: None, version: 3 },
            Reply::Deleted { existed: true, version: 4 },
            Reply::Deleted { existed: false, version: 5 },
            Reply::Added { number: i64::MIN, ttl: Some(TTL), version: 6 },
            Reply::Changed { changed: true, version: 7 },
            Reply::Counted(8),
            Reply::Stale { newest: u64::MAX },
            Reply::AbsurdToken,
            Reply::OutOfMemory,
        ] {
            assert_eq!(round_trip(&mut FrameDecoder::default(), &reply), reply);
        }
    }
}

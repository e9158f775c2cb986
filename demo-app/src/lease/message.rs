//! The requests and replies of the lease daemon.

use std::time::Duration;

use crate::wire::{Decoder, Encoder, Malformed, Message};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    pub name: &'a str,
    pub command: Command<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Grant the lease if it is free.
    Acquire {
        /// The sender's address, for the `Held` replies to others.
        holder: &'a str,
        /// The time to live, from the grant.
        ttl: Duration,
        /// The newest token that the sender knows of; 0 if it knows none. The grant's is higher.
        newest: u64,
    },
    Renew {
        /// The token of the grant.
        token: u64,
        /// The time to live, from the renewal.
        ttl: Duration,
    },
    Release {
        /// The token of the grant.
        token: u64,
    },
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Acquire` and `Renew`: the sender holds it for `ttl`, from a moment between request and reply.
    Granted {
        /// Higher than that of every earlier grant of this life of the daemon.
        token: u64,
        /// At most what was requested.
        ttl: Duration,
    },
    /// To `Acquire`: the lease is held.
    Held {
        holder: String,
        /// The time until it expires, unless it is renewed.
        remaining: Duration,
    },
    /// To `Acquire`: the daemon was restarted, and leases granted before may still be held.
    Restarted {
        /// The time until they have expired.
        remaining: Duration,
    },
    /// To `Renew` and `Release`: the sender no longer holds it.
    Lost,
    /// To `Release`: the lease is free.
    Released,
    /// Refused without effect, for this reason.
    Refused(String),
}

fn unknown(tag: u8) -> Malformed {
    Malformed(format!("unknown tag {tag:#04x} in the protocol of the lease daemon"))
}

impl<'a> Message<'a> for Request<'a> {
    fn encode(&self, out: &mut Encoder<'_>) {
        let name = self.name.as_bytes();
        match self.command {
            Command::Acquire { holder, ttl, newest } => {
                out.tag(0x20).bytes(name).bytes(holder.as_bytes()).duration(ttl).number(newest);
            }
            Command::Renew { token, ttl } => {
                out.tag(0x21).bytes(name).number(token).duration(ttl);
            }
            Command::Release { token } => {
                out.tag(0x22).bytes(name).number(token);
            }
        }
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        if !(0x20..=0x22).contains(&tag) {
            return Err(unknown(tag));
        }
        let name = input.text()?;
        let command = match tag {
            0x20 => {
                let (holder, ttl) = (input.text()?, input.duration()?);
                Command::Acquire { holder, ttl, newest: input.number()? }
            }
            0x21 => Command::Renew { token: input.number()?, ttl: input.duration()? },
            _ => Command::Release { token: input.number()? },
        };
        Ok(Self { name, command })
    }
}

impl<'a> Message<'a> for Reply {
    fn encode(&self, out: &mut Encoder<'_>) {
        match self {
            Reply::Granted { token, ttl } => out.tag(0x28).number(*token).duration(*ttl),
            Reply::Held { holder, remaining } => out.tag(0x29).bytes(holder.as_bytes()).duration(*remaining),
            Reply::Restarted { remaining } => out.tag(0x2d).duration(*remaining),
            Reply::Lost => out.tag(0x2a),
            Reply::Released => out.tag(0x2b),
            Reply::Refused(reason) => out.tag(0x2c).bytes(reason.as_bytes()),
        };
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        let tag = input.tag()?;
        Ok(match tag {
            0x28 => Reply::Granted { token: input.number()?, ttl: input.duration()? },
            0x29 => Reply::Held { holder: input.text()?.into(), remaining: input.duration()? },
            0x2a => Reply::Lost,
            0x2b => Reply::Released,
            0x2c => Reply::Refused(input.text()?.into()),
            0x2d => Reply::Restarted { remaining: input.duration()? },
            _ => return Err(unknown(tag)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FrameDecoder;
    use crate::wire::tests::round_trip;

    const TTL: Duration = Duration::from_millis(1500);

    #[test]
    fn every_request_survives_a_round_trip() {
        for command in [
            Command::Acquire { holder: "me", ttl: TTL, newest: 5 },
            Command::Renew { token: 7, ttl: TTL },
            Command::Release { token: 8 },
        ] {
            let request = Request { name: "kv", command };
            assert_eq!(round_trip(&mut FrameDecoder::default(), &request), request);
        }
    }

    #[test]
    fn every_reply_survives_a_round_trip() {
        for reply in [
            Reply::Granted { token: 1, ttl: TTL },
            Reply::Held { holder: "you".into(), remaining: TTL },
            Reply::Restarted { remaining: TTL },
            Reply::Lost,
            Reply::Released,
            Reply::Refused("too many leases".into()),
        ] {
            assert_eq!(round_trip(&mut FrameDecoder::default(), &reply), reply);
        }
    }
}

//! What a lease daemon is asked, and what it answers.

use std::time::Duration;

use crate::wire::{Body, Fields, Malformed, Message};

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The lease it is about.
    pub name: &'a str,
    /// What to do with it.
    pub command: Command<'a>,
}

/// What to do with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// Grant it, if nobody holds it.
    Acquire {
        /// Who asks; told to others who ask while it is held.
        holder: &'a str,
        /// For how long, from the moment it is granted.
        ttl: Duration,
    },
    /// Let it last longer.
    Renew {
        /// The token it was granted with.
        token: u64,
        /// For how long, from the moment it is renewed.
        ttl: Duration,
    },
    /// Give it back.
    Release {
        /// The token it was granted with.
        token: u64,
    },
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `Acquire` and `Renew`: it is the sender's for `ttl`, counted from a moment between request and reply.
    Granted {
        /// Larger than that of any grant before.
        token: u64,
        /// May be shorter than what was asked for.
        ttl: Duration,
    },
    /// To `Acquire`: somebody holds it.
    Held {
        /// Who.
        holder: String,
        /// For how much longer, unless it is renewed.
        remaining: Duration,
    },
    /// To `Renew` and `Release`: it is not the sender's any more.
    Lost,
    /// To `Release`: anybody may have it now.
    Released,
    /// Nothing was done, because.
    Refused(String),
}

fn unknown(tag: u8) -> Malformed {
    Malformed(format!("tag {tag:#04x} is nothing one asks a lease daemon or hears from one"))
}

impl<'a> Message<'a> for Request<'a> {
    fn encode(&self, out: &mut Body<'_>) {
        let name = self.name.as_bytes();
        match self.command {
            Command::Acquire { holder, ttl } => {
                out.tag(0x20).bytes(name).bytes(holder.as_bytes()).duration(ttl);
            }
            Command::Renew { token, ttl } => {
                out.tag(0x21).bytes(name).number(token).duration(ttl);
            }
            Command::Release { token } => {
                out.tag(0x22).bytes(name).number(token);
            }
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let tag = fields.tag()?;
        if !(0x20..=0x22).contains(&tag) {
            return Err(unknown(tag));
        }
        let name = fields.text()?;
        let command = match tag {
            0x20 => Command::Acquire { holder: fields.text()?, ttl: fields.duration()? },
            0x21 => Command::Renew { token: fields.number()?, ttl: fields.duration()? },
            _ => Command::Release { token: fields.number()? },
        };
        Ok(Self { name, command })
    }
}

impl<'a> Message<'a> for Reply {
    fn encode(&self, out: &mut Body<'_>) {
        match self {
            Reply::Granted { token, ttl } => out.tag(0x28).number(*token).duration(*ttl),
            Reply::Held { holder, remaining } => out.tag(0x29).bytes(holder.as_bytes()).duration(*remaining),
            Reply::Lost => out.tag(0x2a),
            Reply::Released => out.tag(0x2b),
            Reply::Refused(why) => out.tag(0x2c).bytes(why.as_bytes()),
        };
    }

    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
        let tag = fields.tag()?;
        Ok(match tag {
            0x28 => Reply::Granted { token: fields.number()?, ttl: fields.duration()? },
            0x29 => Reply::Held { holder: fields.text()?.into(), remaining: fields.duration()? },
            0x2a => Reply::Lost,
            0x2b => Reply::Released,
            0x2c => Reply::Refused(fields.text()?.into()),
            _ => return Err(unknown(tag)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frames;
    use crate::wire::tests::round_trip;

    const TTL: Duration = Duration::from_millis(1500);

    #[test]
    fn every_request_comes_back_as_it_was_sent() {
        for command in [
            Command::Acquire { holder: "me", ttl: TTL },
            Command::Renew { token: 7, ttl: TTL },
            Command::Release { token: 8 },
        ] {
            let request = Request { name: "kv", command };
            assert_eq!(round_trip(&mut Frames::default(), &request), request);
        }
    }

    #[test]
    fn every_reply_comes_back_as_it_was_sent() {
        for reply in [
            Reply::Granted { token: 1, ttl: TTL },
            Reply::Held { holder: "you".into(), remaining: TTL },
            Reply::Lost,
            Reply::Released,
            Reply::Refused("too many leases".into()),
        ] {
            assert_eq!(round_trip(&mut Frames::default(), &reply), reply);
        }
    }
}

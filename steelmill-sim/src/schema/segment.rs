//! Kinds of TCP segments, of which a fault loses one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Segment {
    /// A connect's first segment. Lost, it is sent again after a second.
    Syn,
    /// The answer to it.
    SynAck,
    /// The answer to that, with which a handshake ends: one side is connected, the other is not until more arrives.
    Ack,
    /// Bytes of a stream. What follows waits until it was sent again.
    Data,
    /// The end of a stream. If it comes with bytes, these are lost with it.
    Fin,
    /// The acknowledgement of the second FIN, after which nothing is left of a connection.
    LastAck,
    /// A reset, and the refusal of a connect. A reset is not sent again, so that the other side hears of it only when it sends something.
    Reset,
}

impl Segment {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Syn, Self::SynAck, Self::Ack, Self::Data, Self::Fin, Self::LastAck, Self::Reset];
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syn => "SYN",
            Self::SynAck => "SYN-ACK",
            Self::Ack => "ACK of a handshake",
            Self::Data => "segment with data",
            Self::Fin => "FIN",
            Self::LastAck => "last ACK",
            Self::Reset => "RST",
        })
    }
}

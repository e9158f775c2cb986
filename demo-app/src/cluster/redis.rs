//! A minimal Redis client for the simulated cluster.

use std::io;
use std::time::Duration;

use steelmill_core::Clock as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::read_buffer::ReadBuffer;
use crate::world::sim::Machine;
use crate::world::{Clock, TcpStream};

/// The deepest nesting of arrays in a reply.
const DEPTH_MAX: usize = 4;

/// The longest string or array in a reply.
const LENGTH_MAX: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

pub struct Connection {
    stream: TcpStream,
    buffer: ReadBuffer,
    clock: Clock,
    reply_timeout: Duration,
}

impl Connection {
    /// Connects `machine` to `address`. Each operation times out after `reply_timeout`.
    pub async fn open(machine: &Machine, address: &str, reply_timeout: Duration) -> io::Result<Self> {
        let clock = machine.clock();
        let stream = clock.timeout(reply_timeout, machine.network().connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: ReadBuffer::default(), clock, reply_timeout })
    }

    pub async fn send(&mut self, commands: &[&[String]]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for arguments in commands {
            bytes.extend_from_slice(format!("*{}\r\n", arguments.len()).as_bytes());
            for argument in *arguments {
                bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
                bytes.extend_from_slice(argument.as_bytes());
                bytes.extend_from_slice(b"\r\n");
            }
        }
        self.clock.timeout(self.reply_timeout, self.stream.write_all(&bytes)).await?
    }

    /// The next reply.
    ///
    /// # Errors
    /// A timeout, or malformed bytes. The connection cannot be used any further.
    pub async fn receive(&mut self) -> io::Result<Reply> {
        loop {
            if let Some((reply, length)) = parse(self.buffer.unread(), 0)? {
                self.buffer.consume(length);
                return Ok(reply);
            }
            let read = self.stream.read_buf(self.buffer.space());
            if self.clock.timeout(self.reply_timeout, read).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first reply in `bytes` with its length; `None` if it is incomplete.
fn parse(bytes: &[u8], depth: usize) -> io::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let (kind, text) = (bytes[0], String::from_utf8_lossy(&bytes[1..end.max(1)]));
    let mut at = end + 2;
    let reply = match kind {
        b'+' => Reply::Simple(text.into_owned()),
        b'-' => Reply::Error(text.into_owned()),
        b':' => Reply::Integer(text.parse().map_err(malformed)?),
        b'$' if text == "-1" => Reply::Bulk(None),
        b'$' => {
            let length = length(&text)?;
            if bytes.len() < at + length + 2 {
                return Ok(None);
            }
            let value = bytes[at..at + length].to_vec();
            at += length + 2;
            Reply::Bulk(Some(value))
        }
        b'*' if depth < DEPTH_MAX => {
            let mut items = Vec::new();
            for _ in 0..length(&text)? {
                let Some((item, length)) = parse(&bytes[at..], depth + 1)? else {
                    return Ok(None);
                };
                at += length;
                items.push(item);
            }
            Reply::Array(items)
        }
        _ => {
            return Err(malformed(format!("'{}' does not begin a reply", kind.escape_ascii())));
        }
    };
    Ok(Some((reply, at)))
}

fn length(text: &str) -> io::Result<usize> {
    match text.parse() {
        Ok(length) if length <= LENGTH_MAX => Ok(length),
        Ok(length) => Err(malformed(format!("a length of {length}"))),
        Err(error) => Err(malformed(error)),
    }
}

fn malformed(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_once_it_is_whole() {
        let bytes = b"*4\r\n$2\r\nok\r\n$-1\r\n*1\r\n:-7\r\n+fine\r\n";
        for cut in 0..bytes.len() {
            assert!(matches!(parse(&bytes[..cut], 0), Ok(None)), "cut at {cut}");
        }
        let items = vec![
            Reply::Bulk(Some(b"ok".to_vec())),
            Reply::Bulk(None),
            Reply::Array(vec![Reply::Integer(-7)]),
            Reply::Simple("fine".into()),
        ];
        assert_eq!(parse(bytes, 0).ok().flatten(), Some((Reply::Array(items), bytes.len())));
    }

    #[test]
    fn malformed_replies_are_refused() {
        for bytes in [&b"?\r\n"[..], b":x\r\n", b"$-2\r\n", b"$99999999\r\n", b"*-1\r\n", b"\r\n"] {
            assert!(parse(bytes, 0).is_err(), "{}", bytes.escape_ascii());
        }
        assert!(parse(&b"*1\r\n".repeat(100), 0).is_err());
    }
}

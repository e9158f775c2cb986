//! The protocol between the daemons: length-prefixed frames over TCP, integers in big-endian order.
//!
//! A frame is a length of four bytes and a body; a body is one [`Message`], a tag and its fields. The first frame in
//! each direction is a [`Hello`], which names the protocol, its version and the service, so that a connection to a
//! wrong server is detected before any request. Then replies have the order of their requests, so there are no request
//! ids. A length is checked before memory is allocated for it, and a message must fill its body exactly. The protocols
//! of store and lease share no tag.

use std::time::Duration;

use crate::read_buffer::ReadBuffer;

/// The longest body, in bytes. More than the longest key and value ([`crate::resp::Limits`]) with their framing.
pub const BODY_MAX: usize = (4 << 20) + 1024;

const PREFIX_LENGTH: usize = 4;

/// The name of this protocol, the first field of every [`Hello`].
const PROTOCOL: &str = "steelmill-demo";

/// The version of this protocol. Daemons of different versions refuse each other.
const VERSION: u64 = 2;

/// The longest body of a [`Hello`], in bytes.
const HELLO_MAX: usize = 256;

/// Bytes that are no message of this protocol. The connection has to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes: {0}")]
pub struct Malformed(pub String);

/// A message that is the body of a frame.
pub trait Message<'a>: Sized {
    fn encode(&self, out: &mut Encoder<'_>);

    /// Decodes a message.
    ///
    /// # Errors
    /// The bytes are not an encoded message of this type.
    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed>;
}

/// Appends `message` to `out` as one frame.
pub fn write_frame<'a>(out: &mut Vec<u8>, message: &impl Message<'a>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_LENGTH]);
    message.encode(&mut Encoder(out));
    let length = out.len() - start - PREFIX_LENGTH;
    assert!(length <= BODY_MAX, "a message of {length} bytes; its sender must limit it to {BODY_MAX}");
    let length = u32::try_from(length).expect("BODY_MAX fits 32 bits");
    out[start..start + PREFIX_LENGTH].copy_from_slice(&length.to_be_bytes());
}

/// The first frame in each direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The service that the server is, or that the client wants.
    pub service: &'a str,
    /// A random number that identifies one life of the server: a restarted one has another. 0 from a client.
    pub life: u64,
}

impl<'a> Message<'a> for Hello<'a> {
    fn encode(&self, out: &mut Encoder<'_>) {
        out.tag(0x01).bytes(PROTOCOL.as_bytes()).number(VERSION);
        out.bytes(self.service.as_bytes()).number(self.life);
    }

    fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
        if input.tag()? != 0x01 || input.text()? != PROTOCOL {
            return Err(Malformed("its first message is no hello of this protocol".into()));
        }
        match input.number()? {
            VERSION => Ok(Self { service: input.text()?, life: input.number()? }),
            other => {
                Err(Malformed(format!("it speaks version {other} of the protocol, here it is {VERSION}")))
            }
        }
    }
}

/// An incremental decoder of the frames of one connection.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: ReadBuffer,
    /// The length of the frame last returned, which is consumed by the next call because the message borrows it.
    returned: usize,
}

impl FrameDecoder {
    /// The buffer to append received bytes to. Call it only after [`next`](Self::next) has returned `None`.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.buffer.space()
    }

    /// Whether no incomplete frame is left, so that the peer may close the connection.
    pub fn is_empty(&self) -> bool {
        self.buffer.unread().len() == self.returned
    }

    /// The memory of the buffer, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The peer's hello, the first message of a connection; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The peer speaks another protocol; the error quotes what it sent.
    pub fn hello(&mut self) -> Result<Option<Hello<'_>>, Malformed> {
        let received = self.buffer.unread();
        let length = received.first_chunk().map(|prefix| u32::from_be_bytes(*prefix) as usize);
        if length.is_some_and(|length| length == 0 || length > HELLO_MAX) {
            return Err(Malformed(format!(
                "it speaks another protocol: its first bytes are {}",
                crate::resp::quoted(received)
            )));
        }
        self.next()
    }

    /// The next complete message; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The input is malformed, and so is all that follows.
    pub fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, Malformed> {
        self.buffer.consume(std::mem::take(&mut self.returned));
        let Some(prefix) = self.buffer.unread().first_chunk::<PREFIX_LENGTH>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).expect("usize has at least 32 bits");
        if length > BODY_MAX {
            return Err(Malformed(format!("a frame of {length} bytes, at most {BODY_MAX} are allowed")));
        }
        let end = PREFIX_LENGTH + length;
        if self.buffer.unread().len() < end {
            return Ok(None);
        }
        self.returned = end;
        let mut input = Decoder(&self.buffer.unread()[PREFIX_LENGTH..end]);
        let message = M::decode(&mut input)?;
        match input.0.len() {
            0 => Ok(Some(message)),
            rest => Err(Malformed(format!("{rest} bytes after the end of a message"))),
        }
    }
}

/// Encodes the body of a frame.
#[derive(Debug)]
pub struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    /// Appends the tag, the type of the message.
    pub fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a duration, in whole microseconds.
    pub fn duration(&mut self, duration: Duration) -> &mut Self {
        self.number(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

/// Decodes the body of a frame.
#[derive(Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) =
            self.0.split_at_checked(length).ok_or_else(|| Malformed("a message is truncated".into()))?;
        self.0 = rest;
        Ok(field)
    }

    /// The tag, the type of the message.
    ///
    /// # Errors
    /// The message is truncated.
    pub fn tag(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// An integer.
    ///
    /// # Errors
    /// The message is truncated.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A byte string.
    ///
    /// # Errors
    /// The message is truncated.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A text.
    ///
    /// # Errors
    /// The message is truncated, or the text is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a name is not UTF-8".into()))
    }

    /// A duration.
    ///
    /// # Errors
    /// The message is truncated.
    pub fn duration(&mut self) -> Result<Duration, Malformed> {
        Ok(Duration::from_micros(self.number()?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `message`, encoded and decoded again by `frames`.
    pub(crate) fn round_trip<'a, M: Message<'a>>(frames: &'a mut FrameDecoder, message: &M) -> M {
        write_frame(frames.space(), message);
        frames.next().expect("well-formed").expect("whole")
    }

    #[derive(Debug, PartialEq)]
    struct Note<'a>(u64, &'a str);

    impl<'a> Message<'a> for Note<'a> {
        fn encode(&self, out: &mut Encoder<'_>) {
            out.tag(1).number(self.0).bytes(self.1.as_bytes());
        }

        fn decode(input: &mut Decoder<'a>) -> Result<Self, Malformed> {
            input.tag()?;
            Ok(Self(input.number()?, input.text()?))
        }
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Note(7, "seven"));
        write_frame(&mut bytes, &Note(u64::MAX, ""));
        for cut in 0..bytes.len() {
            let mut frames = FrameDecoder::default();
            let mut notes = Vec::new();
            for piece in [&bytes[..cut], &bytes[cut..]] {
                frames.space().extend_from_slice(piece);
                while let Some(Note(number, text)) = frames.next().expect("well-formed") {
                    notes.push((number, text.to_owned()));
                }
            }
            assert_eq!(notes, [(7, "seven".to_owned()), (u64::MAX, String::new())], "cut at {cut}");
            assert!(frames.is_empty());
        }
    }

    #[test]
    fn a_peer_of_another_protocol_is_named_by_what_it_says() {
        let greet = |bytes: &[u8]| {
            let mut frames = FrameDecoder::default();
            frames.space().extend_from_slice(bytes);
            frames.hello().map(|hello| hello.map(|hello| (hello.service.to_owned(), hello.life)))
        };
        let mut hello = Vec::new();
        write_frame(&mut hello, &Hello { service: "store", life: 7 });
        assert_eq!(greet(&hello), Ok(Some(("store".to_owned(), 7))));
        for cut in 0..hello.len() {
            assert_eq!(greet(&hello[..cut]), Ok(None), "cut at {cut}");
        }
        let refusal = |bytes: &[u8]| greet(bytes).expect_err("malformed").to_string();
        assert!(
            refusal(b"-ERR unknown command\r\n").contains(r"its first bytes are '-ERR unknown command\r\n'")
        );
        assert!(refusal(&[0, 0, 0, 0]).contains(r"'\x00\x00\x00\x00'"));
        assert!(refusal(&[0, 0, 0, 1, 0x10]).contains("no hello of this protocol"));
        let version = hello.windows(8).position(|bytes| bytes == VERSION.to_be_bytes()).expect("it has one");
        hello[version + 7] = 99;
        assert!(refusal(&hello).contains("version 99 of the protocol, here it is 2"));
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let refusal = |bytes: &[u8]| {
            let mut frames = FrameDecoder::default();
            frames.space().extend_from_slice(bytes);
            frames.next::<Note<'_>>().expect_err("malformed").to_string()
        };
        assert!(refusal(b"GET / HTTP/1.1").contains("a frame of 1195725856 bytes"));
        assert!(refusal(&[0, 0, 0, 1, 1]).contains("is truncated"));
        let mut long = Vec::new();
        write_frame(&mut long, &Note(1, "x"));
        long[3] += 1;
        long.push(0);
        assert!(refusal(&long).contains("1 bytes after the end"));
        let endless = [&[0, 0, 0, 17, 1][..], &[0; 8], &[0xff; 8]].concat();
        assert!(refusal(&endless).contains("is truncated"));
    }
}

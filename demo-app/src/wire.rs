//! How the demo's own daemons talk: length-prefixed frames over TCP, numbers big-endian.
//!
//! A frame is four bytes of length and a body; a body is one [`Message`]: a tag, then its fields. Each side answers
//! frames in the order they came, so nothing needs an id. A length is checked before anything is stored for it, and a
//! body must be used up exactly. The two protocols share no tag: a gateway connected to the wrong daemon is told so.

use std::time::Duration;

use crate::inbox::Inbox;

/// The longest body. Above the longest key and value together ([`crate::resp::Limits`]), with their framing.
pub const BODY_MAX: usize = (4 << 20) + 1024;

const PREFIX: usize = 4;

/// Bytes that are no message of this protocol. The connection they came on is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed bytes: {0}")]
pub struct Malformed(pub String);

/// What fits in a frame's body.
pub trait Message<'a>: Sized {
    /// Appends it.
    fn encode(&self, out: &mut Body<'_>);

    /// Reads it back.
    ///
    /// # Errors
    /// The bytes are not such a message.
    fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed>;
}

/// Appends `message` to `out` as one frame.
pub fn write_frame<'a>(out: &mut Vec<u8>, message: &impl Message<'a>) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    message.encode(&mut Body(out));
    let length = out.len() - start - PREFIX;
    assert!(
        length <= BODY_MAX,
        "a message of {length} bytes; what makes messages must limit them to {BODY_MAX}"
    );
    let length = u32::try_from(length).expect("BODY_MAX fits 32 bits");
    out[start..start + PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// Takes a connection's bytes apart into frames.
#[derive(Debug, Default)]
pub struct Frames {
    inbox: Inbox,
    /// The frame last returned. It stays until the next is asked for, because its message borrows it.
    returned: usize,
}

impl Frames {
    /// Where to read into; ask only when [`next`](Self::next) has said that nothing is complete.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.inbox.space()
    }

    /// Whether nothing is left over: the other side may close here.
    pub fn is_empty(&self) -> bool {
        self.inbox.unread().len() == self.returned
    }

    /// The next whole message.
    ///
    /// # Errors
    /// The bytes are no such message, and what follows them means nothing.
    pub fn next<'a, M: Message<'a>>(&'a mut self) -> Result<Option<M>, Malformed> {
        self.inbox.take(std::mem::take(&mut self.returned));
        let Some(prefix) = self.inbox.unread().first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).expect("usize has at least 32 bits");
        if length > BODY_MAX {
            return Err(Malformed(format!("a frame of {length} bytes, at most {BODY_MAX} are taken")));
        }
        let end = PREFIX + length;
        if self.inbox.unread().len() < end {
            return Ok(None);
        }
        self.returned = end;
        let mut fields = Fields(&self.inbox.unread()[PREFIX..end]);
        let message = M::decode(&mut fields)?;
        match fields.0.len() {
            0 => Ok(Some(message)),
            rest => Err(Malformed(format!("{rest} bytes after the end of a message"))),
        }
    }
}

/// A body being written.
#[derive(Debug)]
pub struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    /// Says which message it is.
    pub fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    /// A number.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A byte string.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A length of time, in whole microseconds.
    pub fn duration(&mut self, duration: Duration) -> &mut Self {
        self.number(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

/// A body being read.
#[derive(Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn split(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (field, rest) =
            self.0.split_at_checked(length).ok_or_else(|| Malformed("a message ends too early".into()))?;
        self.0 = rest;
        Ok(field)
    }

    /// Which message it is.
    ///
    /// # Errors
    /// The message has ended.
    pub fn tag(&mut self) -> Result<u8, Malformed> {
        Ok(self.split(1)?[0])
    }

    /// A number.
    ///
    /// # Errors
    /// The message has ended.
    pub fn number(&mut self) -> Result<u64, Malformed> {
        let bytes = self.split(8)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A byte string.
    ///
    /// # Errors
    /// The message has ended.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.number()?;
        self.split(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// A text.
    ///
    /// # Errors
    /// The message has ended, or this is not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a name is not UTF-8".into()))
    }

    /// A length of time.
    ///
    /// # Errors
    /// The message has ended.
    pub fn duration(&mut self) -> Result<Duration, Malformed> {
        Ok(Duration::from_micros(self.number()?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `message` after a journey through `frames`.
    pub(crate) fn round_trip<'a, M: Message<'a>>(frames: &'a mut Frames, message: &M) -> M {
        write_frame(frames.space(), message);
        frames.next().expect("well-formed").expect("whole")
    }

    #[derive(Debug, PartialEq)]
    struct Note<'a>(u64, &'a str);

    impl<'a> Message<'a> for Note<'a> {
        fn encode(&self, out: &mut Body<'_>) {
            out.tag(1).number(self.0).bytes(self.1.as_bytes());
        }

        fn decode(fields: &mut Fields<'a>) -> Result<Self, Malformed> {
            fields.tag()?;
            Ok(Self(fields.number()?, fields.text()?))
        }
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Note(7, "seven"));
        write_frame(&mut bytes, &Note(u64::MAX, ""));
        for cut in 0..bytes.len() {
            let mut frames = Frames::default();
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
    fn what_is_no_message_is_refused() {
        let refusal = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.space().extend_from_slice(bytes);
            frames.next::<Note<'_>>().expect_err("malformed").to_string()
        };
        assert!(refusal(b"GET / HTTP/1.1").contains("a frame of 1195725856 bytes"));
        assert!(refusal(&[0, 0, 0, 1, 1]).contains("ends too early"));
        let mut long = Vec::new();
        write_frame(&mut long, &Note(1, "x"));
        long[3] += 1;
        long.push(0);
        assert!(refusal(&long).contains("1 bytes after the end"));
        let endless = [&[0, 0, 0, 17, 1][..], &[0; 8], &[0xff; 8]].concat();
        assert!(refusal(&endless).contains("ends too early"));
    }
}

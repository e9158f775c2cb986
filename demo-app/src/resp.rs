//! RESP, the Redis protocol, in the versions 2 and 3: an incremental request parser and a reply buffer.
//!
//! Requests are the same in both versions. Replies differ in what clients ask for with `HELLO`: in version 3 a missing
//! value and a map have types of their own.
//!
//! Clients are untrusted, and the network splits commands anywhere. [`RequestParser`] keeps its position, so that a
//! command sent byte by byte costs no more than one sent at once. It allocates nothing per command, and checks every
//! length against a limit before it stores anything. A request is an array of bulk strings, so nesting needs no bound:
//! an array inside an array is malformed.

use std::io::Write as _;
use std::ops::Range;

use crate::read_buffer::ReadBuffer;

/// The longest header line, in bytes: a type byte, an `i64`, a line end, and some spare.
const HEADER_MAX: usize = 32;

/// The most bytes of a client's input that an error message quotes.
const QUOTED_MAX: usize = 64;

/// Limits of a client's requests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes in one argument.
    pub argument: usize,
    /// Arguments in one command, including its name.
    pub arguments: usize,
    /// Bytes in one command, including framing.
    pub command: usize,
    /// Bytes in an inline command (one line of text).
    pub inline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { argument: 1 << 20, arguments: 1024, command: 4 << 20, inline: 16 * 1024 }
    }
}

/// Not RESP, or above a limit. The rest of the connection cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct Malformed(String);

fn malformed<T>(reason: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(reason.into()))
}

/// An incremental parser of a client's commands.
#[derive(Debug)]
pub struct RequestParser {
    limits: Limits,
    buffer: ReadBuffer,
    /// The command being parsed. Its offsets count from the first unread byte of the buffer.
    partial: Partial,
    /// The length of the command last returned, which is consumed by the next call because the result borrows it.
    returned: usize,
}

/// The state of an incomplete command.
#[derive(Debug, Default)]
struct Partial {
    /// The offset of the next byte to parse.
    at: usize,
    /// There is no line end between `at` and this offset.
    scanned: usize,
    /// Arguments not parsed yet, once the array header is.
    remaining: Option<usize>,
    /// The length of the current argument, once its header is parsed.
    length: Option<usize>,
    arguments: Vec<Range<usize>>,
}

impl RequestParser {
    pub fn new(limits: Limits) -> Self {
        Self { limits, buffer: ReadBuffer::default(), partial: Partial::default(), returned: 0 }
    }

    /// The buffer to append received bytes to. Call it only after [`next`](Self::next) has returned `None`.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.buffer.space()
    }

    /// The memory of the read buffer, in bytes.
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether the buffer holds an incomplete command.
    pub fn has_partial(&self) -> bool {
        self.buffer.unread().len() > self.returned
    }

    /// The next complete command, which has at least a name; `None` if more bytes are needed.
    ///
    /// # Errors
    /// The input is malformed, and so is all that follows: reply with the error, and close the connection.
    pub fn next(&mut self) -> Result<Option<Arguments<'_>>, Malformed> {
        self.buffer.consume(std::mem::take(&mut self.returned));
        while self.partial.read(self.buffer.unread(), &self.limits)? {
            let length = self.partial.at;
            self.partial.at = 0;
            self.partial.scanned = 0;
            self.partial.remaining = None;
            if self.partial.arguments.is_empty() {
                self.buffer.consume(length); // Redis ignores an empty line and an empty array
                continue;
            }
            self.returned = length;
            return Ok(Some(Arguments { bytes: self.buffer.unread(), ranges: &self.partial.arguments }));
        }
        Ok(None)
    }
}

impl Partial {
    /// Continues to parse; returns whether the command is complete.
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        if self.remaining.is_none() {
            self.arguments.clear();
            match bytes.first() {
                None => return Ok(false),
                Some(b'*') => {}
                Some(_) => return self.read_inline(bytes, limits),
            }
            let Some(count) = self.header(bytes)? else {
                return Ok(false);
            };
            match usize::try_from(count.max(0)) {
                Ok(count) if count <= limits.arguments => self.remaining = Some(count),
                _ => {
                    return malformed(format!(
                        "invalid multibulk length: {count} arguments, at most {} are allowed",
                        limits.arguments
                    ));
                }
            }
        }
        while self.remaining.is_some_and(|remaining| remaining > 0) {
            if !self.read_argument(bytes, limits)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read_argument(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        let length = match self.length {
            Some(length) => length,
            None => {
                match bytes.get(self.at) {
                    None => return Ok(false),
                    Some(b'$') => {}
                    Some(other) => {
                        return malformed(format!("expected '$', got '{}'", other.escape_ascii()));
                    }
                }
                let Some(length) = self.header(bytes)? else {
                    return Ok(false);
                };
                match usize::try_from(length) {
                    Ok(length) if length > limits.argument => {
                        return malformed(format!(
                            "invalid bulk length: {length} bytes, at most {} are allowed",
                            limits.argument
                        ));
                    }
                    Ok(length) if self.at + length > limits.command => {
                        return malformed(format!("command longer than {} bytes", limits.command));
                    }
                    Ok(length) => *self.length.insert(length),
                    Err(_) => return malformed(format!("invalid bulk length: {length}")),
                }
            }
        };
        let end = self.at + length;
        if bytes.len() < end + 2 {
            return Ok(false);
        }
        if &bytes[end..end + 2] != b"\r\n" {
            return malformed("expected a line end after an argument");
        }
        self.arguments.push(self.at..end);
        self.at = end + 2;
        self.length = None;
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        Ok(true)
    }

    /// Parses the number in a header line such as `*3` or `$11`.
    fn header(&mut self, bytes: &[u8]) -> Result<Option<i64>, Malformed> {
        let Some(line) = self.line(bytes, HEADER_MAX, "a length has no end of line")? else {
            return Ok(None);
        };
        let digits = &bytes[line][1..];
        match std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()) {
            Some(number) => Ok(Some(number)),
            None => malformed(format!("invalid length '{}'", digits.escape_ascii())),
        }
    }

    /// Parses an inline command: one line of words separated by blanks, as typed in a terminal.
    fn read_inline(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        // Checked at the first byte: otherwise garbage would wait for a line end that never arrives.
        if !matches!(bytes[0], b' ' | b'\t' | b'\r' | b'\n' | b'a'..=b'z' | b'A'..=b'Z') {
            return malformed(format!(
                "a command starts with '*' or a letter, not '{}'",
                bytes[0].escape_ascii()
            ));
        }
        let Some(line) = self.line(bytes, limits.inline, "too big inline request")? else {
            return Ok(false);
        };
        let start = line.start;
        let text = &bytes[line];
        if let Some(odd) = text.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
            return malformed(format!("'{}' in an inline command", odd.escape_ascii()));
        }
        // A browser can be made to send these to any port of its own host; see CVE-2016-10517 of Redis.
        if text.starts_with(b"POST ") || text.starts_with(b"Host:") {
            return malformed("this is not an HTTP server");
        }
        if text.contains(&b'"') || text.contains(&b'\'') {
            return malformed("quotes are not supported in an inline command");
        }
        let mut from = 0;
        for word in text.split(|byte| matches!(byte, b' ' | b'\t')) {
            if !word.is_empty() {
                if self.arguments.len() == limits.arguments {
                    return malformed(format!("more than {} arguments", limits.arguments));
                }
                self.arguments.push(start + from..start + from + word.len());
            }
            from += word.len() + 1;
        }
        Ok(true)
    }

    /// The next line without its line end; `None` until it is complete.
    fn line(
        &mut self,
        bytes: &[u8],
        limit: usize,
        too_long: &str,
    ) -> Result<Option<Range<usize>>, Malformed> {
        let from = self.scanned.max(self.at);
        let end = bytes[from..].iter().position(|byte| *byte == b'\n').map(|position| from + position);
        self.scanned = end.unwrap_or(bytes.len());
        if self.scanned - self.at > limit {
            return malformed(too_long);
        }
        let Some(end) = end else { return Ok(None) };
        let start = std::mem::replace(&mut self.at, end + 1);
        let line = bytes[start..end].strip_suffix(b"\r").unwrap_or(&bytes[start..end]);
        Ok(Some(start..start + line.len()))
    }
}

/// The arguments of one command, beginning with its name.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Arguments<'a> {
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|range| &self.bytes[range.clone()])
    }

    /// The arguments from index `first` on.
    pub fn from(&self, first: usize) -> Arguments<'a> {
        Arguments { bytes: self.bytes, ranges: self.ranges.get(first..).unwrap_or_default() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.ranges.iter().map(move |range| &bytes[range.clone()])
    }
}

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// What a connection begins with.
    #[default]
    Resp2,
    Resp3,
}

impl Protocol {
    /// Its number in `HELLO`.
    pub fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// The buffer of a connection's encoded replies that are not sent yet.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    /// The version in which replies are encoded.
    pub protocol: Protocol,
}

/// The capacity that a buffer keeps when it is empty, as `read_buffer`'s.
const RETAINED_MAX: usize = 8 * 1024;

/// The least growth of a buffer, and the most beyond what is needed, so that it grows seldom, but not far.
const GROWTH_MIN: usize = 1024;
const GROWTH_MAX: usize = 1 << 20;

impl Replies {
    /// The capacity that the buffer would have with room for `additional` bytes.
    pub fn capacity_with(&self, additional: usize) -> usize {
        let needed = self.bytes.len() + additional;
        if needed <= self.bytes.capacity() {
            return self.bytes.capacity();
        }
        needed + needed.clamp(GROWTH_MIN, GROWTH_MAX)
    }

    /// Makes room for `additional` bytes, by growing to [`capacity_with`](Self::capacity_with).
    pub fn reserve(&mut self, additional: usize) {
        let grown = self.capacity_with(additional);
        self.bytes.reserve_exact(grown - self.bytes.len());
    }

    /// Appends a simple string such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', format_args!("{text}"));
    }

    /// Appends an error; `text` begins with its code in capitals.
    pub fn error(&mut self, text: impl std::fmt::Display) {
        let start = self.bytes.len();
        self.line(b'-', format_args!("{text}"));
        // An error is one line, even if it quotes a client's line ends.
        let end = self.bytes.len() - 2;
        for byte in &mut self.bytes[start..end] {
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
    }

    pub fn integer(&mut self, number: i64) {
        self.line(b':', format_args!("{number}"));
    }

    pub fn bulk(&mut self, bytes: &[u8]) {
        self.line(b'$', format_args!("{}", bytes.len()));
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Appends a bulk string, or the null reply.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.bytes.extend_from_slice(match self.protocol {
                Protocol::Resp2 => b"$-1\r\n",
                Protocol::Resp3 => b"_\r\n",
            }),
        }
    }

    /// Appends a map header; the next `2 * length` replies are keys and values in turn.
    pub fn map(&mut self, length: usize) {
        match self.protocol {
            Protocol::Resp2 => self.array(2 * length),
            Protocol::Resp3 => self.line(b'%', format_args!("{length}")),
        }
    }

    /// Appends an array header; the next `length` replies are its items.
    pub fn array(&mut self, length: usize) {
        self.line(b'*', format_args!("{length}"));
    }

    fn line(&mut self, kind: u8, text: std::fmt::Arguments<'_>) {
        self.bytes.push(kind);
        self.bytes.write_fmt(text).expect("writing to memory cannot fail");
        self.bytes.extend_from_slice(b"\r\n");
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Removes everything after the first `length` bytes: an incomplete reply, to be replaced by an error. Frees a large
    /// buffer.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.bytes.shrink_to(RETAINED_MAX);
    }

    /// Removes all bytes after they were sent, and frees a large buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(RETAINED_MAX);
    }

    /// The memory of the buffer, in bytes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A client's input, escaped and shortened for an error message.
pub fn quoted(input: &[u8]) -> String {
    let short = &input[..input.len().min(QUOTED_MAX)];
    let dots = if short.len() < input.len() { "..." } else { "" };
    format!("'{}{dots}'", short.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands in `pieces`, parsed one piece at a time, or the error.
    fn commands(pieces: &[&[u8]]) -> Result<Vec<Vec<String>>, Malformed> {
        let limits = Limits { argument: 100, arguments: 5, command: 150, inline: 40 };
        let mut requests = RequestParser::new(limits);
        let mut commands = Vec::new();
        for piece in pieces {
            requests.space().extend_from_slice(piece);
            while let Some(arguments) = requests.next()? {
                commands.push(arguments.iter().map(|word| String::from_utf8_lossy(word).into()).collect());
            }
        }
        Ok(commands)
    }

    fn error(bytes: &[u8]) -> String {
        commands(&[bytes]).expect_err("this is malformed").to_string()
    }

    #[test]
    fn a_command_is_the_same_however_it_is_cut() {
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nv\r\n*v\r\nPING  twice\r\n\r\n*0\r\n*1\r\n$0\r\n\r\n*-1\r\nGET k\n";
        let whole = commands(&[bytes]).expect("well-formed");
        assert_eq!(whole, [vec!["SET", "k", "v\r\n*v"], vec!["PING", "twice"], vec![""], vec!["GET", "k"]]);
        for cut in 0..bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(commands(&[left, right]).expect("well-formed"), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(commands(&single).expect("well-formed"), whole);
    }

    #[test]
    fn an_incomplete_command_is_reported_as_partial() {
        let mut requests = RequestParser::new(Limits::default());
        assert!(!requests.has_partial());
        requests.space().extend_from_slice(b"*1\r\n$4\r\nPI");
        assert!(requests.next().expect("well-formed").is_none());
        assert!(requests.has_partial());
        requests.space().extend_from_slice(b"NG\r\n");
        assert!(requests.next().expect("well-formed").is_some());
        assert!(!requests.has_partial());
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_its_bytes_arrive() {
        assert_eq!(
            error(b"*2\r\n$3\r\nGET\r\n$1073741824\r\n"),
            "Protocol error: invalid bulk length: 1073741824 bytes, at most 100 are allowed"
        );
        assert!(error(b"*1000000000\r\n").contains("invalid multibulk length"));
        assert!(error(b"*99999999999999999999\r\n").contains("invalid length"));
        assert!(error(b"*2\r\n$-1\r\n").contains("invalid bulk length: -1"));
    }

    #[test]
    fn every_limit_holds() {
        assert!(commands(&[&[b"*1\r\n$100\r\n", &[b'x'; 100][..], b"\r\n"].concat()]).is_ok());
        assert!(error(b"*1\r\n$101\r\n").contains("at most 100"));
        assert!(error(b"*6\r\n").contains("at most 5"));
        let two = [b"*2\r\n$80\r\n", &[b'x'; 80][..], b"\r\n$80\r\n"].concat();
        assert!(error(&two).contains("command longer than 150"));
        assert!(error(&[b'a'; 41]).contains("too big inline"));
        assert!(error(b"a b c d e f\r\n").contains("more than 5 arguments"));
        assert!(error(b"*0000000000000000000000000000000000000000").contains("no end of line"));
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        for byte in 0..=255u8 {
            if !matches!(byte, b'*' | b' ' | b'\t' | b'\r' | b'\n') && !byte.is_ascii_alphabetic() {
                assert!(error(&[byte]).contains("starts with '*' or a letter"), "{byte}");
            }
        }
        assert!(error(b"PI\0NG\r\n").contains("'\\x00'"));
        assert!(error(b"*1\r\n:3\r\n").contains("expected '$', got ':'"));
        assert!(error(b"*1\r\n*1\r\n").contains("expected '$', got '*'"));
        assert!(error(b"*1\r\n$2\r\nabcd").contains("expected a line end"));
        assert!(error(b"POST / HTTP/1.1\r\n").contains("HTTP"));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                bytes.push(b"*$\r\n0123-+aZ \xff"[(state >> 33) as usize % 14]);
            }
            let _ = commands(&[&bytes[..9], &bytes[9..]]);
        }
    }

    #[test]
    fn a_missing_value_and_a_map_have_types_of_their_own_in_version_3() {
        let mut replies = Replies::default();
        for (protocol, expected) in [
            (Protocol::Resp2, &b"*2\r\n$4\r\nname\r\n$-1\r\n"[..]),
            (Protocol::Resp3, b"%1\r\n$4\r\nname\r\n_\r\n"),
        ] {
            replies.clear();
            replies.protocol = protocol;
            replies.map(1);
            replies.bulk(b"name");
            replies.bulk_or_null(None);
            assert_eq!(replies.bytes().escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
    }

    #[test]
    fn a_buffer_grows_to_what_was_announced_and_no_further() {
        let mut replies = Replies::default();
        let value = vec![b'x'; 3 << 20];
        for _ in 0..5 {
            let announced = replies.capacity_with(value.len() + 32);
            replies.reserve(value.len() + 32);
            replies.bulk(&value);
            assert_eq!(replies.capacity(), announced);
            assert!(announced <= replies.bytes().len() + 32 + GROWTH_MAX);
        }
        replies.truncate(0);
        assert!(replies.capacity() <= RETAINED_MAX);
    }

    #[test]
    fn an_error_stays_one_line() {
        let mut replies = Replies::default();
        replies.error("ERR no\r\n+OK");
        replies.integer(-1);
        replies.bulk_or_null(None);
        assert_eq!(replies.bytes(), b"-ERR no  +OK\r\n:-1\r\n$-1\r\n");
        assert_eq!(quoted(b"a\r\nb"), r"'a\r\nb'");
    }
}

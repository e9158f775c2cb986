//! RESP2, as the gateway reads and writes it.
//!
//! Commands come from clients nobody vetted, in whatever pieces the network makes of them. [`Requests`] remembers how
//! far it has looked, so that a command sent byte by byte costs no more than one sent at once; it allocates nothing per
//! command; and every length has a limit that is checked before anything is stored. A request is an array of bulk
//! strings and nothing else, so there is no nesting to bound: an array inside an array is malformed.

use std::io::Write as _;
use std::ops::Range;

use crate::inbox::Inbox;

/// The longest header line: a type byte, an `i64`, and a line end, with room to spare.
const HEADER_MAX: usize = 32;

/// How much of a client's own words an error repeats.
const QUOTED_MAX: usize = 64;

/// What a client may send.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes in one argument.
    pub argument: usize,
    /// Arguments in one command, its name included.
    pub arguments: usize,
    /// Bytes in one command, framing included.
    pub command: usize,
    /// Bytes in a command written as one line.
    pub inline: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { argument: 1 << 20, arguments: 1024, command: 4 << 20, inline: 16 * 1024 }
    }
}

/// Bytes that are not RESP2, or more than a limit allows. The connection cannot be read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Protocol error: {0}")]
pub struct Malformed(String);

fn malformed<T>(why: impl Into<String>) -> Result<T, Malformed> {
    Err(Malformed(why.into()))
}

/// Takes a client's bytes apart into commands.
#[derive(Debug)]
pub struct Requests {
    limits: Limits,
    inbox: Inbox,
    /// The command being read. Its offsets count from the first unread byte of the inbox.
    partial: Partial,
    /// The bytes of the command last returned. They stay until the next is asked for, because it borrows them.
    returned: usize,
}

/// How far one command has been read.
#[derive(Debug, Default)]
struct Partial {
    /// The next byte to look at.
    at: usize,
    /// No line ends before it.
    scanned: usize,
    /// Arguments still to come, once the array's header has been read.
    missing: Option<usize>,
    /// The length of the argument whose header has been read.
    length: Option<usize>,
    arguments: Vec<Range<usize>>,
}

impl Requests {
    /// A parser for one connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, inbox: Inbox::default(), partial: Partial::default(), returned: 0 }
    }

    /// Where to read into; ask only when [`next`](Self::next) has said that nothing is complete.
    pub fn space(&mut self) -> &mut Vec<u8> {
        self.inbox.space()
    }

    /// How much memory unread bytes hold.
    pub fn capacity(&self) -> usize {
        self.inbox.capacity()
    }

    /// Whether a command has begun to arrive and is not complete.
    pub fn is_halfway(&self) -> bool {
        self.inbox.unread().len() > self.returned
    }

    /// The next complete command; never one without a name.
    ///
    /// # Errors
    /// What came is no command and nothing after it can be one either: say so and close.
    pub fn next(&mut self) -> Result<Option<Arguments<'_>>, Malformed> {
        self.inbox.take(std::mem::take(&mut self.returned));
        while self.partial.read(self.inbox.unread(), &self.limits)? {
            let length = self.partial.at;
            self.partial.at = 0;
            self.partial.scanned = 0;
            self.partial.missing = None;
            if self.partial.arguments.is_empty() {
                self.inbox.take(length); // an empty line, or an empty array: Redis passes over both
                continue;
            }
            self.returned = length;
            return Ok(Some(Arguments { bytes: self.inbox.unread(), ranges: &self.partial.arguments }));
        }
        Ok(None)
    }
}

impl Partial {
    /// Reads on; true when the command is complete.
    fn read(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        if self.missing.is_none() {
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
                Ok(count) if count <= limits.arguments => self.missing = Some(count),
                _ => {
                    return malformed(format!(
                        "invalid multibulk length: {count} arguments, at most {} are taken",
                        limits.arguments
                    ));
                }
            }
        }
        while self.missing.is_some_and(|missing| missing > 0) {
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
                            "invalid bulk length: {length} bytes, at most {} are taken",
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
            return malformed("an argument does not end where its length says");
        }
        self.arguments.push(self.at..end);
        self.at = end + 2;
        self.length = None;
        self.missing = self.missing.map(|missing| missing - 1);
        Ok(true)
    }

    /// Reads the number in a line such as `*3` or `$11`.
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

    /// A command written as one line of words, as one types it into a terminal.
    fn read_inline(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Malformed> {
        // Checked at the first byte: bytes that cannot be a command must not wait for a line end that never comes.
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
            return malformed(format!("'{}' in a command written as one line", odd.escape_ascii()));
        }
        // A browser can be made to send these to any port of its own host; see CVE-2016-10517 of Redis.
        if text.starts_with(b"POST ") || text.starts_with(b"Host:") {
            return malformed("this is not an HTTP server");
        }
        if text.contains(&b'"') || text.contains(&b'\'') {
            return malformed("quotes are not taken in a command written as one line");
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

    /// The next line without its end, once that has come.
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

/// The arguments of one command; the first is its name.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    bytes: &'a [u8],
    ranges: &'a [Range<usize>],
}

impl<'a> Arguments<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// The one at `index`.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.ranges.get(index).map(|range| &self.bytes[range.clone()])
    }

    /// All of them from `first` on.
    pub fn from(&self, first: usize) -> Arguments<'a> {
        Arguments { bytes: self.bytes, ranges: self.ranges.get(first..).unwrap_or_default() }
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.ranges.iter().map(move |range| &bytes[range.clone()])
    }
}

/// Replies on their way to a client.
#[derive(Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
}

impl Replies {
    /// A short text such as `OK`.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', format_args!("{text}"));
    }

    /// An error; `text` starts with its code in capitals.
    pub fn error(&mut self, text: impl std::fmt::Display) {
        let start = self.bytes.len();
        self.line(b'-', format_args!("{text}"));
        // An error is one line, whatever a client's words were made of.
        let end = self.bytes.len() - 2;
        for byte in &mut self.bytes[start..end] {
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
    }

    /// A number.
    pub fn integer(&mut self, number: i64) {
        self.line(b':', format_args!("{number}"));
    }

    /// A byte string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.line(b'$', format_args!("{}", bytes.len()));
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// A byte string, or the reply that says there is none.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.bytes.extend_from_slice(b"$-1\r\n"),
        }
    }

    /// The head of an array: the next `length` replies are its items.
    pub fn array(&mut self, length: usize) {
        self.line(b'*', format_args!("{length}"));
    }

    fn line(&mut self, kind: u8, text: std::fmt::Arguments<'_>) {
        self.bytes.push(kind);
        self.bytes.write_fmt(text).expect("writing to memory cannot fail");
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes back everything after the first `length` bytes: a reply that turned out to be an error half way.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }

    /// Forgets what has been sent; a large buffer is given back.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(64 * 1024);
    }

    /// How much memory waiting replies hold.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A client's own words, fit to be repeated in an error.
pub fn quoted(words: &[u8]) -> String {
    let short = &words[..words.len().min(QUOTED_MAX)];
    let dots = if short.len() < words.len() { "..." } else { "" };
    format!("'{}{dots}'", short.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `pieces` one after the other; the commands they make, or why they make none.
    fn commands(pieces: &[&[u8]]) -> Result<Vec<Vec<String>>, Malformed> {
        let limits = Limits { argument: 100, arguments: 5, command: 150, inline: 40 };
        let mut requests = Requests::new(limits);
        let mut commands = Vec::new();
        for piece in pieces {
            requests.space().extend_from_slice(piece);
            while let Some(arguments) = requests.next()? {
                commands.push(arguments.iter().map(|word| String::from_utf8_lossy(word).into()).collect());
            }
        }
        Ok(commands)
    }

    fn why(bytes: &[u8]) -> String {
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
    fn half_a_command_waits_and_says_so() {
        let mut requests = Requests::new(Limits::default());
        assert!(!requests.is_halfway());
        requests.space().extend_from_slice(b"*1\r\n$4\r\nPI");
        assert!(requests.next().expect("well-formed").is_none());
        assert!(requests.is_halfway());
        requests.space().extend_from_slice(b"NG\r\n");
        assert!(requests.next().expect("well-formed").is_some());
        assert!(!requests.is_halfway());
    }

    #[test]
    fn a_gigabyte_is_refused_before_it_comes() {
        assert_eq!(
            why(b"*2\r\n$3\r\nGET\r\n$1073741824\r\n"),
            "Protocol error: invalid bulk length: 1073741824 bytes, at most 100 are taken"
        );
        assert!(why(b"*1000000000\r\n").contains("invalid multibulk length"));
        assert!(why(b"*99999999999999999999\r\n").contains("invalid length"));
        assert!(why(b"*2\r\n$-1\r\n").contains("invalid bulk length: -1"));
    }

    #[test]
    fn every_limit_holds() {
        assert!(commands(&[&[b"*1\r\n$100\r\n", &[b'x'; 100][..], b"\r\n"].concat()]).is_ok());
        assert!(why(b"*1\r\n$101\r\n").contains("at most 100"));
        assert!(why(b"*6\r\n").contains("at most 5"));
        let two = [b"*2\r\n$80\r\n", &[b'x'; 80][..], b"\r\n$80\r\n"].concat();
        assert!(why(&two).contains("command longer than 150"));
        assert!(why(&[b'a'; 41]).contains("too big inline"));
        assert!(why(b"a b c d e f\r\n").contains("more than 5 arguments"));
        assert!(why(b"*0000000000000000000000000000000000000000").contains("no end of line"));
    }

    #[test]
    fn garbage_is_refused_at_its_first_byte() {
        for byte in 0..=255u8 {
            if !matches!(byte, b'*' | b' ' | b'\t' | b'\r' | b'\n') && !byte.is_ascii_alphabetic() {
                assert!(why(&[byte]).contains("starts with '*' or a letter"), "{byte}");
            }
        }
        assert!(why(b"PI\0NG\r\n").contains("'\\x00'"));
        assert!(why(b"*1\r\n:3\r\n").contains("expected '$', got ':'"));
        assert!(why(b"*1\r\n*1\r\n").contains("expected '$', got '*'"));
        assert!(why(b"*1\r\n$2\r\nabcd").contains("does not end where its length says"));
        assert!(why(b"POST / HTTP/1.1\r\n").contains("HTTP"));
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
    fn an_error_stays_one_line() {
        let mut replies = Replies::default();
        replies.error("ERR no\r\n+OK");
        replies.integer(-1);
        replies.bulk_or_null(None);
        assert_eq!(replies.bytes(), b"-ERR no  +OK\r\n:-1\r\n$-1\r\n");
        assert_eq!(quoted(b"a\r\nb"), r"'a\r\nb'");
    }
}

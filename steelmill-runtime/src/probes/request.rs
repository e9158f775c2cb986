//! The head of an HTTP/1.1 request (RFC 9112), parsed strictly.

/// The longest head.
pub(super) const HEAD_MAX: usize = 8 * 1024;

/// A status code and its phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16, pub(super) &'static str);

impl Status {
    pub(super) const OK: Status = Status(200, "OK");
    pub(super) const BAD_REQUEST: Status = Status(400, "Bad Request");
    pub(super) const NOT_FOUND: Status = Status(404, "Not Found");
    pub(super) const METHOD_NOT_ALLOWED: Status = Status(405, "Method Not Allowed");
    pub(super) const HEAD_TOO_LARGE: Status = Status(431, "Request Header Fields Too Large");
    pub(super) const UNAVAILABLE: Status = Status(503, "Service Unavailable");
    pub(super) const VERSION_NOT_SUPPORTED: Status = Status(505, "HTTP Version Not Supported");
}

/// What matters of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// Whether only the head of the answer is wanted.
    pub(super) is_head: bool,
    pub(super) path: &'a str,
    /// Whether the query has `verbose`, with any value.
    pub(super) is_verbose: bool,
}

impl<'a> Head<'a> {
    /// Parses what a client sent up to the empty line, and beyond.
    ///
    /// # Errors
    /// The status to answer with.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Head<'a>, Status> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            let is_long = bytes.len() > HEAD_MAX;
            return Err(if is_long { Status::HEAD_TOO_LARGE } else { Status::BAD_REQUEST });
        };
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| Status::BAD_REQUEST)?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Status::BAD_REQUEST);
        };
        if method.is_empty()
            || !method.bytes().all(is_token)
            || !target.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Status::BAD_REQUEST);
        }
        let needs_host = match version {
            "HTTP/1.1" => true,
            "HTTP/1.0" => false,
            _ if version.starts_with("HTTP/") => return Err(Status::VERSION_NOT_SUPPORTED),
            _ => return Err(Status::BAD_REQUEST),
        };
        let mut hosts = 0;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Status::BAD_REQUEST)?;
            // No space before the colon, and no line that continues another (RFC 9112, 5.1 and 5.2).
            let is_valid = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
            if name.is_empty() || !name.bytes().all(is_token) || !value.bytes().all(is_valid) {
                return Err(Status::BAD_REQUEST);
            }
            hosts += usize::from(name.eq_ignore_ascii_case("host"));
        }
        // RFC 9112, 3.2.
        if hosts > 1 || (needs_host && hosts == 0) {
            return Err(Status::BAD_REQUEST);
        }
        let is_head = match method {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Status::METHOD_NOT_ALLOWED),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = without_authority(path).ok_or(Status::BAD_REQUEST)?;
        let is_verbose =
            query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == "verbose");
        Ok(Head { is_head, path, is_verbose })
    }
}

/// The path of a target, which may have a scheme and a host before it (RFC 9112, 3.2.2).
fn without_authority(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.strip_prefix("http://")?;
    Some(rest.find('/').map_or("/", |slash| &rest[slash..]))
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, bool, bool), u16> {
        let head = Head::parse(text.as_bytes()).map_err(|status| status.0)?;
        Ok((head.path.to_owned(), head.is_verbose, head.is_head))
    }

    #[test]
    fn a_request_has_a_path_and_may_be_verbose() {
        for (text, path, is_verbose, is_head) in [
            ("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", "/livez", false, false),
            ("GET /livez HTTP/1.0\r\n\r\n", "/livez", false, false),
            ("HEAD /readyz?verbose HTTP/1.1\r\nhost:a\r\n\r\n", "/readyz", true, true),
            ("GET /readyz?a=b&verbose=1 HTTP/1.1\r\nHost:\r\n\r\n", "/readyz", true, false),
            ("GET /readyz?noverbose HTTP/1.1\r\nHost: a\r\n\r\n", "/readyz", false, false),
            ("GET http://a:80/livez HTTP/1.1\r\nHost: a:80\r\n\r\n", "/livez", false, false),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\nGET ", "/", false, false),
        ] {
            assert_eq!(parse(text), Ok((path.to_owned(), is_verbose, is_head)), "{text:?}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_the_right_status() {
        let long = format!("GET / HTTP/1.1\r\nHost: {}", "a".repeat(HEAD_MAX));
        for (text, status) in [
            ("", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\r\n", 400),
            ("GET /livez HTTP/1.1\nHost: a\n\n", 400),
            ("GET /livez\r\n\r\n", 400),
            ("GET  /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /livez HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
            (" /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("G(T /livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET livez HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /live\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\0\r\n\r\n", 400),
            ("GET /livez HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", 400),
            ("POST /livez HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            (&long, 431),
        ] {
            assert_eq!(parse(text), Err(status), "{text:?}");
        }
        assert_eq!(Head::parse(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Status::BAD_REQUEST));
    }
}

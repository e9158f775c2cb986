//! What a connection remembers about its client: `HELLO`, `CLIENT`, `RESET`.
//!
//! Client libraries send these when they connect. Nothing depends on the answers but the version of the protocol.

use crate::resp::{Arguments, Protocol, Replies, quoted};

/// The longest name that a client may give itself, in bytes.
const NAME_MAX: usize = 256;

/// A client of a connection.
#[derive(Debug)]
pub(super) struct Client {
    /// Its number, which no other connection of the gateway has.
    pub(super) id: u64,
    name: Vec<u8>,
}

/// The arguments of `HELLO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HelloOptions<'a> {
    /// The version of the protocol from now on, if it changes.
    protocol: Option<Protocol>,
    name: Option<&'a [u8]>,
}

impl<'a> HelloOptions<'a> {
    /// Parses the arguments after the command's name.
    ///
    /// # Errors
    /// The error reply.
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, String> {
        let mut options = Self { protocol: None, name: None };
        let mut arguments = arguments.iter();
        let Some(version) = arguments.next() else { return Ok(options) };
        options.protocol = Some(match version {
            b"2" => Protocol::Resp2,
            b"3" => Protocol::Resp3,
            _ => return Err("NOPROTO unsupported protocol version: there are 2 and 3".into()),
        });
        while let Some(option) = arguments.next() {
            let mut next = || arguments.next().ok_or("ERR syntax error in HELLO");
            match &*option.to_ascii_uppercase() {
                b"AUTH" => {
                    let (user, _password) = (next()?, next()?);
                    Self::check_user(user)?;
                }
                b"SETNAME" => {
                    let name = next()?;
                    check_name(name)?;
                    options.name = Some(name);
                }
                _ => return Err(format!("ERR syntax error in HELLO: {}", quoted(option))),
            }
        }
        Ok(options)
    }

    /// As in a Redis without passwords, there is only the user `default`, with any password.
    ///
    /// # Errors
    /// The error reply to any other user.
    pub(super) fn check_user(user: &[u8]) -> Result<(), String> {
        match user {
            b"default" => Ok(()),
            other => Err(format!("WRONGPASS there is no user {}, only 'default'", quoted(other))),
        }
    }
}

fn check_name(name: &[u8]) -> Result<(), String> {
    if name.len() > NAME_MAX {
        return Err(format!("ERR a client's name may have {NAME_MAX} bytes, not {}", name.len()));
    }
    match name.iter().all(u8::is_ascii_graphic) {
        true => Ok(()),
        false => Err("ERR Client names cannot contain spaces, newlines or special characters.".into()),
    }
}

impl Client {
    pub(super) fn new(id: u64) -> Self {
        Self { id, name: Vec::new() }
    }

    pub(super) fn hello(&mut self, options: HelloOptions<'_>, replies: &mut Replies) {
        replies.protocol = options.protocol.unwrap_or(replies.protocol);
        if let Some(name) = options.name {
            self.name = name.to_vec();
        }
        replies.map(7);
        let mut text = |name: &str, value: &str| {
            replies.bulk(name.as_bytes());
            replies.bulk(value.as_bytes());
        };
        text("server", "steelmill-demo");
        text("version", env!("CARGO_PKG_VERSION"));
        text("mode", "standalone");
        text("role", "master");
        replies.bulk(b"proto");
        replies.integer(replies.protocol.number());
        replies.bulk(b"id");
        replies.integer(i64::try_from(self.id).unwrap_or(i64::MAX));
        replies.bulk(b"modules");
        replies.array(0);
    }

    /// Executes `CLIENT`; `arguments` begin with the subcommand.
    pub(super) fn client(&mut self, arguments: Arguments<'_>, replies: &mut Replies) {
        let name = arguments.get(0).unwrap_or_default();
        let argument = |index| arguments.get(index).unwrap_or_default();
        let done = match (&*name.to_ascii_lowercase(), arguments.len()) {
            (b"id", 1) => return replies.integer(i64::try_from(self.id).unwrap_or(i64::MAX)),
            (b"getname", 1) => {
                return replies.bulk_or_null(Some(&*self.name).filter(|name| !name.is_empty()));
            }
            (b"setname", 2) => check_name(argument(1)).map(|()| self.name = argument(1).to_vec()),
            (b"setinfo", 3) => match &*argument(1).to_ascii_lowercase() {
                b"lib-name" | b"lib-ver" => check_name(argument(2)),
                other => Err(format!("ERR Unrecognized option {}", quoted(other))),
            },
            // They ask for what a server may do to a client; nothing of that is done here.
            (b"no-evict" | b"no-touch", 2) => match &*argument(1).to_ascii_lowercase() {
                b"on" | b"off" => Ok(()),
                _ => Err("ERR syntax error".to_owned()),
            },
            _ => Err(format!(
                "ERR unknown subcommand or wrong number of arguments for CLIENT {}",
                quoted(name)
            )),
        };
        match done {
            Ok(()) => replies.simple("OK"),
            Err(error) => replies.error(error),
        }
    }

    pub(super) fn reset(&mut self, replies: &mut Replies) {
        self.name.clear();
        replies.protocol = Protocol::default();
        replies.simple("RESET");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, RequestParser};

    /// The replies to `lines`, each a `HELLO` or a `CLIENT`, of one connection.
    fn replies(lines: &[&str]) -> String {
        let mut requests = RequestParser::new(Limits::default());
        for line in lines {
            requests.space().extend_from_slice(format!("{line}\r\n").as_bytes());
        }
        let (mut client, mut replies) = (Client::new(7), Replies::default());
        while let Some(arguments) = requests.next().expect("well-formed") {
            match arguments.get(0) {
                Some(b"HELLO") => match HelloOptions::parse(arguments.from(1)) {
                    Ok(options) => client.hello(options, &mut replies),
                    Err(error) => replies.error(error),
                },
                _ => client.client(arguments.from(1), &mut replies),
            }
        }
        String::from_utf8_lossy(replies.bytes()).replace("\r\n", " ")
    }

    #[test]
    fn hello_switches_to_the_version_it_names_before_its_reply() {
        let two = replies(&["HELLO 2"]);
        assert!(two.starts_with("*14 $6 server $14 steelmill-demo "), "{two}");
        assert!(two.contains("$5 proto :2 $2 id :7 $7 modules *0 "), "{two}");
        let three = replies(&["HELLO 3 AUTH default secret SETNAME me", "CLIENT GETNAME"]);
        assert!(three.starts_with("%7 "), "{three}");
        assert!(three.contains("$5 proto :3 ") && three.ends_with("$2 me "), "{three}");
        assert!(replies(&["HELLO"]).starts_with("*14"), "nothing changes without a version");
        assert!(replies(&["HELLO 4"]).starts_with("-NOPROTO"));
        assert!(replies(&["HELLO 3 AUTH root x"]).starts_with("-WRONGPASS"));
        assert!(replies(&["HELLO 3 SETNAME"]).starts_with("-ERR syntax"));
    }

    #[test]
    fn a_client_says_who_it_is() {
        assert_eq!(replies(&["CLIENT ID", "CLIENT GETNAME"]), ":7 $-1 ");
        assert_eq!(replies(&["CLIENT SETNAME me", "CLIENT GETNAME"]), "+OK $2 me ");
        assert_eq!(replies(&["CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO lib-ver 8.0"]), "+OK +OK ");
        assert!(replies(&["CLIENT SETINFO color red"]).starts_with("-ERR Unrecognized option"));
        assert!(
            replies(&[&format!("CLIENT SETNAME {}", "x".repeat(257))]).starts_with("-ERR a client's name")
        );
        assert!(replies(&["CLIENT KILL 1"]).contains("CLIENT 'KILL'"));
    }
}

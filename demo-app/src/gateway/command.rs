//! The commands: names, arguments, and execution.

use futures::future::try_join_all;

use super::Gateway;
use super::keys::CommandError;
use crate::resp::{Arguments, Replies, quoted};

/// The most keys of one command that are looked up concurrently.
const LOOKUPS_MAX: usize = 32;

/// A command as `COMMAND` lists it.
struct Spec {
    name: &'static str,
    /// The number of arguments with the name; negative: a minimum.
    arity: i64,
    flags: &'static [&'static str],
    /// The first key, the last (-1: up to the end), and the step between keys.
    keys: (i64, i64, i64),
}

const fn spec(name: &'static str, arity: i64, flags: &'static [&'static str], keys: (i64, i64, i64)) -> Spec {
    Spec { name, arity, flags, keys }
}

/// All commands, in the order of `COMMAND`.
const SPECS: [Spec; 11] = [
    spec("ping", -1, &["fast"], (0, 0, 0)),
    spec("echo", 2, &["fast"], (0, 0, 0)),
    spec("get", 2, &["readonly", "fast"], (1, 1, 1)),
    spec("set", -3, &["write", "denyoom"], (1, 1, 1)),
    spec("del", -2, &["write"], (1, -1, 1)),
    spec("exists", -2, &["readonly", "fast"], (1, -1, 1)),
    spec("incr", 2, &["write", "denyoom", "fast"], (1, 1, 1)),
    spec("mget", -2, &["readonly", "fast"], (1, -1, 1)),
    spec("info", -1, &["loading", "stale"], (0, 0, 0)),
    spec("command", -1, &["loading", "stale"], (0, 0, 0)),
    spec("quit", -1, &["fast"], (0, 0, 0)),
];

/// A parsed command with its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command<'a> {
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    Get(&'a [u8]),
    Set(&'a [u8], &'a [u8]),
    Del(Arguments<'a>),
    Exists(Arguments<'a>),
    Incr(&'a [u8]),
    MGet(Arguments<'a>),
    Info,
    Commands(Arguments<'a>),
    Quit,
}

impl<'a> Command<'a> {
    /// Parses a command.
    ///
    /// # Errors
    /// The error reply, if it is not a valid command. The connection stays usable.
    pub(super) fn parse(arguments: Arguments<'a>) -> Result<Self, String> {
        let name = arguments.get(0).unwrap_or_default();
        let Some(spec) = SPECS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes())) else {
            return Err(format!("ERR unknown command {}", quoted(name)));
        };
        let count = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
        if count < spec.arity.abs() || (spec.arity > 0 && count > spec.arity) {
            return Err(format!("ERR wrong number of arguments for '{}' command", spec.name));
        }
        let (first, second) = (arguments.get(1), arguments.get(2));
        let one = first.unwrap_or_default();
        Ok(match spec.name {
            "ping" if arguments.len() > 2 => {
                return Err("ERR wrong number of arguments for 'ping' command".into());
            }
            "ping" => Command::Ping(first),
            "echo" => Command::Echo(one),
            "get" => Command::Get(one),
            "set" if arguments.len() > 3 => {
                return Err("ERR syntax error: SET takes a key and a value, no options".into());
            }
            "set" => Command::Set(one, second.unwrap_or_default()),
            "del" => Command::Del(arguments.from(1)),
            "exists" => Command::Exists(arguments.from(1)),
            "incr" => Command::Incr(one),
            "mget" => Command::MGet(arguments.from(1)),
            "info" => Command::Info,
            "command" => Command::Commands(arguments.from(1)),
            _ => Command::Quit,
        })
    }
}

impl Gateway {
    /// Executes a command and appends its reply. `check_size` fails if the replies are too large.
    pub(super) async fn execute(
        &self,
        command: Command<'_>,
        replies: &mut Replies,
        check_size: &mut (impl FnMut(&Replies) -> Result<(), CommandError> + Send),
    ) {
        let start = replies.bytes().len();
        let done = self.try_execute(command, replies, check_size).await;
        if let Err(error) = done.and_then(|()| check_size(replies)) {
            replies.truncate(start);
            replies.error(error);
        }
    }

    async fn try_execute(
        &self,
        command: Command<'_>,
        replies: &mut Replies,
        check_size: &mut (impl FnMut(&Replies) -> Result<(), CommandError> + Send),
    ) -> Result<(), CommandError> {
        match command {
            Command::Ping(None) => replies.simple("PONG"),
            Command::Ping(Some(arguments)) | Command::Echo(arguments) => replies.bulk(arguments),
            Command::Get(key) => replies.bulk_or_null(self.get(key).await?.as_deref()),
            Command::Set(key, value) => {
                self.set(key, value).await?;
                replies.simple("OK");
            }
            Command::Del(keys) => replies.integer(self.delete_all(keys).await?),
            Command::Exists(keys) => replies.integer(self.count(keys).await?),
            Command::Incr(key) => replies.integer(self.increment(key).await?),
            Command::MGet(keys) => self.get_all(keys, replies, check_size).await?,
            Command::Info => replies.bulk(self.info().await.as_bytes()),
            Command::Commands(arguments) => command_info(arguments, replies),
            Command::Quit => replies.simple("OK"),
        }
        Ok(())
    }

    async fn get_all(
        &self,
        keys: Arguments<'_>,
        replies: &mut Replies,
        check_size: &mut (impl FnMut(&Replies) -> Result<(), CommandError> + Send),
    ) -> Result<(), CommandError> {
        replies.array(keys.len());
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let values = try_join_all(keys.by_ref().take(LOOKUPS_MAX).map(|key| self.get(key))).await?;
            values.iter().for_each(|value| replies.bulk_or_null(value.as_deref()));
            check_size(replies)?;
        }
        Ok(())
    }

    async fn count(&self, keys: Arguments<'_>) -> Result<i64, CommandError> {
        let mut count = 0;
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let values = try_join_all(keys.by_ref().take(LOOKUPS_MAX).map(|key| self.get(key))).await?;
            count += values.iter().map(|value| i64::from(value.is_some())).sum::<i64>();
        }
        Ok(count)
    }

    async fn delete_all(&self, keys: Arguments<'_>) -> Result<i64, CommandError> {
        let mut count = 0;
        for (done, key) in keys.iter().enumerate() {
            match self.delete(key).await {
                Ok(existed) => count += i64::from(existed),
                Err(reason) if done == 0 => return Err(reason),
                // What is deleted stays deleted; the error alone would say that nothing was.
                Err(reason) => {
                    return Err(CommandError::Partial { done, total: keys.len(), reason: Box::new(reason) });
                }
            }
        }
        Ok(count)
    }
}

/// Executes `COMMAND` and its subcommands.
fn command_info(arguments: Arguments<'_>, replies: &mut Replies) {
    let listed: Vec<Option<&Spec>> = match arguments.get(0).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => SPECS.iter().map(Some).collect(),
        Some(b"info") => {
            let named = arguments.iter().skip(1);
            named
                .map(|name| SPECS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes())))
                .collect()
        }
        Some(b"count") => return replies.integer(SPECS.len() as i64),
        // For completion and help in terminals, which work without.
        Some(b"docs") => return replies.array(0),
        Some(other) => return replies.error(format!("ERR unknown subcommand {} of COMMAND", quoted(other))),
    };
    replies.array(listed.len());
    for spec in listed {
        let Some(spec) = spec else {
            replies.bulk_or_null(None);
            continue;
        };
        replies.array(6);
        replies.bulk(spec.name.as_bytes());
        replies.integer(spec.arity);
        replies.array(spec.flags.len());
        spec.flags.iter().for_each(|flag| replies.simple(flag));
        let (first, last, step) = spec.keys;
        [first, last, step].into_iter().for_each(|number| replies.integer(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, RequestParser};

    fn parse(line: &str) -> String {
        let mut requests = RequestParser::new(Limits::default());
        requests.space().extend_from_slice(format!("{line}\r\n").as_bytes());
        let arguments = requests.next().expect("well-formed").expect("whole");
        match Command::parse(arguments) {
            Ok(command) => {
                let shown = format!("{command:?}");
                shown[..shown.find('(').unwrap_or(shown.len())].to_owned()
            }
            Err(reason) => reason,
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for (line, expected) in [
            ("ping", "Ping"),
            ("Ping hello", "Ping"),
            ("ECHO x", "Echo"),
            ("get k", "Get"),
            ("SET k v", "Set"),
            ("del a b", "Del"),
            ("EXISTS a", "Exists"),
            ("incr k", "Incr"),
            ("mGet a b", "MGet"),
            ("INFO server", "Info"),
            ("command docs", "Commands"),
            ("quit", "Quit"),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn invalid_commands_are_errors() {
        assert_eq!(parse("FLUSHALL"), "ERR unknown command 'FLUSHALL'");
        assert_eq!(parse("GET"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("GET a b"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("PING a b"), "ERR wrong number of arguments for 'ping' command");
        assert_eq!(parse("SET a b EX 5"), "ERR syntax error: SET takes a key and a value, no options");
    }

    #[test]
    fn command_lists_and_counts_them() {
        let mut requests = RequestParser::new(Limits::default());
        requests.space().extend_from_slice(b"COMMAND\r\n");
        let arguments = requests.next().expect("well-formed").expect("whole");
        let mut replies = Replies::default();
        command_info(arguments.from(1), &mut replies);
        assert!(
            replies
                .bytes()
                .starts_with(b"*11\r\n*6\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n")
        );
    }
}

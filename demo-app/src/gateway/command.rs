//! The commands: what each is called, what it takes, and what it does.

use futures::future::try_join_all;

use super::Gateway;
use super::keys::Refusal;
use crate::resp::{Arguments, Replies, quoted};

/// How many keys of one command are asked for at the same time.
const AT_ONCE: usize = 32;

/// What `COMMAND` says about a command.
struct Spec {
    name: &'static str,
    /// Arguments with the name; negative: at least so many.
    arity: i64,
    flags: &'static [&'static str],
    /// The first key, the last (-1: to the end), and the step between keys.
    keys: (i64, i64, i64),
}

const fn spec(name: &'static str, arity: i64, flags: &'static [&'static str], keys: (i64, i64, i64)) -> Spec {
    Spec { name, arity, flags, keys }
}

/// Every command, in the order `COMMAND` lists them.
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

/// A command that a client may give, with what it is about.
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
    /// Reads a command.
    ///
    /// # Errors
    /// It is none; the text is the error for the client. The connection is unharmed.
    pub(super) fn parse(words: Arguments<'a>) -> Result<Self, String> {
        let name = words.get(0).unwrap_or_default();
        let Some(spec) = SPECS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes())) else {
            return Err(format!("ERR unknown command {}", quoted(name)));
        };
        let count = i64::try_from(words.len()).unwrap_or(i64::MAX);
        if count < spec.arity.abs() || (spec.arity > 0 && count > spec.arity) {
            return Err(format!("ERR wrong number of arguments for '{}' command", spec.name));
        }
        let (first, second) = (words.get(1), words.get(2));
        let one = first.unwrap_or_default();
        Ok(match spec.name {
            "ping" if words.len() > 2 => {
                return Err("ERR wrong number of arguments for 'ping' command".into());
            }
            "ping" => Command::Ping(first),
            "echo" => Command::Echo(one),
            "get" => Command::Get(one),
            "set" if words.len() > 3 => {
                return Err("ERR syntax error: SET takes a key and a value, no options".into());
            }
            "set" => Command::Set(one, second.unwrap_or_default()),
            "del" => Command::Del(words.from(1)),
            "exists" => Command::Exists(words.from(1)),
            "incr" => Command::Incr(one),
            "mget" => Command::MGet(words.from(1)),
            "info" => Command::Info,
            "command" => Command::Commands(words.from(1)),
            _ => Command::Quit,
        })
    }
}

impl Gateway {
    /// Carries a command out and writes its reply. `grown` says whether the replies may have become so long.
    pub(super) async fn perform(
        &self,
        command: Command<'_>,
        replies: &mut Replies,
        grown: &mut (impl FnMut(&Replies) -> Result<(), Refusal> + Send),
    ) {
        let start = replies.bytes().len();
        let done = self.try_perform(command, replies, grown).await;
        if let Err(refusal) = done.and_then(|()| grown(replies)) {
            replies.truncate(start);
            replies.error(refusal);
        }
    }

    async fn try_perform(
        &self,
        command: Command<'_>,
        replies: &mut Replies,
        grown: &mut (impl FnMut(&Replies) -> Result<(), Refusal> + Send),
    ) -> Result<(), Refusal> {
        match command {
            Command::Ping(None) => replies.simple("PONG"),
            Command::Ping(Some(words)) | Command::Echo(words) => replies.bulk(words),
            Command::Get(key) => replies.bulk_or_null(self.get(key).await?.as_deref()),
            Command::Set(key, value) => {
                self.set(key, value).await?;
                replies.simple("OK");
            }
            Command::Del(keys) => replies.integer(self.delete_all(keys).await?),
            Command::Exists(keys) => replies.integer(self.count(keys).await?),
            Command::Incr(key) => replies.integer(self.increment(key).await?),
            Command::MGet(keys) => self.get_all(keys, replies, grown).await?,
            Command::Info => replies.bulk(self.info().await.as_bytes()),
            Command::Commands(words) => describe(words, replies),
            Command::Quit => replies.simple("OK"),
        }
        Ok(())
    }

    async fn get_all(
        &self,
        keys: Arguments<'_>,
        replies: &mut Replies,
        grown: &mut (impl FnMut(&Replies) -> Result<(), Refusal> + Send),
    ) -> Result<(), Refusal> {
        replies.array(keys.len());
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let values = try_join_all(keys.by_ref().take(AT_ONCE).map(|key| self.get(key))).await?;
            values.iter().for_each(|value| replies.bulk_or_null(value.as_deref()));
            grown(replies)?;
        }
        Ok(())
    }

    async fn count(&self, keys: Arguments<'_>) -> Result<i64, Refusal> {
        let mut count = 0;
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let values = try_join_all(keys.by_ref().take(AT_ONCE).map(|key| self.get(key))).await?;
            count += values.iter().map(|value| i64::from(value.is_some())).sum::<i64>();
        }
        Ok(count)
    }

    async fn delete_all(&self, keys: Arguments<'_>) -> Result<i64, Refusal> {
        let mut count = 0;
        for (done, key) in keys.iter().enumerate() {
            match self.delete(key).await {
                Ok(existed) => count += i64::from(existed),
                Err(why) if done == 0 => return Err(why),
                // What is deleted stays deleted; saying only why the rest is not would say that nothing happened.
                Err(why) => {
                    return Err(Refusal::Partly { done, of: keys.len(), why: Box::new(why) });
                }
            }
        }
        Ok(count)
    }
}

/// `COMMAND` and its subcommands.
fn describe(words: Arguments<'_>, replies: &mut Replies) {
    let listed: Vec<Option<&Spec>> = match words.get(0).map(<[u8]>::to_ascii_lowercase).as_deref() {
        None => SPECS.iter().map(Some).collect(),
        Some(b"info") => {
            let named = words.iter().skip(1);
            named
                .map(|name| SPECS.iter().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes())))
                .collect()
        }
        Some(b"count") => return replies.integer(SPECS.len() as i64),
        // What terminals complete and explain with; they do without.
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
    use crate::resp::{Limits, Requests};

    fn parse(line: &str) -> String {
        let mut requests = Requests::new(Limits::default());
        requests.space().extend_from_slice(format!("{line}\r\n").as_bytes());
        let words = requests.next().expect("well-formed").expect("whole");
        match Command::parse(words) {
            Ok(command) => {
                let shown = format!("{command:?}");
                shown[..shown.find('(').unwrap_or(shown.len())].to_owned()
            }
            Err(why) => why,
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
    fn what_is_no_command_is_told_apart() {
        assert_eq!(parse("FLUSHALL"), "ERR unknown command 'FLUSHALL'");
        assert_eq!(parse("GET"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("GET a b"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("PING a b"), "ERR wrong number of arguments for 'ping' command");
        assert_eq!(parse("SET a b EX 5"), "ERR syntax error: SET takes a key and a value, no options");
    }

    #[test]
    fn command_lists_and_counts_them() {
        let mut requests = Requests::new(Limits::default());
        requests.space().extend_from_slice(b"COMMAND\r\n");
        let words = requests.next().expect("well-formed").expect("whole");
        let mut replies = Replies::default();
        describe(words.from(1), &mut replies);
        assert!(
            replies
                .bytes()
                .starts_with(b"*11\r\n*6\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n")
        );
    }
}

//! The commands: names, arguments, and execution.

use std::time::Duration;

use futures::future::try_join_all;

use super::Gateway;
use super::client::{Client, HelloOptions};
use super::config;
use super::keys::CommandError;
use crate::resp::{Arguments, Replies, quoted};
use crate::store::{Condition, Expiry, State};

/// The most keys of one command that are looked up concurrently.
const LOOKUPS_MAX: usize = 32;

/// The most bytes of a reply beside the values in it.
const FRAMING_MAX: usize = 256;

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

const NO_KEY: (i64, i64, i64) = (0, 0, 0);
const ONE_KEY: (i64, i64, i64) = (1, 1, 1);
const ALL_KEYS: (i64, i64, i64) = (1, -1, 1);

/// All commands, in the order of `COMMAND`.
const SPECS: [Spec; 27] = [
    spec("ping", -1, &["fast"], NO_KEY),
    spec("echo", 2, &["fast"], NO_KEY),
    spec("get", 2, &["readonly", "fast"], ONE_KEY),
    spec("set", -3, &["write", "denyoom"], ONE_KEY),
    spec("del", -2, &["write"], ALL_KEYS),
    spec("exists", -2, &["readonly", "fast"], ALL_KEYS),
    spec("incr", 2, &["write", "denyoom", "fast"], ONE_KEY),
    spec("incrby", 3, &["write", "denyoom", "fast"], ONE_KEY),
    spec("decr", 2, &["write", "denyoom", "fast"], ONE_KEY),
    spec("decrby", 3, &["write", "denyoom", "fast"], ONE_KEY),
    spec("mget", -2, &["readonly", "fast"], ALL_KEYS),
    spec("expire", 3, &["write", "fast"], ONE_KEY),
    spec("pexpire", 3, &["write", "fast"], ONE_KEY),
    spec("persist", 2, &["write", "fast"], ONE_KEY),
    spec("ttl", 2, &["readonly", "fast"], ONE_KEY),
    spec("pttl", 2, &["readonly", "fast"], ONE_KEY),
    spec("type", 2, &["readonly", "fast"], ONE_KEY),
    spec("dbsize", 1, &["readonly", "fast"], NO_KEY),
    spec("select", 2, &["loading", "stale", "fast"], NO_KEY),
    spec("hello", -1, &["loading", "stale", "fast", "no_auth"], NO_KEY),
    spec("auth", -2, &["loading", "stale", "fast", "no_auth"], NO_KEY),
    spec("client", -2, &["loading", "stale"], NO_KEY),
    spec("config", -2, &["loading", "stale", "admin"], NO_KEY),
    spec("info", -1, &["loading", "stale"], NO_KEY),
    spec("command", -1, &["loading", "stale"], NO_KEY),
    spec("reset", 1, &["loading", "stale", "fast", "no_auth"], NO_KEY),
    spec("quit", -1, &["fast"], NO_KEY),
];

const SYNTAX: &str = "ERR syntax error";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";

/// A parsed command with its arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command<'a> {
    Ping(Option<&'a [u8]>),
    Echo(&'a [u8]),
    Get(&'a [u8]),
    Set(Set<'a>),
    Del(Arguments<'a>),
    Exists(Arguments<'a>),
    /// The key, and what to add to it.
    Add(&'a [u8], i64),
    MGet(Arguments<'a>),
    /// The key, and its time to live; `None` if that is over already.
    Expire(&'a [u8], Option<Duration>),
    Persist(&'a [u8]),
    /// The key, and the unit of the reply.
    Ttl(&'a [u8], Duration),
    Type(&'a [u8]),
    DbSize,
    /// A command without effect that is answered with `OK`.
    Nothing,
    Hello(HelloOptions<'a>),
    Client(Arguments<'a>),
    Config(Arguments<'a>),
    Info,
    Commands(Arguments<'a>),
    Reset,
    Quit,
}

/// A `SET` with its options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Set<'a> {
    key: &'a [u8],
    value: &'a [u8],
    condition: Condition,
    expiry: Expiry,
    wants_previous: bool,
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
        let wrong_number = || format!("ERR wrong number of arguments for '{}' command", spec.name);
        let count = i64::try_from(arguments.len()).unwrap_or(i64::MAX);
        if count < spec.arity.abs() || (spec.arity > 0 && count > spec.arity) {
            return Err(wrong_number());
        }
        let (first, second) = (arguments.get(1), arguments.get(2));
        let one = first.unwrap_or_default();
        let number = || integer(second.unwrap_or_default());
        Ok(match spec.name {
            "ping" if arguments.len() > 2 => return Err(wrong_number()),
            "ping" => Command::Ping(first),
            "echo" => Command::Echo(one),
            "get" => Command::Get(one),
            "set" => Command::Set(Set::parse(arguments)?),
            "del" => Command::Del(arguments.from(1)),
            "exists" => Command::Exists(arguments.from(1)),
            "incr" => Command::Add(one, 1),
            "incrby" => Command::Add(one, number()?),
            "decr" => Command::Add(one, -1),
            "decrby" => Command::Add(one, number()?.checked_neg().ok_or(NOT_AN_INTEGER)?),
            "mget" => Command::MGet(arguments.from(1)),
            "expire" | "pexpire" => {
                let unit =
                    if spec.name == "expire" { Duration::from_secs(1) } else { Duration::from_millis(1) };
                let count = number()?;
                Command::Expire(one, (count > 0).then(|| duration(count, unit, spec.name)).transpose()?)
            }
            "persist" => Command::Persist(one),
            "ttl" => Command::Ttl(one, Duration::from_secs(1)),
            "pttl" => Command::Ttl(one, Duration::from_millis(1)),
            "type" => Command::Type(one),
            "dbsize" => Command::DbSize,
            "select" => match integer(one)? {
                0 => Command::Nothing,
                _ => return Err("ERR DB index is out of range: there is only database 0".into()),
            },
            "hello" => Command::Hello(HelloOptions::parse(arguments.from(1))?),
            "auth" => {
                let user = if arguments.len() > 2 { one } else { b"default" };
                HelloOptions::check_user(user)?;
                Command::Nothing
            }
            "client" => Command::Client(arguments.from(1)),
            "config" => Command::Config(arguments.from(1)),
            "info" => Command::Info,
            "command" => Command::Commands(arguments.from(1)),
            "reset" => Command::Reset,
            "quit" => Command::Quit,
            other => unreachable!("{other} is listed, but not parsed"),
        })
    }
}

impl<'a> Set<'a> {
    fn parse(arguments: Arguments<'a>) -> Result<Self, String> {
        let argument = |index| arguments.get(index).unwrap_or_default();
        let mut set = Self {
            key: argument(1),
            value: argument(2),
            condition: Condition::Always,
            expiry: Expiry::Never,
            wants_previous: false,
        };
        let mut options = arguments.iter().skip(3);
        while let Some(option) = options.next() {
            match &*option.to_ascii_uppercase() {
                b"NX" if set.condition == Condition::Always => set.condition = Condition::IfMissing,
                b"XX" if set.condition == Condition::Always => set.condition = Condition::IfPresent,
                b"GET" => set.wants_previous = true,
                b"KEEPTTL" if set.expiry == Expiry::Never => set.expiry = Expiry::Keep,
                unit @ (b"EX" | b"PX") if set.expiry == Expiry::Never => {
                    let count = integer(options.next().ok_or(SYNTAX)?)?;
                    let unit = if unit == b"EX" { Duration::from_secs(1) } else { Duration::from_millis(1) };
                    set.expiry = Expiry::After(duration(count, unit, "set")?);
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(set)
    }
}

fn integer(text: &[u8]) -> Result<i64, String> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| NOT_AN_INTEGER.into())
}

/// A time to live of `count` units, which is at least one, for `command`.
fn duration(count: i64, unit: Duration, command: &str) -> Result<Duration, String> {
    let millis = u64::try_from(count).ok().and_then(|count| count.checked_mul(unit.as_millis() as u64));
    let duration = millis.filter(|millis| *millis > 0).map(Duration::from_millis);
    duration.ok_or_else(|| format!("ERR invalid expire time in '{command}' command"))
}

/// Makes room for more bytes in the replies, or says why there is none.
pub(super) trait Room: FnMut(&mut Replies, usize) -> Result<(), CommandError> + Send {}

impl<F: FnMut(&mut Replies, usize) -> Result<(), CommandError> + Send> Room for F {}

impl Gateway {
    /// Executes a command and appends its reply. `room` is called before a part of the reply is appended.
    pub(super) async fn execute(
        &self,
        command: Command<'_>,
        client: &mut Client,
        replies: &mut Replies,
        room: &mut impl Room,
    ) {
        let start = replies.bytes().len();
        if let Err(error) = self.try_execute(command, client, replies, room).await {
            replies.truncate(start);
            replies.error(error);
        }
    }

    async fn try_execute(
        &self,
        command: Command<'_>,
        client: &mut Client,
        replies: &mut Replies,
        room: &mut impl Room,
    ) -> Result<(), CommandError> {
        room(replies, FRAMING_MAX)?;
        match command {
            Command::Ping(None) => replies.simple("PONG"),
            Command::Ping(Some(argument)) | Command::Echo(argument) => {
                room(replies, argument.len() + FRAMING_MAX)?;
                replies.bulk(argument);
            }
            Command::Get(key) => append(self.get(key).await?.as_deref(), replies, room)?,
            Command::Set(Set { key, value, condition, expiry, wants_previous }) => {
                let (is_set, value) = self.set(key, value, condition, expiry, wants_previous).await?;
                match (wants_previous, is_set) {
                    (true, _) => append(value.as_deref(), replies, room).map_err(|reason| {
                        if is_set { CommandError::partial(1, 1, reason) } else { reason }
                    })?,
                    (false, true) => replies.simple("OK"),
                    (false, false) => replies.bulk_or_null(None),
                }
            }
            Command::Del(keys) => replies.integer(self.delete_all(keys).await?),
            Command::Exists(keys) => replies.integer(self.count(keys).await?),
            Command::Add(key, number) => replies.integer(self.add(key, number).await?),
            Command::MGet(keys) => self.get_all(keys, replies, room).await?,
            Command::Expire(key, None) => replies.integer(self.delete(key).await?.into()),
            Command::Expire(key, ttl) => replies.integer(self.expire(key, ttl).await?.into()),
            Command::Persist(key) => replies.integer(self.expire(key, None).await?.into()),
            Command::Ttl(key, unit) => replies.integer(remaining(&self.get_with_ttl(key).await?, unit)),
            Command::Type(key) => replies.simple(self.get(key).await?.map_or("none", |_| "string")),
            Command::DbSize => {
                replies.integer(i64::try_from(self.count_keys().await?).unwrap_or(i64::MAX));
            }
            Command::Nothing => replies.simple("OK"),
            Command::Hello(options) => client.hello(options, replies),
            Command::Client(arguments) => client.client(arguments, replies),
            Command::Config(arguments) => config::config(&self.settings, arguments, replies),
            Command::Info => {
                let info = self.info().await;
                room(replies, info.len() + FRAMING_MAX)?;
                replies.bulk(info.as_bytes());
            }
            Command::Commands(arguments) => {
                room(replies, SPECS.len().max(arguments.len()) * FRAMING_MAX)?;
                command_info(arguments, replies);
            }
            Command::Reset => client.reset(replies),
            Command::Quit => replies.simple("OK"),
        }
        Ok(())
    }

    async fn get_all(
        &self,
        keys: Arguments<'_>,
        replies: &mut Replies,
        room: &mut impl Room,
    ) -> Result<(), CommandError> {
        replies.array(keys.len());
        self.get_each(keys, |value| append(value, replies, room)).await
    }

    async fn count(&self, keys: Arguments<'_>) -> Result<i64, CommandError> {
        let mut count = 0;
        self.get_each(keys, |value| {
            count += i64::from(value.is_some());
            Ok(())
        })
        .await?;
        Ok(count)
    }

    /// Passes the value of each key to `take`, in order.
    async fn get_each(
        &self,
        keys: Arguments<'_>,
        mut take: impl FnMut(Option<&[u8]>) -> Result<(), CommandError> + Send,
    ) -> Result<(), CommandError> {
        let mut keys = keys.iter().peekable();
        while keys.peek().is_some() {
            let batch: Vec<_> = keys.by_ref().take(LOOKUPS_MAX).collect();
            // Held until the values are in the buffer, whose memory is accounted for.
            let _permit = self.lookups.acquire_many(batch.len() as u32).await;
            for value in try_join_all(batch.into_iter().map(|key| self.get(key))).await? {
                take(value.as_deref())?;
            }
        }
        Ok(())
    }

    async fn delete_all(&self, keys: Arguments<'_>) -> Result<i64, CommandError> {
        let mut count = 0;
        for (done, key) in keys.iter().enumerate() {
            match self.delete(key).await {
                Ok(existed) => count += i64::from(existed),
                Err(reason) if done == 0 => return Err(reason),
                // What is deleted stays deleted; the error alone would say that nothing was.
                Err(reason) => {
                    return Err(CommandError::partial(done, keys.len(), reason));
                }
            }
        }
        Ok(count)
    }
}

/// Appends a value, once there is room for it.
fn append(value: Option<&[u8]>, replies: &mut Replies, room: &mut impl Room) -> Result<(), CommandError> {
    room(replies, value.map_or(0, <[u8]>::len) + FRAMING_MAX)?;
    replies.bulk_or_null(value);
    Ok(())
}

/// The reply to `TTL` in whole units, rounded: -2 for a missing key, -1 for one that does not expire.
fn remaining(state: &State, unit: Duration) -> i64 {
    match (&state.value, state.ttl) {
        (None, _) => -2,
        (Some(_), None) => -1,
        (Some(_), Some(ttl)) => {
            i64::try_from((ttl + unit / 2).as_nanos() / unit.as_nanos()).unwrap_or(i64::MAX)
        }
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
        Some(b"docs") => return replies.map(0),
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

    /// The command in a line, up to the first byte string in its `Debug` form, or the error.
    fn parse(line: &str) -> String {
        let shown = parse_whole(line);
        shown[..shown.find('(').filter(|_| !shown.starts_with("ERR")).unwrap_or(shown.len())].to_owned()
    }

    fn parse_whole(line: &str) -> String {
        let mut requests = RequestParser::new(Limits::default());
        requests.space().extend_from_slice(format!("{line}\r\n").as_bytes());
        let arguments = requests.next().expect("well-formed").expect("whole");
        match Command::parse(arguments) {
            Ok(command) => format!("{command:?}"),
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
            ("incr k", "Add"),
            ("mGet a b", "MGet"),
            ("TTL k", "Ttl"),
            ("INFO server", "Info"),
            ("command docs", "Commands"),
            ("select 0", "Nothing"),
            ("auth default x", "Nothing"),
            ("quit", "Quit"),
        ] {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn every_command_that_is_listed_is_parsed() {
        for spec in &SPECS {
            // As many arguments as it needs at least, each of which is a number or a name, too.
            let line = format!("{}{}", spec.name, " 2".repeat(spec.arity.unsigned_abs() as usize - 1));
            let parsed = parse(&line);
            assert!(!parsed.contains("unknown command"), "{line}: {parsed}");
        }
    }

    #[test]
    fn invalid_commands_are_errors() {
        assert_eq!(parse("FLUSHALL"), "ERR unknown command 'FLUSHALL'");
        assert_eq!(parse("GET"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("GET a b"), "ERR wrong number of arguments for 'get' command");
        assert_eq!(parse("PING a b"), "ERR wrong number of arguments for 'ping' command");
        assert_eq!(parse("SELECT 1"), "ERR DB index is out of range: there is only database 0");
        assert_eq!(parse("INCRBY k 1.5"), NOT_AN_INTEGER);
        assert_eq!(parse("DECRBY k -9223372036854775808"), NOT_AN_INTEGER);
        assert_eq!(parse("AUTH secret"), "Nothing", "the default user has any password");
        assert!(parse("AUTH root secret").starts_with("WRONGPASS"));
    }

    #[test]
    fn set_takes_its_options_in_any_order_but_none_that_contradict_each_other() {
        let set = |options: &str| parse_whole(&format!("SET k v {options}"));
        let plain = "condition: Always, expiry: Never, wants_previous: false";
        assert!(set("").contains(plain));
        assert!(set("EX 5").contains("condition: Always, expiry: After(5s)"));
        assert!(set("get px 1500 nx").contains("IfMissing, expiry: After(1.5s), wants_previous: true"));
        assert!(set("XX KEEPTTL").contains("IfPresent, expiry: Keep"));
        assert!(set("PX 99999999999").contains("After(99999999.999s)"));
        for contradiction in ["NX XX", "EX 1 PX 1", "EX 1 KEEPTTL", "EX", "NX NX", "SOON"] {
            assert_eq!(set(contradiction), SYNTAX, "{contradiction}");
        }
        for never in ["EX 0", "PX -1", "EX 9223372036854775807"] {
            assert_eq!(set(never), "ERR invalid expire time in 'set' command", "{never}");
        }
        assert_eq!(set("EX soon"), NOT_AN_INTEGER);
    }

    #[test]
    fn a_time_that_is_over_already_deletes() {
        let key = format!("{:?}", b"k");
        assert_eq!(parse_whole("EXPIRE k 5"), format!("Expire({key}, Some(5s))"));
        assert_eq!(parse_whole("PEXPIRE k 5"), format!("Expire({key}, Some(5ms))"));
        assert_eq!(parse_whole("EXPIRE k 0"), format!("Expire({key}, None)"));
        assert_eq!(parse_whole("EXPIRE k -7"), format!("Expire({key}, None)"));
    }

    #[test]
    fn what_remains_is_rounded_to_units() {
        let value = || Some(b"v"[..].into());
        let state =
            |value, millis: Option<u64>| State { value, ttl: millis.map(Duration::from_millis), version: 1 };
        let second = Duration::from_secs(1);
        assert_eq!(remaining(&state(None, None), second), -2);
        assert_eq!(remaining(&state(value(), None), second), -1);
        assert_eq!(remaining(&state(value(), Some(9_999)), second), 10);
        assert_eq!(remaining(&state(value(), Some(9_499)), second), 9);
        assert_eq!(remaining(&state(value(), Some(9_499)), Duration::from_millis(1)), 9_499);
    }

    #[test]
    fn command_lists_and_counts_them() {
        let mut requests = RequestParser::new(Limits::default());
        requests.space().extend_from_slice(b"COMMAND\r\n");
        let arguments = requests.next().expect("well-formed").expect("whole");
        let mut replies = Replies::default();
        command_info(arguments.from(1), &mut replies);
        let start = b"*27\r\n*6\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n";
        assert!(replies.bytes().starts_with(start));
        assert!(replies.bytes().len() < SPECS.len() * FRAMING_MAX, "there was room for it");
    }
}

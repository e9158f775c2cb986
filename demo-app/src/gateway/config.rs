//! The reply to `CONFIG GET`: the settings that clients and their tools ask for, in the words of Redis.

use crate::resp::{Arguments, Replies, quoted};
use crate::settings::Settings;
use crate::store;

/// Executes `CONFIG`; `arguments` begin with the subcommand.
pub(super) fn config(settings: &Settings, arguments: Arguments<'_>, replies: &mut Replies) {
    match arguments.get(0) {
        Some(name) if name.eq_ignore_ascii_case(b"get") && arguments.len() > 1 => {}
        other => {
            let name = quoted(other.unwrap_or_default());
            return replies
                .error(format!("ERR only CONFIG GET with a pattern is supported, not CONFIG {name}"));
        }
    }
    let all = [
        // Of a store in another process it is not known.
        ("appendonly", if settings.data.is_some() { "yes" } else { "no" }.to_owned()),
        ("databases", "1".to_owned()),
        ("maxclients", settings.clients.connections.to_string()),
        ("maxmemory", store::MEMORY_MAX.to_string()),
        ("maxmemory-policy", "noeviction".to_owned()),
        ("proto-max-bulk-len", settings.clients.request.argument.to_string()),
        ("save", String::new()),
        ("timeout", settings.clients.idle_timeout.as_secs().to_string()),
    ];
    let is_wanted = |name: &str| {
        arguments.iter().skip(1).any(|pattern| matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let wanted: Vec<_> = all.iter().filter(|(name, _)| is_wanted(name)).collect();
    replies.map(wanted.len());
    for (name, value) in wanted {
        replies.bulk(name.as_bytes());
        replies.bulk(value.as_bytes());
    }
}

/// Whether a pattern with `*` and `?` matches `text`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // After a mismatch the last star takes one byte more; earlier stars need not.
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match star {
                None => return false,
                Some((star_at, taken)) => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, Protocol, RequestParser};

    fn reply(line: &str, protocol: Protocol) -> String {
        let mut requests = RequestParser::new(Limits::default());
        requests.space().extend_from_slice(format!("{line}\r\n").as_bytes());
        let arguments = requests.next().expect("well-formed").expect("whole");
        let mut replies = Replies::default();
        replies.protocol = protocol;
        config(&Settings::default(), arguments.from(1), &mut replies);
        String::from_utf8_lossy(replies.bytes()).replace("\r\n", " ")
    }

    #[test]
    fn settings_are_asked_for_by_patterns() {
        let maxmemory = "$9 maxmemory $10 1073741824 ";
        assert_eq!(reply("CONFIG GET maxmemory", Protocol::Resp2), format!("*2 {maxmemory}"));
        assert_eq!(reply("config get MaxMemory", Protocol::Resp3), format!("%1 {maxmemory}"));
        assert!(reply("CONFIG GET max*", Protocol::Resp3).starts_with("%3 $10 maxclients $5 10000 "));
        assert_eq!(reply("CONFIG GET save databases", Protocol::Resp2), "*4 $9 databases $1 1 $4 save $0  ");
        assert_eq!(reply("CONFIG GET nothing", Protocol::Resp3), "%0 ");
        assert!(reply("CONFIG SET save x", Protocol::Resp2).starts_with("-ERR only CONFIG GET"));
        assert!(reply("CONFIG GET", Protocol::Resp2).starts_with("-ERR only CONFIG GET"));
    }

    #[test]
    fn a_pattern_matches_as_in_a_shell() {
        for pattern in ["save", "s*", "*", "*e", "s?v?", "*a*e*", "save*", "**"] {
            assert!(matches(pattern.as_bytes(), b"save"), "{pattern}");
        }
        for pattern in ["", "sav", "s?e", "*x*", "saves", "?save", "*s"] {
            assert!(!matches(pattern.as_bytes(), b"save"), "{pattern}");
        }
    }
}

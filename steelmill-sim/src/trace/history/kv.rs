//! Model of one key of a Redis-like store: GET, SET, DEL, EXISTS, INCR.

use std::fmt;
use std::sync::Arc;

use super::Model;

/// The state of one key: a value, or absent.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Kv(pub Option<Value>);

/// A command on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the commands' own names")]
pub enum KvOp {
    Get,
    Set(Value),
    Del,
    Exists,
    Incr,
    /// A crash of a store without storage, recorded by the scenario for each key when the store is started again: at some
    /// moment from then on the value is gone. [`KvReply::Ok`] once it must be.
    Lose,
}

/// The reply to a [`KvOp`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KvReply {
    /// SET succeeded; the value of LOSE is gone.
    Ok,
    /// GET's value, `None` for a key that does not exist.
    Value(Option<Value>),
    /// DEL's and EXISTS's number of keys, 0 or 1 for one key; INCR's new value.
    Integer(i64),
    /// INCR's error for a value that is no integer, or would overflow. The value is unchanged.
    NotAnInteger,
}

impl Model for Kv {
    type Op = KvOp;
    type Ret = KvReply;

    fn step(&self, op: &KvOp, ret: Option<&KvReply>) -> Option<Self> {
        let may_answer = |reply: KvReply| ret.is_none_or(|ret| *ret == reply);
        let present = KvReply::Integer(self.0.is_some().into());
        match op {
            KvOp::Get => match ret {
                None => Some(self.clone()),
                Some(KvReply::Value(value)) => (*value == self.0).then(|| self.clone()),
                Some(_) => None,
            },
            KvOp::Set(value) => may_answer(KvReply::Ok).then(|| Kv(Some(value.clone()))),
            KvOp::Del => may_answer(present).then_some(Kv(None)),
            KvOp::Lose => may_answer(KvReply::Ok).then_some(Kv(None)),
            KvOp::Exists => may_answer(present).then(|| self.clone()),
            KvOp::Incr => match self.integer().and_then(|integer| integer.checked_add(1)) {
                Some(integer) => may_answer(KvReply::Integer(integer)).then(|| Kv(Some(integer.into()))),
                None => may_answer(KvReply::NotAnInteger).then(|| self.clone()),
            },
        }
    }

    fn is_read(op: &KvOp, ret: Option<&KvReply>) -> bool {
        match op {
            KvOp::Get | KvOp::Exists => true,
            KvOp::Set(_) | KvOp::Lose => false,
            KvOp::Del => matches!(ret, Some(KvReply::Integer(0))),
            KvOp::Incr => matches!(ret, Some(KvReply::NotAnInteger)),
        }
    }

    fn is_overwrite(op: &KvOp, ret: Option<&KvReply>) -> bool {
        match op {
            KvOp::Set(_) | KvOp::Lose => matches!(ret, None | Some(KvReply::Ok)),
            KvOp::Del => ret.is_none(),
            KvOp::Get | KvOp::Exists | KvOp::Incr => false,
        }
    }

    fn describe(key: &str, op: &KvOp, ret: Option<&KvReply>) -> String {
        let command = match op {
            KvOp::Get => format!("GET {key}"),
            KvOp::Set(value) => format!("SET {key} {value}"),
            KvOp::Del => format!("DEL {key}"),
            KvOp::Exists => format!("EXISTS {key}"),
            KvOp::Incr => format!("INCR {key}"),
            KvOp::Lose => format!("LOSE {key}"),
        };
        match ret {
            None | Some(KvReply::Ok) => command,
            Some(KvReply::Value(Some(value))) => format!("{command} -> {value}"),
            Some(KvReply::Value(None)) => format!("{command} -> nil"),
            Some(KvReply::Integer(integer)) => format!("{command} -> {integer}"),
            Some(KvReply::NotAnInteger) => format!("{command} -> not an integer"),
        }
    }
}

impl Kv {
    /// The value as INCR parses it: an absent key is 0, and only the canonical form is an integer.
    fn integer(&self) -> Option<i64> {
        let Some(Value(bytes)) = &self.0 else {
            return Some(0);
        };
        let integer: i64 = str::from_utf8(bytes).ok()?.parse().ok()?;
        (integer.to_string().as_bytes() == &**bytes).then_some(integer)
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("nil"),
        }
    }
}

/// The bytes of a value.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Value(Arc<[u8]>);

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Value(bytes.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        integer.to_string().into()
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Long values are truncated to keep reports readable.
        match self.0.get(..40).filter(|_| self.0.len() > 60) {
            None => write!(f, "\"{}\"", self.0.escape_ascii()),
            Some(start) => write!(f, "\"{}\"... ({} bytes)", start.escape_ascii(), self.0.len()),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

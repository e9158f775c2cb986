//! How the outcome of a run crosses from one process of a program to another: as JSON, where references to statics become
//! text, and text that was static is interned.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::panic::Location;
use std::sync::{Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Deserialize as DeriveDeserialize, Serialize};

/// `&'static str`, by a name: serde's derive takes the type for text that is borrowed from the input.
pub(crate) type StaticStr = &'static str;

/// A place in the source: file, line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct SourceLocation {
    #[serde(deserialize_with = "text")]
    file: StaticStr,
    line: u32,
    column: u32,
}

impl SourceLocation {
    /// The path of the file, as the compiler was given it.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The line, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl From<&'static Location<'static>> for SourceLocation {
    fn from(location: &'static Location<'static>) -> Self {
        Self { file: location.file(), line: location.line(), column: location.column() }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column } = self;
        write!(f, "{file}:{line}:{column}")
    }
}

/// The same text for as long as the process lives. There are as many as the program has statics of such a kind, and names of threads.
pub(crate) fn intern(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = texts.get(text) {
        return known;
    }
    let text: &'static str = Box::leak(text.into());
    texts.insert(text);
    text
}

pub(crate) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<&'static str, D::Error> {
    Ok(intern(&Cow::<'de, str>::deserialize(from)?))
}

pub(crate) fn counts<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<&'static str, u64>, D::Error> {
    named(from)
}

pub(crate) fn limits<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<&'static str, RangeInclusive<u64>>, D::Error> {
    named(from)
}

fn named<'de, D, T>(from: D) -> Result<BTreeMap<&'static str, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let named = BTreeMap::<String, T>::deserialize(from)?;
    Ok(named.into_iter().map(|(name, value)| (intern(&name), value)).collect())
}

pub(crate) fn source_line<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<(&'static str, u32)>, D::Error> {
    let place = Option::<(String, u32)>::deserialize(from)?;
    Ok(place.map(|(file, line)| (intern(&file), line)))
}

/// An error, as its message and the messages of its causes. Its type does not cross.
pub(crate) mod error {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(crate) fn serialize<S: Serializer>(error: &anyhow::Error, to: S) -> Result<S::Ok, S::Error> {
        error.chain().map(ToString::to_string).collect::<Vec<_>>().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<anyhow::Error, D::Error> {
        let mut causes = Vec::<String>::deserialize(from)?.into_iter().rev();
        let first = anyhow::Error::msg(causes.next().unwrap_or_default());
        Ok(causes.fold(first, anyhow::Error::context))
    }
}

/// What is known by its `Display` and `FromStr`.
pub(crate) mod by_name {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// A coverage point, as its index in the program.
pub(crate) mod point {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use steelmill_core::coverage::{self, Point};

    use super::known;

    pub(crate) fn serialize<S: Serializer>(point: &&'static Point, to: S) -> Result<S::Ok, S::Error> {
        point.number().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<&'static Point, D::Error> {
        let number = Option::<usize>::deserialize(from)?;
        known::<_, D>(number.and_then(|number| coverage::all().get(number)))
    }
}

/// A state of a lifecycle, by its name.
pub(crate) mod state {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use steelmill_core::State;

    use super::known;

    const ALL: [State; 11] = [
        State::Waiting,
        State::Preparing,
        State::Prepared,
        State::Running,
        State::Finished,
        State::WindingDown,
        State::Pausing,
        State::Down,
        State::Draining,
        State::Stopping,
        State::Ended,
    ];

    pub(crate) fn serialize<S: Serializer>(state: &State, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(state)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<State, D::Error> {
        let name = String::deserialize(from)?;
        known::<_, D>(ALL.into_iter().find(|state| state.to_string() == name))
    }
}

/// The owner of a task, as its factory and its daemon.
pub(crate) mod owner {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use steelmill_core::Owner;

    pub(crate) fn serialize<S: Serializer>(owner: &Option<Arc<Owner>>, to: S) -> Result<S::Ok, S::Error> {
        owner.as_ref().map(|owner| (owner.factory(), owner.daemon())).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Arc<Owner>>, D::Error> {
        let owner = Option::<(String, Option<String>)>::deserialize(from)?;
        Ok(owner.map(|(factory, daemon)| Owner::new(factory.into(), daemon.map(Into::into))))
    }
}

/// A number that a coverage point compared: a JSON number, or a duration.
pub(crate) mod amount {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use steelmill_core::coverage::Amount;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Portable {
        Unsigned(u64),
        Signed(i64),
        Time(Duration),
    }

    impl Portable {
        pub(super) fn of(amount: Amount) -> Option<Self> {
            match amount {
                Amount::Number(number) => {
                    let signed = || i64::try_from(number).map(Self::Signed);
                    u64::try_from(number).map(Self::Unsigned).or_else(|_| signed()).ok()
                }
                Amount::Time(time) => Some(Self::Time(time)),
                _ => None,
            }
        }

        pub(super) fn amount(&self) -> Amount {
            match *self {
                Self::Unsigned(number) => Amount::Number(number.into()),
                Self::Signed(number) => Amount::Number(number.into()),
                Self::Time(time) => Amount::Time(time),
            }
        }
    }

    pub(crate) fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        let number = || serde::ser::Error::custom("a number of more than 64 bits");
        Portable::of(*amount).ok_or_else(number)?.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let portable = Portable::deserialize(deserializer)
            .map_err(|_| D::Error::custom("neither an integer nor a duration"))?;
        Ok(portable.amount())
    }
}

/// The value that went furthest, and its limit.
pub(crate) mod reading {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use steelmill_core::coverage::Reading;

    use super::amount::Portable;

    pub(crate) fn serialize<S: Serializer>(
        reading: &Option<Reading>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let pair = reading.map(|reading| [reading.value, reading.limit].map(Portable::of));
        pair.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Reading>, D::Error> {
        let pair = Option::<[Portable; 2]>::deserialize(deserializer)?;
        Ok(pair.map(|[value, limit]| Reading { value: value.amount(), limit: limit.amount() }))
    }
}

fn known<'de, T, D: Deserializer<'de>>(value: Option<T>) -> Result<T, D::Error> {
    value.ok_or_else(|| D::Error::custom("it was written by another program"))
}

//! The registry of rare branches: every `buggify!` linked into the program, by name.

use std::sync::OnceLock;

use steelmill_core::coverage::{self, Kind, Point};

pub(crate) const MILLION: u64 = 1_000_000;

/// Whether a draw takes a rare branch: the highest values do, as a replay gives 0 past the end of its list.
pub(crate) fn is_taken(place: &Point, drawn: u64) -> bool {
    drawn >= MILLION - u64::from(place.rate_ppm())
}

pub(crate) struct RareBranch {
    /// Its module and ordinal there, independent of lines and folders: identifies it in plans and its random stream.
    pub(crate) name: String,
    pub(crate) place: &'static Point,
}

impl RareBranch {
    /// All rare branches, by name. Two that a macro writes into one line share a name.
    pub(crate) fn all() -> &'static [Self] {
        static ALL: OnceLock<Vec<RareBranch>> = OnceLock::new();
        ALL.get_or_init(Self::find_all)
    }

    fn find_all() -> Vec<Self> {
        let mut places: Vec<_> =
            coverage::all().iter().filter(|place| place.kind() == Kind::Buggify).collect();
        places.sort_by_key(|place| (place.module(), *place));
        let modules = places.chunk_by(|one, next| one.module() == next.module());
        let of_module = |module: &[&'static Point]| {
            let written = module.chunk_by(|one, next| one == next).zip(1..);
            let named = written.flat_map(|(places, nth)| places.iter().map(move |place| (*place, nth)));
            named
                .map(|(place, nth)| Self { name: format!("{}#{nth}", place.module()), place })
                .collect::<Vec<_>>()
        };
        modules.flat_map(of_module).collect()
    }

    pub(crate) fn names() -> Vec<String> {
        let mut names: Vec<String> = Self::all().iter().map(|branch| branch.name.clone()).collect();
        names.dedup();
        names
    }

    /// The result of a draw from the stream with this number, in words.
    pub(crate) fn describe_draw(number: u32, drawn: u64) -> String {
        match Self::all().iter().find(|branch| stream_number(&branch.name) == number) {
            Some(Self { name, place }) if is_taken(place, drawn) => {
                format!("the rare branch {name} is taken")
            }
            Some(Self { name, .. }) => format!("the rare branch {name} is not taken"),
            None => format!("a rare branch draws {drawn}"),
        }
    }

    pub(crate) fn place(name: &str) -> Option<&'static Point> {
        Self::all().iter().find(|branch| branch.name == name).map(|branch| branch.place)
    }
}

/// The number of a branch's random stream: a hash of its name (FNV-1a: Fowler, Noll, Vo).
pub(crate) fn stream_number(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

//! The rare branches of a program: every use of `buggify!` that is linked into it, by name.

use std::sync::OnceLock;

use steelmill_core::coverage::{self, Kind, Point};

pub(crate) const MILLION: u64 = 1_000_000;

/// Whether a rare branch is, when this number was drawn: on the highest, as a replay that knows no better says 0.
pub(crate) fn is_taken(place: &Point, drawn: u64) -> bool {
    drawn >= MILLION - u64::from(place.rate_ppm())
}

/// A rare branch of the program.
pub(crate) struct RareBranch {
    /// The module it is written in, and which of those in there it is: what a plan calls it, and its draws come from. It
    /// stays the same when lines move, and wherever the sources lie.
    pub(crate) name: String,
    pub(crate) place: &'static Point,
}

impl RareBranch {
    /// All there are, by name. What a macro writes twice into one line is two of one name.
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

    /// What all there are are called, each once, in order.
    pub(crate) fn names() -> Vec<String> {
        let mut names: Vec<String> = Self::all().iter().map(|branch| branch.name.clone()).collect();
        names.dedup();
        names
    }

    /// What a draw of the stream with this number decided, in words.
    pub(crate) fn decided(number: u32, drawn: u64) -> String {
        match Self::all().iter().find(|branch| stream_number(&branch.name) == number) {
            Some(Self { name, place }) if is_taken(place, drawn) => {
                format!("the rare branch {name} is taken")
            }
            Some(Self { name, .. }) => format!("the rare branch {name} is not taken"),
            None => format!("a rare branch draws {drawn}"),
        }
    }

    /// Where the one of that name is written.
    pub(crate) fn place(name: &str) -> Option<&'static Point> {
        Self::all().iter().find(|branch| branch.name == name).map(|branch| branch.place)
    }
}

/// The number of a name's stream of draws (Fowler, Noll and Vo's hash, FNV-1a).
pub(crate) fn stream_number(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

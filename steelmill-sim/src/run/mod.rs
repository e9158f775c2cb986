//! One seed, from beginning to end.

pub(crate) mod simulate;

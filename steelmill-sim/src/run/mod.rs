//! One run of a scenario: from a seed to an outcome.

pub(crate) mod simulate;

//! Rare bugs: each takes a plain campaign more than a hundred seeds, because several things must happen one after the other, or
//! because a number must climb.
//!
//! They measure what a campaign could learn from one seed for the next. Their coverage points are those that a person would write
//! who does not know the bug: what is rare, and what should stay small.

mod node; // a server whose state is a plain value

mod boot_loop;
mod compaction;
mod handover;
mod last_attempt;
mod last_replica;
mod outbox;
mod short_token;

use super::Bug;

pub(crate) const HARD: [Bug; 7] = [
    last_attempt::BUG,
    boot_loop::BUG,
    outbox::BUG,
    last_replica::BUG,
    short_token::BUG,
    handover::BUG,
    compaction::BUG,
];

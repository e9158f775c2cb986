//! Where programs share the statics of the real process.

use super::Startup;

/// There is none.
pub(super) enum Image {}

/// There are none.
pub(super) enum Contents {}

/// There is none.
pub(super) enum Swap {}

impl Swap {
    pub(super) fn fresh(&self, _: &Startup) -> Contents {
        match *self {}
    }

    pub(super) fn has_own_hook(&self) -> bool {
        match *self {}
    }

    pub(super) fn note_changes(&mut self) {
        match *self {}
    }

    pub(super) fn save(&self, _: &mut Contents) {
        match *self {}
    }

    pub(super) fn load(&mut self, _: &mut Contents) {
        match *self {}
    }
}

pub(super) fn of_this_program() -> Option<&'static Image> {
    None
}

impl Image {
    pub(super) fn contains(&self, _: usize) -> bool {
        match *self {}
    }

    pub(super) fn is_shared(&self, _: usize) -> bool {
        match *self {}
    }

    pub(super) fn swap(&'static self) -> Swap {
        match *self {}
    }

    pub(super) fn room(&self) -> Contents {
        match *self {}
    }
}

//! What a run is described in: plain data that can be compared, saved and read back. Knows nothing of a run at work.

pub(crate) mod outcome; // how one seed ended
pub(crate) mod settings; // what a run is asked to be

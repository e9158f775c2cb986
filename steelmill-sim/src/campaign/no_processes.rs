//! In place of `processes` where programs do not run: no run ever needs a process of its own.

use crate::campaign::record::KeptSeed;
use crate::schema::look::Look;
use crate::schema::outcome::Outcome;
use crate::schema::settings::Settings;

pub(super) struct Request {
    pub(super) settings: Settings,
    pub(super) look: Option<Look>,
    pub(super) is_silent: bool,
}

pub(super) struct Past {
    pub(super) requested: u64,
    pub(super) outcomes: Vec<(Option<KeptSeed>, Outcome)>,
}

#[derive(Debug, Default)]
pub(crate) struct Processes;

impl Processes {
    pub(super) fn begin(&self, _: &(dyn Fn(Request) -> Outcome + Sync)) -> Option<Past> {
        None
    }

    pub(super) fn have_begun(&self) -> bool {
        true
    }

    pub(super) fn is_server() -> bool {
        false
    }

    pub(super) fn are_needed(&self) -> bool {
        false
    }

    pub(super) fn need(&self) {}

    pub(super) fn run(&self, Request { settings, .. }: &Request) -> Outcome {
        Outcome::without_run(settings.seed, anyhow::anyhow!("programs do not run on this platform"))
    }

    pub(super) fn note(&self, _: Option<&KeptSeed>, _: &Outcome) {}

    pub(super) fn keep(&self, _: u64, _: u64) {}
}

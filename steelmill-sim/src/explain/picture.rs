//! A run as one page: machines side by side, virtual time downwards, and whatever happened in its place.
//!
//! A [`Picture`] is made from a traced run and written as a single HTML file that needs nothing else: no network, no
//! other file. Rust decides what is shown and puts it into columns (`columns`, `bands`), which are plain data and can be
//! tested without a browser; the page beside this file draws them. Its script is a handful of files by concept, put
//! together here.
//!
//! What always holds:
//!
//! - **What a run says stays text.** Names, log lines and payloads reach the page as JSON in which no `<` is left, and
//!   get into its document as text only. The page's policy lets it load nothing.
//! - **What matters is shown.** A picture shows up to [`EVENTS_SHOWN`] events; of a longer run those around its
//!   [key_event](crate::trace::Trace::key_event), which most often are the last, and it says how many it leaves off.
//! - **Polls, draws and the passing of time are not shown.** What led to what is told across them. A trace has them all.

mod bands; // from when to when something was wrong with whom
mod columns; // what the page is given

use std::time::Duration;

use crate::explain::shrink::{FailureRate, Shrunk};
use crate::schema::outcome::Outcome;
use columns::Columns;

pub(crate) use columns::shows;

/// How many events a picture shows; a browser moves through so many smoothly.
pub const EVENTS_SHOWN: usize = 250_000;

/// A picture of a run.
///
/// ```
/// use std::time::Duration;
/// use steelmill_sim::{Picture, Seed, Settings, simulate};
///
/// let settings = Settings { trace: true, ..Settings::new(Seed(1)) };
/// let outcome = simulate(settings, &|sim| async move {
///     let (a, b) = (sim.client("a"), sim.client("b"));
///     let inbox = a.network().bind_udp("0.0.0.0:9").await?;
///     b.network().bind_udp("0.0.0.0:0").await?.send_to(b"hello", "a:9").await?;
///     inbox.recv(&mut [0; 5]).await?;
///     Ok(())
/// });
/// let page = Picture::of(&outcome).expect("it was traced").title("a greeting").to_html();
/// assert!(page.starts_with("<!doctype html>") && page.contains("<title>a greeting</title>"));
/// ```
#[derive(Debug, Clone)]
pub struct Picture {
    columns: Columns,
}

impl Picture {
    /// Of a run that was [traced](crate::Settings::trace); `None` of one that was not.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let trace = outcome.trace.as_ref()?;
        let mut columns = Columns::of(trace, EVENTS_SHOWN);
        columns.title = format!("seed {}", outcome.seed);
        columns.end = columns.end.max(nanos(outcome.simulated));
        columns.failure = outcome.failure.as_ref().map(|failure| {
            let panicked = failure.panicked.as_ref().map(|place| format!("\n  {}", place.trim_end()));
            let text = format!("{}{}", failure.cause, panicked.unwrap_or_default());
            columns.failed(nanos(failure.at), text)
        });
        Some(Self { columns })
    }

    /// Of the least with which a seed fails, with how likely that was from when on; `replay` is what to type to see it
    /// again.
    pub fn of_shrunk(shrunk: &Shrunk, replay: &str) -> Option<Self> {
        Some(Self::of(&shrunk.outcome)?.failure_rates(&shrunk.failure_rates).replay(replay))
    }

    /// What stands above it; the seed, unless something else is said.
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.columns.title);
        self
    }

    /// What to type to run it again.
    pub fn replay(mut self, command: &str) -> Self {
        self.columns.replay = Some(command.to_owned());
        self
    }

    /// How often the run fails when all goes otherwise from some time on; drawn as a curve along the time axis.
    pub fn failure_rates(mut self, failure_rates: &[FailureRate]) -> Self {
        self.columns.failure_rates = failure_rates.iter().map(columns::FailureRate::of).collect();
        self
    }

    /// The page.
    pub fn to_html(&self) -> String {
        let data = serde_json::to_string(&self.columns).expect("it is plain data");
        // No tag can begin without it, so nothing in the data ends the element that it stands in.
        page(&escaped(&self.columns.title), &data.replace('<', "\\u003c"))
    }
}

const PAGE: &str = include_str!("picture/page.html");
const STYLE: &str = include_str!("picture/style.css");

/// The page's script, in the order in which its parts need each other.
const SCRIPT: &[&str] = &[
    include_str!("picture/data.js"),        // what the page was given, decoded
    include_str!("picture/time.js"),        // times as people read them
    include_str!("picture/axis.js"),        // where on its way from top to bottom an event stands
    include_str!("picture/filter.js"),      // what is shown
    include_str!("picture/view.js"),        // which part of it is on the screen
    include_str!("picture/theme.js"),       // light and dark
    include_str!("picture/draw.js"),        // a frame
    include_str!("picture/draw-gutter.js"), // times and failure_rates
    include_str!("picture/draw-areas.js"),  // faults, states, operations
    include_str!("picture/draw-messages.js"),
    include_str!("picture/draw-marks.js"),
    include_str!("picture/draw-overview.js"),
    include_str!("picture/related.js"), // causes, effects, log lines
    include_str!("picture/pick.js"),    // what is under the pointer
    include_str!("picture/panel.js"),   // what is told of the selected event
    include_str!("picture/search.js"),
    include_str!("picture/controls.js"), // buttons, pointer, keys
    include_str!("picture/main.js"),
];

/// Puts the page together. Everything is cut out of the empty page before anything is put in, so that no text of a run
/// can be taken for a place to put something.
fn page(title: &str, data: &str) -> String {
    let script = SCRIPT.concat();
    let mut rest = PAGE;
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + script.len() + data.len());
    for (place, text) in [("%TITLE%", title), ("%STYLE%", STYLE), ("%DATA%", data), ("%SCRIPT%", &script)] {
        let (before, after) = rest.split_once(place).expect("the page has a place for each");
        page += before;
        page += text;
        rest = after;
    }
    page + rest
}

/// A text between two tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::simulate::simulate;
    use crate::{Seed, Settings, Sim};

    #[test]
    fn what_a_run_says_stays_text() {
        let evil = "</script><script>alert(1)</script><!-- %SCRIPT% &amp; \u{2028}";
        let settings = Settings { trace: true, ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            tracing::info!("{evil}");
            sim.client(evil);
            anyhow::bail!(evil)
        });
        let picture = Picture::of(&outcome).expect("it was traced").title(evil).replay(evil);
        let html = picture.to_html();
        let own = page("", "");
        assert_eq!(html.matches("</script>").count(), own.matches("</script>").count());
        assert_eq!(html.matches("<!--").count(), 0);
        let (_, data) = html.split_once("id=\"data\">").expect("there is data");
        let (data, _) = data.split_once("</script>").expect("it ends");
        let data: serde_json::Value = serde_json::from_str(data).expect("it is JSON");
        assert_eq!(data["title"], evil);
        assert_eq!(data["failure"]["text"], evil);
        assert!(data["words"].as_array().is_some_and(|words| words.iter().any(|word| word == evil)));
    }

    #[test]
    fn the_page_brings_all_it_needs() {
        let page = page("", "{}");
        for (n, part) in SCRIPT.iter().enumerate() {
            assert!(part.starts_with("// ") && !part.contains("</script"), "part {n} of the script");
        }
        for outside in ["http:", "https:", "//cdn", "@import", "src=", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_run_that_was_not_traced_has_no_picture() {
        let outcome = simulate(Settings::new(Seed(1)), &|_: Sim| async { Ok(()) });
        assert!(Picture::of(&outcome).is_none());
    }
}

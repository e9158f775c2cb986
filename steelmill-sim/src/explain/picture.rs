//! Space-time diagram of a run as an HTML page: machines side by side, virtual time downwards.
//!
//! A [`Picture`] is made from a traced run and written as one self-contained HTML file. Rust selects events and puts
//! them into columns (`columns`, `bands`), plain data that can be tested without a browser; the page draws them.
//!
//! Invariants:
//!
//! - **Text of a run is never markup.** Names, log lines and payloads are passed as JSON with every `<` escaped, and
//!   inserted into the document as text. The page's content security policy forbids loading anything.
//! - **The key event is shown.** Of a run with more than [`EVENTS_SHOWN`] events, a picture shows those around its
//!   [key event](crate::trace::Trace::key_event), usually the last ones, and the number omitted.
//! - **Polls, draws and time steps are hidden.** Causes are followed across them. The trace contains them all.

mod bands; // intervals of faults and outages
mod columns; // the page's data

use std::time::Duration;

use crate::explain::shrink::{FailureRate, NearestGreen, Shrunk};
use crate::schema::outcome::Outcome;
use columns::Columns;

pub(crate) use columns::shows;

/// The maximum number of events in a picture: as many as a browser scrolls through smoothly.
pub const EVENTS_SHOWN: usize = 250_000;

/// Space-time diagram of a run: messages, faults, log lines, lifecycle states and operations, as an HTML page.
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
    /// The picture of a [traced](crate::Settings::trace) run; `None` if the run was not traced.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        Some(Self::with(outcome, Columns::of(outcome.trace.as_ref()?, EVENTS_SHOWN)))
    }

    /// The picture of a red run beside the nearest one that passes: see [`Shrunk::nearest_green`]. It is that of the red run
    /// alone if a trace is not whole, or too long.
    fn of_both(red: &Outcome, green: &NearestGreen) -> Option<Self> {
        let (trace, other) = (red.trace.as_ref()?, green.outcome.trace.as_ref()?);
        let Some(columns) = Columns::of_both(trace, other, green.differs.to_string(), EVENTS_SHOWN) else {
            return Self::of(red);
        };
        Some(Self::with(red, columns))
    }

    fn with(outcome: &Outcome, mut columns: Columns) -> Self {
        columns.title = format!("seed {}", outcome.seed);
        columns.end = columns.end.max(nanos(outcome.simulated));
        columns.failure = outcome.failure.as_ref().map(|failure| {
            let panicked = failure.panicked.as_ref().map(|place| format!("\n  {}", place.trim_end()));
            let text = format!("{}{}", failure.cause, panicked.unwrap_or_default());
            columns.failed(nanos(failure.at), text, failure.machine())
        });
        Self { columns }
    }

    /// The picture of a shrunk seed, with its failure rates; `replay` is the command that runs it again.
    pub fn of_shrunk(shrunk: &Shrunk, replay: &str) -> Option<Self> {
        let picture = match &shrunk.nearest_green {
            Some(green) => Self::of_both(&shrunk.outcome, green)?,
            None => Self::of(&shrunk.outcome)?,
        };
        Some(picture.failure_rates(&shrunk.failure_rates).replay(replay))
    }

    /// Sets the title; the default is the seed.
    pub fn title(mut self, title: &str) -> Self {
        title.clone_into(&mut self.columns.title);
        self
    }

    /// Sets the command that runs it again, shown on the page.
    pub fn replay(mut self, command: &str) -> Self {
        self.columns.replay = Some(command.to_owned());
        self
    }

    /// Sets the failure rates, see [`Shrunk::failure_rates`]; drawn as a curve along the time axis.
    pub fn failure_rates(mut self, failure_rates: &[FailureRate]) -> Self {
        self.columns.failure_rates = failure_rates.iter().map(columns::FailureRate::of).collect();
        self
    }

    /// The HTML page.
    pub fn to_html(&self) -> String {
        let data = serde_json::to_string(&self.columns).expect("it is plain data");
        // Without `<` no tag can begin, so nothing in the data ends its element.
        page(&escaped(&self.columns.title), &data.replace('<', "\\u003c"))
    }
}

const PAGE: &str = include_str!("picture/page.html");
const STYLE: &str = include_str!("picture/style.css");

/// The parts of the page's script, in dependency order.
const SCRIPT: &[&str] = &[
    include_str!("picture/data.js"),        // decodes the page's data
    include_str!("picture/time.js"),        // formats times
    include_str!("picture/twin.js"),        // a green run beside the red one
    include_str!("picture/story.js"),       // the few events that matter
    include_str!("picture/axis.js"),        // vertical positions: time, folded, steps
    include_str!("picture/filter.js"),      // which events are visible
    include_str!("picture/view.js"),        // scrolling and zoom
    include_str!("picture/theme.js"),       // light and dark colours
    include_str!("picture/draw.js"),        // draws a frame
    include_str!("picture/draw-gutter.js"), // times and failure_rates
    include_str!("picture/draw-areas.js"),  // faults, states, operations
    include_str!("picture/draw-messages.js"),
    include_str!("picture/draw-marks.js"),
    include_str!("picture/draw-overview.js"),
    include_str!("picture/related.js"), // causes, effects, log lines
    include_str!("picture/pick.js"),    // hit testing
    include_str!("picture/panel.js"),   // side panel: details of the selected event
    include_str!("picture/latency.js"), // latency over time
    include_str!("picture/words.js"),   // what happened, in words
    include_str!("picture/links.js"),   // links to events
    include_str!("picture/search.js"),
    include_str!("picture/controls.js"), // buttons, pointer, keys
    include_str!("picture/main.js"),
];

/// Fills the page template. Placeholders are searched in the template only, so that no text of a run is taken for one.
fn page(title: &str, data: &str) -> String {
    let script = SCRIPT.concat();
    let mut rest = PAGE;
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + script.len() + data.len());
    for (placeholder, text) in
        [("%TITLE%", title), ("%STYLE%", STYLE), ("%DATA%", data), ("%SCRIPT%", &script)]
    {
        let (before, after) = rest.split_once(placeholder).expect("the template has each placeholder");
        page += before;
        page += text;
        rest = after;
    }
    page + rest
}

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
    fn text_of_a_run_is_never_markup() {
        let evil = "</script><script>alert(1)</script><!-- %SCRIPT% &amp; \u{2028}";
        let settings = Settings { trace: true, ..Settings::new(Seed(1)) };
        let outcome = simulate(settings, &move |sim: Sim| async move {
            tracing::info!("{evil}");
            sim.client(evil);
            anyhow::bail!(evil)
        });
        let picture = Picture::of(&outcome).expect("it was traced").title(evil).replay(evil);
        let html = picture.to_html();
        let empty = page("", "");
        assert_eq!(html.matches("</script>").count(), empty.matches("</script>").count());
        assert_eq!(html.matches("<!--").count(), 0);
        let (_, data) = html.split_once("id=\"data\">").expect("there is data");
        let (data, _) = data.split_once("</script>").expect("it ends");
        let data: serde_json::Value = serde_json::from_str(data).expect("it is JSON");
        assert_eq!(data["title"], evil);
        assert_eq!(data["failure"]["text"], evil);
        assert!(data["words"].as_array().is_some_and(|words| words.iter().any(|word| word == evil)));
    }

    #[test]
    fn the_page_is_self_contained() {
        let page = page("", "{}");
        for (n, part) in SCRIPT.iter().enumerate() {
            assert!(part.starts_with("// ") && !part.contains("</script"), "part {n} of the script");
        }
        for external in ["http:", "https:", "//cdn", "@import", "src=", "url("] {
            assert!(!page.contains(external), "{external}");
        }
    }

    #[test]
    fn a_run_that_was_not_traced_has_no_picture() {
        let outcome = simulate(Settings::new(Seed(1)), &|_: Sim| async { Ok(()) });
        assert!(Picture::of(&outcome).is_none());
    }
}

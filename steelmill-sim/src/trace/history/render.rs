//! Text of a verdict, and a violation as a timeline of overlapping operations.
//!
//! ```text
//! not linearizable: key "a"
//!
//!   ├─┤          client-1  SET a "3"     invoked 11.200 s, returned 11.214 s  <- would fit after this
//!       ├─┤      client-1  SET a "4"     invoked 11.900 s, returned 11.940 s
//!           ├─┤  client-2  GET a -> "3"  invoked 12.034 s, returned 12.051 s  <- cannot be ordered
//! ```

use std::cmp::Ordering::{Equal, Greater, Less};
use std::error::Error;
use std::fmt;
use std::time::Duration;

use super::{Operation, Undecided, Verdict, Violation};

/// The maximum number of rows; more would hide the relevant ones.
const ROWS: usize = 16;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Linearizable => f.write_str("linearizable"),
            Verdict::NotLinearizable(violation) => violation.fmt(f),
            Verdict::Undecided(undecided) => undecided.fmt(f),
        }
    }
}

impl Error for Verdict {}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Undecided { key, recorded, open, steps } = self;
        write!(f, "undecided: key {key:?}: {recorded} operations, {open} of them with an unknown outcome, ")?;
        write!(f, "allow more orders than {steps} steps suffice to try")
    }
}

impl Error for Undecided {}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "not linearizable: key {:?}\n", self.key)?;
        let earliest = self.operations.len().saturating_sub(ROWS);
        let shown: Vec<_> =
            (0..self.operations.len()).filter(|&i| i >= earliest || i == self.offender).collect();
        let hidden = self.operations.len() - shown.len();
        if hidden > 0 {
            writeln!(f, "  ... and {hidden} earlier operations")?;
        }
        let table = Table::of(shown.iter().map(|&i| &self.operations[i]));
        for index in shown {
            table.row(f, &self.operations[index])?;
            f.write_str(match index {
                _ if index == self.offender => {
                    "  <- cannot be ordered
"
                }
                _ if Some(index) == self.source => {
                    "  <- would fit after this
"
                }
                _ => {
                    "
"
                }
            })?;
        }
        writeln!(f)?;
        self.write_conclusion(f)
    }
}

impl Error for Violation {}

impl Violation {
    fn write_conclusion(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("No order explains these replies")?;
        match self.recorded - self.operations.len() {
            0 => f.write_str(".\n")?,
            1 => f.write_str(", whatever the outcome of the other operation on this key.\n")?,
            others => writeln!(f, ", whatever the outcomes of the {others} other operations on this key.")?,
        }
        let what = |index: usize| &self.operations[index].what;
        let (offender, state) = (what(self.offender), &self.state);
        if self.order.is_empty() {
            return write!(f, "The initial state is {state}, in which {offender} is impossible.");
        }
        let skipped = self.order.len().saturating_sub(ROWS);
        let order: Vec<_> = self.order[skipped..].iter().map(|&index| what(index).as_str()).collect();
        let dots = if skipped > 0 { "... " } else { "" };
        write!(
            f,
            "The best attempt, {dots}{}, leads to state {state}, in which {offender} is impossible.",
            order.join(", ")
        )
    }
}

struct Table {
    /// Invocations and returns to draw, in order; each has a column.
    events: Vec<usize>,
    client_width: usize,
    what_width: usize,
    decimals: usize,
}

impl Table {
    fn of<'a>(operations: impl Iterator<Item = &'a Operation> + Clone) -> Self {
        let mut events: Vec<_> =
            operations.clone().flat_map(|o| [Some(o.span.0), o.span.1]).flatten().collect();
        events.sort_unstable();
        let times = || operations.clone().flat_map(|o| [Some(o.invoked), o.returned]).flatten();
        Self {
            events,
            client_width: operations.clone().map(|o| o.client.chars().count()).max().unwrap_or(0),
            what_width: operations.clone().map(|o| o.what.chars().count()).max().unwrap_or(0),
            decimals: decimals(times().collect()),
        }
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, operation: &Operation) -> fmt::Result {
        let (from, to) = operation.span;
        f.write_str("  ")?;
        for event in &self.events {
            // Two characters per event: its own, and the gap to the next.
            f.write_str(match (event.cmp(&from), to.map(|to| event.cmp(&to))) {
                (Less, _) | (_, Some(Greater)) => "  ",
                (Equal, _) => "├─",
                (_, Some(Equal)) => "┤ ",
                (Greater, _) => "──",
            })?;
        }
        f.write_str(if to.is_none() { "?" } else { " " })?;
        let client = format!("{:<1$}", operation.client, self.client_width);
        let what = format!("{:<1$}", operation.what, self.what_width);
        write!(f, "  {client}  {what}  invoked {}, ", seconds(operation.invoked, self.decimals))?;
        match operation.returned {
            Some(returned) => write!(f, "returned {}", seconds(returned, self.decimals)),
            None => f.write_str("outcome unknown"),
        }
    }
}

fn seconds(time: Duration, decimals: usize) -> String {
    format!("{:.decimals$} s", time.as_secs_f64())
}

/// Decimals of a second: 3, or 6 or 9 if needed to distinguish the times.
fn decimals(mut times: Vec<Duration>) -> usize {
    times.sort_unstable();
    times.dedup();
    let distinguishes = |&decimals: &usize| {
        times.windows(2).all(|pair| seconds(pair[0], decimals) != seconds(pair[1], decimals))
    };
    [3, 6].into_iter().find(distinguishes).unwrap_or(9)
}

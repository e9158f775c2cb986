//! The figures as text and JSON, and the targets they miss.

use serde_json::{Value, json};

use super::plan::{Limit, Workload};

/// Fewer allocations per operation than this count as none: they come from growing tables.
const NO_ALLOCATION: f64 = 0.01;

/// One workload's figures: the bound's, then ours.
pub(super) struct Row {
    pub(super) workload: &'static Workload,
    pub(super) sides: [Figures; 2],
    /// Our instructions in the reference workload, if the target has one.
    pub(super) reference: Option<f64>,
}

#[derive(Default)]
pub(super) struct Figures {
    pub(super) nanoseconds: Option<f64>,
    pub(super) instructions: Option<f64>,
    pub(super) allocations: Option<f64>,
}

impl Figures {
    /// Records a round's time if it is the fastest so far.
    pub(super) fn take_time(&mut self, nanoseconds: f64) {
        self.nanoseconds = Some(self.nanoseconds.map_or(nanoseconds, |best| best.min(nanoseconds)));
    }
}

impl Row {
    pub(super) fn new(workload: &'static Workload) -> Self {
        Self { workload, sides: Default::default(), reference: None }
    }

    /// The maximum of our instructions per operation.
    fn limit(&self) -> Option<f64> {
        match self.workload.target.instructions.as_ref()? {
            Limit::Below(limit) => Some(*limit),
            Limit::AboveBound(share) => Some(self.sides[0].instructions? * (1.0 + share)),
            Limit::AboveOurs(_, share) => Some(self.reference? * (1.0 + share)),
        }
    }

    /// The missed targets, described.
    pub(super) fn missed(&self) -> Vec<String> {
        let ours = &self.sides[1];
        let mut missed = Vec::new();
        if let (Some(limit), Some(count)) = (self.limit(), ours.instructions)
            && count.round() > limit.round()
        {
            missed.push(format!("over {} instructions", count_text(limit)));
        }
        if let (Some(limit), Some(count)) = (self.workload.target.allocations, ours.allocations)
            && count > limit + NO_ALLOCATION
        {
            missed.push(format!("over {limit} allocations"));
        }
        let [bound, ours] = &self.sides;
        if let (Some(times), Some(bound), Some(time)) =
            (self.workload.target.times, bound.nanoseconds, ours.nanoseconds)
            && time > bound * times
        {
            missed.push(format!("over {times} times the bound's time"));
        }
        missed
    }
}

pub(super) fn text(rows: &[Row]) -> String {
    let mut lines = vec![
        ["workload", "per", "side", "ns", "instructions", "allocations", "target"].map(String::from).to_vec(),
    ];
    for row in rows {
        let [bound, ours] = &row.sides;
        let Workload { name, op, .. } = row.workload;
        let labels = [row.workload.bound.label, row.workload.ours.label];
        for (index, (figures, label)) in row.sides.iter().zip(labels).enumerate() {
            let lead = |text: &str| {
                if index == 0 { text.to_owned() } else { String::new() }
            };
            let target = if index == 0 { String::new() } else { target(row) };
            lines.push(vec![
                lead(name),
                lead(op),
                label.to_owned(),
                shown(figures.nanoseconds, |time| format!("{time:.1}")),
                shown(figures.instructions, count_text),
                // The difference of two runs may be slightly negative.
                shown(figures.allocations, |count| format!("{:.2}", count.max(0.0))),
                target,
            ]);
        }
        let times = |a: Option<f64>, b: Option<f64>| {
            shown(a.zip(b).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b), |times| format!("{times:.2}x"))
        };
        lines.push(vec![
            String::new(),
            String::new(),
            "ratio".into(),
            times(ours.nanoseconds, bound.nanoseconds),
            times(ours.instructions, bound.instructions),
            String::new(),
            String::new(),
        ]);
    }
    aligned(&lines)
}

/// Pads the columns: text to the left, figures to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            row += &match column {
                3..=5 => format!("{cell:>width$}  "),
                _ => format!("{cell:<width$}  "),
            };
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

fn target(row: &Row) -> String {
    let missed = row.missed();
    let target = &row.workload.target;
    if !missed.is_empty() {
        format!("MISSED: {}", missed.join(", "))
    } else if target.instructions.is_some() || target.allocations.is_some() || target.times.is_some() {
        "met".to_owned()
    } else {
        "-".to_owned()
    }
}

fn shown(figure: Option<f64>, format: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), format)
}

fn count_text(count: f64) -> String {
    format!("{count:.0}")
}

pub(super) fn json(rows: &[Row]) -> Value {
    let side = |label: &str, figures: &Figures| {
        json!({
            "side": label,
            "nanoseconds_per_op": figures.nanoseconds,
            "instructions_per_op": figures.instructions,
            "allocations_per_op": figures.allocations,
        })
    };
    rows.iter()
        .map(|row| {
            json!({
                "workload": row.workload.name,
                "op": row.workload.op,
                "bound": side(row.workload.bound.label, &row.sides[0]),
                "ours": side(row.workload.ours.label, &row.sides[1]),
                "missed": row.missed(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::PLAN;
    use super::*;

    fn row(name: &str, bound: f64, ours: f64, allocations: f64) -> Row {
        let workload = PLAN.iter().find(|workload| workload.name == name).expect("a workload");
        let mut row = Row::new(workload);
        row.sides[0].instructions = Some(bound);
        row.sides[1].instructions = Some(ours);
        row.sides[1].allocations = Some(allocations);
        row
    }

    #[test]
    fn the_fastest_round_counts() {
        let mut figures = Figures::default();
        for time in [3.0, 2.0, 4.0] {
            figures.take_time(time);
        }
        assert_eq!(figures.nanoseconds, Some(2.0));
    }

    #[test]
    fn a_target_is_missed_by_count_or_relative_to_the_bound() {
        assert_eq!(row("W1", 125.0, 3000.0, 0.001).missed(), [] as [&str; 0]);
        assert_eq!(row("W1", 125.0, 3001.0, 1.0).missed(), ["over 3000 instructions", "over 0 allocations"]);
        assert_eq!(row("call", 5.0, 5.2, 0.0).missed(), [] as [&str; 0]);
        assert_eq!(row("call", 5.0, 6.0, 0.0).missed(), ["over 5 instructions"]);
    }

    #[test]
    fn a_target_is_missed_relative_to_another_workload_or_in_time() {
        let mut fan = row("W2-10", 100.0, 3001.0, 0.0);
        assert_eq!(fan.missed(), [] as [&str; 0], "there is no reference");
        fan.reference = Some(2400.0);
        assert_eq!(fan.missed(), [] as [&str; 0]);
        fan.reference = Some(2100.0);
        assert_eq!(fan.missed(), ["over 2800 instructions"]);

        let mut bulk = row("W4", 100.0, 100.0, 0.0);
        bulk.sides[0].take_time(35.0);
        bulk.sides[1].take_time(71.0);
        assert_eq!(bulk.missed(), ["over 2 times the bound's time"]);
        bulk.sides[1].take_time(69.0);
        assert_eq!(bulk.missed(), [] as [&str; 0]);
    }

    #[test]
    fn the_table_holds_both_sides_and_their_ratio() {
        let text = text(&[row("W6", 50.0, 200.0, 0.0)]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["W6", "poll", "hand-written", "-", "50", "-"]);
        assert_eq!(lines[2], ["steelmill", "-", "200", "0.00", "met"]);
        assert_eq!(lines[3], ["ratio", "-", "4.00x"]);
    }
}

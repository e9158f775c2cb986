//! Comparison with the figures of an earlier run, as `--json` printed them.
//!
//! Only instructions count: they repeat, whatever else a machine does. Another processor or compiler changes them, so a file of
//! figures is one machine's.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table::Row;

/// How many more instructions than before are too many.
const SHARE: f64 = 0.05;

/// Our instructions per operation by workload.
pub(super) struct Baseline(Vec<(String, f64)>);

impl Baseline {
    pub(super) fn of(counts: Vec<(String, f64)>) -> Self {
        Self(counts)
    }

    pub(super) fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| {
            format!("{} does not hold what `cargo xtask bench --json` prints", file.display())
        })
    }

    fn parse(text: &str) -> Result<Self> {
        let rows: Vec<Value> = serde_json::from_str(text)?;
        let row = |row: &Value| {
            let name = row["workload"].as_str().context("a row has no workload")?;
            Ok(row["ours"]["instructions_per_op"].as_f64().map(|count| (name.to_owned(), count)))
        };
        let counted = rows.iter().filter_map(|value| row(value).transpose());
        let counted = counted.collect::<Result<Vec<_>>>()?;
        if counted.is_empty() {
            bail!("no row has instructions: it was made without valgrind");
        }
        Ok(Self(counted))
    }

    /// One line for each row that was counted in both, and whether there are any, and none takes over 5 % more than before.
    pub(super) fn compare(&self, rows: &[Row]) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut is_kept = true;
        for row in rows {
            let before = self.0.iter().find(|(name, _)| name == row.workload.name);
            let (Some((name, before)), Some(now)) = (before, row.sides[1].instructions) else { continue };
            let change = now / before - 1.0;
            let is_over = change > SHARE;
            let mark = if is_over { "  MORE" } else { "" };
            lines.push(format!("{name:<10} {before:>12.0} {now:>12.0} {:>+7.1} %{mark}", 100.0 * change));
            is_kept &= !is_over;
        }
        if lines.is_empty() {
            lines.push("none of these workloads was counted in both".to_owned());
            return (lines, false);
        }
        (lines, is_kept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::PLAN;
    use super::super::table;
    use super::*;

    fn row(name: &str, instructions: Option<f64>) -> Row {
        let workload = PLAN.iter().find(|workload| workload.name == name).expect("a workload");
        let mut row = Row::new(workload);
        row.sides[1].instructions = instructions;
        row
    }

    #[test]
    fn a_twentieth_more_is_too_much() {
        let before = [row("W1", Some(1_000.0)), row("W5", Some(100.0)), row("W6", None)];
        let baseline = Baseline::parse(&table::json(&before).to_string()).expect("figures");
        let (lines, is_kept) = baseline.compare(&[row("W1", Some(1_049.0)), row("W5", Some(50.0))]);
        assert!(is_kept && lines.len() == 2, "{lines:?}");
        assert!(lines[0].ends_with("+4.9 %") && lines[1].ends_with("-50.0 %"), "{lines:?}");
        let (lines, is_kept) = baseline.compare(&[row("W1", Some(1_051.0)), row("W6", Some(9.0))]);
        assert!(!is_kept && lines.len() == 1 && lines[0].ends_with("MORE"), "{lines:?}");
        assert!(!baseline.compare(&[row("W6", Some(9.0))]).1, "there is nothing to compare");
    }

    #[test]
    fn a_file_without_figures_is_refused() {
        assert!(Baseline::parse("{}").is_err() && Baseline::parse("[]").is_err());
        assert!(Baseline::parse(&table::json(&[row("W1", None)]).to_string()).is_err());
    }
}

//! `cargo xtask bench --growth FILE`: what a machine and an event cost, the more of them there are, as a picture.
//!
//! Three curves over logarithmic axes: a machine that starts, sends heartbeats for a minute and stops, in clusters of 10 to
//! 10,000; a round trip, in runs of 10^4 to 10^8 events (four to each); and the memory that a machine takes. A flat
//! curve is what is wanted: the simulator's own tables and queues do not get slower as they grow.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::measure::{Program, Run};

/// Polls and deliveries in one round trip of W1, about.
const EVENTS_PER_ROUND_TRIP: u64 = 4;

/// A curve: what is counted on each axis, and the points measured.
struct Curve {
    title: &'static str,
    across: &'static str,
    unit: &'static str,
    /// From the left end of the axis to the right, as powers of ten.
    decades: std::ops::RangeInclusive<u32>,
    points: Vec<(f64, f64)>,
}

/// Measures, and writes the picture.
pub(super) fn run(program: &Program, file: &Path) -> Result<()> {
    let cluster = |hosts: u32| -> Result<(f64, f64)> {
        let run = fastest(program, &format!("--workload w8 --hosts {hosts} --seconds 60"))?;
        Ok((run.nanoseconds, run.peak_kib.context("the program tells no memory")?))
    };
    // The program's start and its own memory are left out: those of the smallest cluster.
    let least = cluster(1)?;
    let (mut machines, mut memory) = (Vec::new(), Vec::new());
    for hosts in [10, 30, 100, 300, 1_000, 3_000, 10_000] {
        let run = cluster(hosts)?;
        let (more, hosts) = (f64::from(hosts - 1), f64::from(hosts));
        machines.push((hosts, (run.0 - least.0) / more / 1e3));
        memory.push((hosts, (run.1 - least.1) / more));
    }
    let mut events = Vec::new();
    for count in [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000_u64] {
        let run = fastest(program, &format!("--workload w1 --n {}", count / EVENTS_PER_ROUND_TRIP))?;
        events.push((count as f64, run.nanoseconds / count as f64));
    }
    let curves = [
        Curve {
            title: "time for each machine",
            across: "machines",
            unit: "µs",
            decades: 1..=4,
            points: machines,
        },
        Curve {
            title: "memory for each machine",
            across: "machines",
            unit: "KiB",
            decades: 1..=4,
            points: memory,
        },
        Curve { title: "time for each event", across: "events", unit: "ns", decades: 4..=8, points: events },
    ];
    for curve in &curves {
        println!("{} ({})", curve.title, curve.unit);
        for (x, y) in &curve.points {
            println!("  {x:>11} {}  {y:>8.1}", curve.across);
        }
    }
    std::fs::write(file, picture(&curves)).with_context(|| format!("cannot write {}", file.display()))
}

/// The fastest of many runs, as other programs may slow some: three at least, and short ones for two seconds.
fn fastest(program: &Program, args: &str) -> Result<Run> {
    eprintln!("{args}");
    let begun = Instant::now();
    let mut runs = Vec::new();
    while runs.len() < 3 || begun.elapsed() < Duration::from_secs(2) {
        runs.push(program.run(&[args])?);
    }
    let fastest = runs.into_iter().min_by(|one, other| one.nanoseconds.total_cmp(&other.nanoseconds));
    fastest.context("no run was made")
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 55.0;
const TOP: f64 = 40.0;

/// An SVG of the curves, side by side, each from zero up.
fn picture(curves: &[Curve]) -> String {
    let mut svg = String::new();
    let (width, height) = (curves.len() as f64 * (WIDTH + LEFT) + 30.0, HEIGHT + TOP + 45.0);
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" font-family="sans-serif" font-size="12">
<rect width="100%" height="100%" fill="#ffffff"/>"##
    );
    for (index, curve) in curves.iter().enumerate() {
        let left = LEFT + index as f64 * (WIDTH + LEFT);
        draw(&mut svg, curve, left);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, curve: &Curve, left: f64) {
    let (first, last) = (f64::from(*curve.decades.start()), f64::from(*curve.decades.end()));
    let most = round_up(curve.points.iter().map(|(_, y)| *y).fold(0.0, f64::max));
    let bottom = TOP + HEIGHT;
    let x = |value: f64| left + (value.log10() - first) / (last - first) * WIDTH;
    let y = |value: f64| bottom - value / most * HEIGHT;
    let _ = writeln!(svg, r#"<text x="{left:.0}" y="20" font-weight="bold">{}</text>"#, curve.title);
    for step in 0..=4 {
        let value = most * f64::from(step) / 4.0;
        let (at, right) = (y(value), left + WIDTH);
        let _ = writeln!(
            svg,
            r##"<line x1="{left:.0}" y1="{at:.1}" x2="{right:.0}" y2="{at:.1}" stroke="#dddddd"/>
<text x="{:.0}" y="{:.1}" text-anchor="end">{}</text>"##,
            left - 6.0,
            at + 4.0,
            tick(value, if step == 4 { curve.unit } else { "" })
        );
    }
    for decade in curve.decades.clone() {
        let at = x(10_f64.powi(decade as i32));
        let _ = writeln!(
            svg,
            r#"<text x="{at:.1}" y="{:.0}" text-anchor="middle">10<tspan dy="-4" font-size="9">{decade}</tspan></text>"#,
            bottom + 18.0
        );
    }
    let _ = writeln!(
        svg,
        r#"<text x="{:.1}" y="{:.0}" text-anchor="end">{}</text>"#,
        left + WIDTH,
        bottom + 36.0,
        curve.across
    );
    let line: Vec<String> = curve.points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
    let _ = writeln!(
        svg,
        r##"<polyline points="{}" fill="none" stroke="#2060a0" stroke-width="2"/>"##,
        line.join(" ")
    );
    for (a, b) in &curve.points {
        let _ = writeln!(svg, r##"<circle cx="{:.1}" cy="{:.1}" r="3" fill="#2060a0"/>"##, x(*a), y(*b));
    }
}

/// The next of 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}

fn tick(value: f64, unit: &str) -> String {
    let digits = usize::from(value.fract() > 0.0);
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_within_its_axes() {
        let curve = Curve {
            title: "time",
            across: "machines",
            unit: "µs",
            decades: 1..=4,
            points: vec![(10.0, 30.0), (10_000.0, 15.0)],
        };
        let svg = picture(&[curve]);
        // 30 of 50 µs at the left end, and 15 at the right.
        assert!(svg.contains(r#"points="55.0,100.0 355.0,145.0""#), "{svg}");
        assert!(svg.contains(">50 µs<") && svg.contains(">machines<"), "{svg}");
    }

    #[test]
    fn an_axis_ends_at_a_round_number() {
        assert_eq!([0.7, 1.0, 1.1, 20.1, 930.0].map(round_up), [1.0, 1.0, 2.0, 50.0, 1000.0]);
    }
}

//! JUnit XML report of a campaign, for CI systems: Jenkins, GitLab and the reporters of GitHub.
//!
//! A campaign is a test suite. All seeds together are one test case, whose output is the summary, so that ten thousand
//! green seeds are one line and reports can be compared; each red seed is a failed test case.
//!
//! Readers share no schema; these five elements are common to all. They are written by hand: only escaping needs care.

use std::fmt::{self, Write as _};
use std::time::Duration;

use crate::campaign::record::{Record, RedSeed};

pub(crate) fn report(record: &Record) -> String {
    let mut text = String::new();
    write(&mut text, record).expect("a string takes anything");
    text
}

fn write(xml: &mut String, record: &Record) -> fmt::Result {
    let suite = Attribute(&record.campaign.name);
    let is_cut_short = record.passed() && record.seeds < record.requested;
    let (tests, failures, errors) = (record.red().count() + 1, record.red().count(), u32::from(is_cut_short));
    let time = Seconds(record.wall);
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" time=\"{time}\"");
    writeln!(xml, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(xml, "<testsuites name=\"{suite}\" {counts}>")?;
    writeln!(xml, "  <testsuite name=\"{suite}\" {counts} skipped=\"0\">")?;
    for red in record.red() {
        write_red(xml, &record.campaign.name, red)?;
    }
    let seeds = Attribute(&case_name(record));
    writeln!(xml, "    <testcase classname=\"{suite}\" name=\"{seeds}\" time=\"{time}\">")?;
    if is_cut_short {
        let left = record.requested - record.seeds;
        writeln!(
            xml,
            "      <error message=\"stopped early: {left} of {} seeds did not run\"/>",
            record.requested
        )?;
    }
    writeln!(xml, "      <system-out>{}</system-out>", Content(&record.to_string()))?;
    writeln!(xml, "    </testcase>\n  </testsuite>\n</testsuites>")
}

fn write_red(xml: &mut String, suite: &str, red: &RedSeed) -> fmt::Result {
    let (suite, cause) = (Attribute(suite), Attribute(&red.cause));
    let text = format!("{red}\n\nrun it again with: {}", red.replay);
    let kept = if red.kept.is_some() { "kept " } else { "" };
    // Readers require a time, and the time of a single seed is not measured.
    writeln!(xml, "    <testcase classname=\"{suite}\" name=\"{kept}seed {}\" time=\"0\">", red.seed)?;
    writeln!(xml, "      <failure message=\"{cause}\">{}</failure>\n    </testcase>", Content(&text))
}

/// The name of the test case of all seeds: equal in each run, so that reports can be compared.
fn case_name(record: &Record) -> String {
    let first = record.campaign.first_seed.0;
    let last = first.wrapping_add(record.campaign.seeds.saturating_sub(1));
    match record.shard {
        Some(shard) => format!("seeds {first} to {last}, shard {shard}"),
        None => format!("seeds {first} to {last}"),
    }
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.0.as_secs_f64())
    }
}

struct Content<'a>(&'a str);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\n' | '\t' => f.write_char(character),
            _ => escape(character, f),
        })
    }
}

/// An attribute's value. Readers replace unescaped white space by blanks.
struct Attribute<'a>(&'a str);

impl fmt::Display for Attribute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| escape(character, f))
    }
}

/// Escapes a character. XML 1.0 (section 2.2, "Characters") forbids most control characters, such as those of terminal
/// colours, even as character references. They are written as in Rust: `\u{1b}`.
fn escape(character: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match character {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\t' | '\n' | '\r' => write!(f, "&#{};", u32::from(character)),
        '\0'..=' ' | '\u{fffe}' | '\u{ffff}' if character != ' ' => {
            write!(f, "{}", character.escape_unicode())
        }
        _ => f.write_char(character),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use roxmltree::{Document, Node};

    use super::*;
    use crate::{Campaign, Seed, Sim};

    /// Characters that XML escapes or forbids.
    const NASTY: &str =
        "<a b=\"c\" d='e'>&amp; ]]> \u{1b}[31mred\u{1b}[0m \0 tab\tend\r\nnext \u{fffe} \u{1f980} ü";

    fn named<'a>(document: &'a Document<'a>, tag: &str) -> Vec<Node<'a, 'a>> {
        document.descendants().filter(|node| node.has_tag_name(tag)).collect()
    }

    #[test]
    fn a_parser_reads_the_text_of_the_failure() {
        let summary = Campaign::new(|sim: Sim| async move {
            anyhow::ensure!(sim.seed() != Seed(4), "{NASTY}");
            Ok(())
        })
        .name("<nasty> & \"quoted\"")
        .first_seed(Seed(3))
        .seeds(5)
        .failures_max(9)
        .run();
        let record = summary.record(|red, _| format!("run --seed {} && echo", red.seed));
        let xml = report(&record);
        let document = Document::parse(&xml).unwrap_or_else(|error| panic!("{error} in {xml}"));
        let [suite] = named(&document, "testsuite")[..] else { panic!("{xml}") };
        for (name, value) in [
            ("name", "<nasty> & \"quoted\""),
            ("tests", "2"),
            ("failures", "1"),
            ("errors", "0"),
            ("skipped", "0"),
        ] {
            assert_eq!(suite.attribute(name), Some(value), "{name} in {xml}");
        }
        let cases = named(&document, "testcase");
        let names: Vec<_> = cases.iter().filter_map(|case| case.attribute("name")).collect();
        assert_eq!(names, ["seed 4", "seeds 3 to 7"]);
        let [failure] = named(&document, "failure")[..] else { panic!("{xml}") };
        let expected =
            NASTY.replace('\u{1b}', "\\u{1b}").replace('\0', "\\u{0}").replace('\u{fffe}', "\\u{fffe}");
        let first_line = expected.lines().next();
        assert_eq!(failure.attribute("message"), first_line);
        let text = failure.text().expect("it says why");
        assert!(
            text.contains(&expected) && text.ends_with("run it again with: run --seed 4 && echo"),
            "{text:?}"
        );
        let [output] = named(&document, "system-out")[..] else { panic!("{xml}") };
        assert_eq!(output.text(), Some(&*record.to_string()));
    }

    #[test]
    fn many_green_seeds_are_one_case() {
        let summary =
            Campaign::new(|_| async { Ok(()) }).seeds(300).shard("2/2".parse().expect("a shard")).run();
        let xml = report(&summary.record(|_, _| String::new()));
        let document = Document::parse(&xml).expect("XML");
        let [case] = named(&document, "testcase")[..] else { panic!("{xml}") };
        assert_eq!(case.attribute("name"), Some("seeds 1 to 300, shard 2/2"));
        assert!(named(&document, "failure").is_empty() && named(&document, "error").is_empty(), "{xml}");
    }

    #[test]
    fn a_campaign_that_was_interrupted_is_not_green() {
        let stop = Arc::new(AtomicBool::new(true));
        let summary = Campaign::new(|_| async { Ok(()) }).seeds(300).stop_when(stop).run();
        let xml = report(&summary.record(|_, _| String::new()));
        let document = Document::parse(&xml).expect("XML");
        let [error] = named(&document, "error")[..] else { panic!("{xml}") };
        assert_eq!(error.attribute("message"), Some("stopped early: 300 of 300 seeds did not run"));
        assert_eq!(named(&document, "testsuite")[0].attribute("errors"), Some("1"));
    }
}

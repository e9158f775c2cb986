//! What a power loss leaves of what was not synced: drawn from the seed, within what the standard promises.
//!
//! POSIX promises of what was not synced nothing. A kernel writes pages and names back in whatever order it likes, and a disk
//! has a cache of its own (Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, list what programs wrongly
//! rely on). A loss is of one style: those in which all or nothing is lost find other bugs than those that tear.

use super::settings::Durability;

/// How much of what was not synced one power loss leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    All,
    Nothing,
    /// Each file and each change of names wholly or not at all.
    Whole,
    /// Each sector: of sixteen so many have their last version, and the others any.
    Torn(u64),
}

/// The choices of one power loss.
pub(super) struct Survival<'a> {
    draw: &'a mut dyn FnMut(u64) -> u64,
    style: Style,
    /// That of the present file.
    of_file: Style,
    durability: Durability,
    sector: usize,
}

impl<'a> Survival<'a> {
    pub(super) fn new(draw: &'a mut dyn FnMut(u64) -> u64, durability: Durability, sector: usize) -> Self {
        let style = match draw(8) {
            0 => Style::All,
            1 | 2 => Style::Nothing,
            3 | 4 => Style::Whole,
            5 => Style::Torn(15),
            6 => Style::Torn(8),
            _ => Style::Torn(1),
        };
        Self { draw, style, of_file: style, durability, sector }
    }

    pub(super) fn sector(&self) -> usize {
        self.sector
    }

    /// Whether a file is never longer than what of its data was written.
    pub(super) fn orders_data(&self) -> bool {
        self.durability == Durability::Ext4
    }

    pub(super) fn begin_file(&mut self) {
        self.of_file = match self.style {
            Style::Whole if (self.draw)(2) == 0 => Style::All,
            Style::Whole => Style::Nothing,
            style => style,
        };
    }

    pub(super) fn end_file(&mut self) {
        self.of_file = self.style;
    }

    /// Has all data of the present file survive.
    pub(super) fn keep_data(&mut self) {
        self.of_file = Style::All;
    }

    /// Which of several versions is left, of something that is written at once.
    pub(super) fn version(&mut self, versions: usize) -> usize {
        match self.of_file {
            Style::All => versions - 1,
            Style::Nothing => 0,
            Style::Whole | Style::Torn(_) => (self.draw)(versions as u64) as usize,
        }
    }

    /// Which of several versions a sector has.
    pub(super) fn sector_version(&mut self, versions: usize) -> usize {
        match self.of_file {
            Style::Torn(mostly) if versions > 1 && (self.draw)(16) < mostly => versions - 1,
            _ => self.version(versions),
        }
    }

    /// Which of so many changes of names survive: any, or the first ones where a journal keeps their order.
    pub(super) fn changes(&mut self, number: usize) -> Vec<bool> {
        let first = |n: usize| (0..number).map(|change| change < n).collect();
        match (self.style, self.durability) {
            (Style::All, _) => first(number),
            (Style::Nothing, _) => first(0),
            (_, Durability::Ext4) => first((self.draw)(number as u64 + 1) as usize),
            (Style::Torn(_), Durability::Posix) if (self.draw)(2) == 0 => {
                first((self.draw)(number as u64 + 1) as usize)
            }
            (_, Durability::Posix) => (0..number).map(|_| (self.draw)(2) == 0).collect(),
        }
    }
}

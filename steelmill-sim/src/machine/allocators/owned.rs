//! Which symbols of an executable are an allocator's: functions and statics whose names begin as its names do, and what else
//! the same source files declare, such as a `static` of C, which may have any name.
//!
//! Local symbols follow the symbol of their source file (elf(5), `STT_FILE`), file by file as they were linked. A file is an
//! allocator's if one of its symbols is, if an allocator's function calls one of its local functions, which nobody else can, or
//! if it lies between two such files.

use std::collections::BTreeSet;
use std::ops::Range;

use object::elf::{STB_LOCAL, STT_FILE, STT_FUNC, STT_OBJECT, Sym64};
use object::read::elf::{ElfFile64, Sym as _};
use object::{Endianness, Object as _, ObjectSection as _, SectionKind};

use super::branches::{self, Target};

/// Functions of the C library that an allocator may have in its place, under the same names.
const REPLACED: [&str; 23] = [
    "aligned_alloc",
    "calloc",
    "cfree",
    "dallocx",
    "free",
    "mallctl",
    "mallctlbymib",
    "mallctlnametomib",
    "malloc",
    "malloc_stats_print",
    "malloc_usable_size",
    "mallocx",
    "memalign",
    "nallocx",
    "posix_memalign",
    "pvalloc",
    "rallocx",
    "realloc",
    "reallocarray",
    "sallocx",
    "sdallocx",
    "valloc",
    "xallocx",
];

/// What belongs to the allocators of an executable. Addresses are those in the file.
#[derive(Debug, Default)]
pub(crate) struct Owned {
    /// In order.
    pub(crate) functions: Vec<Range<usize>>,
    /// The numbers of all their symbols, in order.
    symbols: Vec<usize>,
}

impl Owned {
    /// Looks for the allocators in an executable.
    pub(crate) fn of(executable: &ElfFile64<'_, Endianness>, code: &Code<'_>) -> Self {
        let prefixes: Vec<&[u8]> =
            super::linked().flat_map(|(_, prefixes)| prefixes).map(|prefix| prefix.as_bytes()).collect();
        let Some(table) = Table::of(executable).filter(|_| !prefixes.is_empty()) else {
            return Self::default();
        };
        let (mut named, mut files, mut callers) = (Vec::new(), vec![""], Vec::new());
        let mut own_files = BTreeSet::new();
        for (number, symbol) in table.symbols.iter().enumerate() {
            if symbol.st_type() == STT_FILE {
                files.push(table.name(symbol));
            } else if table.may_be_named(symbol)
                && table.is_defined(symbol)
                && table.is_named(symbol, &prefixes)
            {
                named.push(number);
                if symbol.st_bind() == STB_LOCAL && is_of_c(files[files.len() - 1]) {
                    own_files.insert(files.len() - 1);
                } else if symbol.st_type() == STT_FUNC {
                    callers.push(table.range(symbol));
                }
            }
        }
        if named.is_empty() {
            return Self::default();
        }
        if !callers.is_empty() {
            own_files.extend(table.files_called(&callers, code).filter(|file| is_of_c(files[*file])));
        }
        fill(&mut own_files, &files);
        let (mut functions, mut numbers, mut file) = (Vec::new(), Vec::new(), 0);
        let mut named = named.into_iter().peekable();
        for (number, symbol) in table.symbols.iter().enumerate() {
            if symbol.st_type() == STT_FILE {
                file += 1;
                continue;
            }
            let is_own = named.next_if_eq(&number).is_some()
                || match symbol.st_bind() {
                    STB_LOCAL => own_files.contains(&file) && table.is_defined(symbol),
                    _ => table.is_replaced(symbol) && table.is_defined(symbol),
                };
            if is_own {
                numbers.push(number);
                functions.extend((symbol.st_type() == STT_FUNC).then(|| table.range(symbol)));
            }
        }
        functions.sort_by_key(|range: &Range<usize>| (range.start, range.end));
        functions.dedup();
        Self { functions, symbols: numbers }
    }

    /// Whether a symbol is an allocator's, by its number.
    pub(crate) fn has(&self, symbol: usize) -> bool {
        self.symbols.binary_search(&symbol).is_ok()
    }
}

/// The symbols of an executable. There may be a hundred thousand, and they are looked at before `main`.
struct Table<'a> {
    symbols: &'a [Sym64<Endianness>],
    names: &'a [u8],
    endian: Endianness,
}

impl<'a> Table<'a> {
    fn of(executable: &ElfFile64<'a, Endianness>) -> Option<Self> {
        let table = executable.elf_symbol_table();
        let names = executable.section_by_index(table.string_section()).ok()?.data().ok()?;
        Some(Self { symbols: table.symbols(), names, endian: executable.endian() })
    }

    /// Whether a symbol is a function or a static of the executable.
    fn is_defined(&self, symbol: &Sym64<Endianness>) -> bool {
        matches!(symbol.st_type(), STT_FUNC | STT_OBJECT)
            && symbol.st_size(self.endian) > 0
            && !symbol.is_undefined(self.endian)
    }

    fn range(&self, symbol: &Sym64<Endianness>) -> Range<usize> {
        let start = symbol.st_value(self.endian) as usize;
        start..start + symbol.st_size(self.endian) as usize
    }

    /// A name with all that follows it in the table of names.
    fn name_and_rest(&self, symbol: &Sym64<Endianness>) -> &'a [u8] {
        self.names.get(symbol.st_name(self.endian) as usize..).unwrap_or_default()
    }

    fn is_named(&self, symbol: &Sym64<Endianness>, prefixes: &[&[u8]]) -> bool {
        let name = self.name_and_rest(symbol);
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn is_replaced(&self, symbol: &Sym64<Endianness>) -> bool {
        // Rust's names begin so, which are nearly all.
        let is_of_rust = self.name_and_rest(symbol).first() == Some(&b'_');
        !is_of_rust && REPLACED.contains(&self.name(symbol))
    }

    /// By the first two bytes, which tell nearly all others apart.
    fn may_be_named(&self, symbol: &Sym64<Endianness>) -> bool {
        let at = symbol.st_name(self.endian) as usize;
        at + 1 < self.names.len()
            && matches!(
                (self.names[at], self.names[at + 1]),
                (b'_', b'r' | b'j' | b'm') | (b'j', b'e') | (b'm', b'i')
            )
    }

    fn name(&self, symbol: &Sym64<Endianness>) -> &'a str {
        let name = self.name_and_rest(symbol).split(|byte| *byte == 0).next();
        name.and_then(|name| str::from_utf8(name).ok()).unwrap_or_default()
    }

    /// The source files, by number, with local functions that some functions call.
    fn files_called(&self, callers: &[Range<usize>], code: &Code<'_>) -> impl Iterator<Item = usize> {
        let (mut local, mut file) = (Vec::new(), 0);
        for symbol in self.symbols {
            match symbol.st_type() {
                STT_FILE => file += 1,
                STT_FUNC if symbol.st_bind() == STB_LOCAL => local.push((self.range(symbol).start, file)),
                _ => {}
            }
        }
        local.sort_unstable();
        let branches = callers.iter().flat_map(|range| branches::of(code.of(range), range.start));
        let targets: BTreeSet<usize> = branches
            .filter_map(|branch| match branch.target {
                Target::At(target) => Some(target),
                Target::Through(_) => None,
            })
            .collect();
        local.into_iter().filter(move |(start, _)| targets.contains(start)).map(|(_, file)| file)
    }
}

/// The code of an executable, by the address in the file.
pub(crate) struct Code<'a>(Vec<(usize, &'a [u8])>);

impl<'a> Code<'a> {
    pub(crate) fn in_file(executable: &ElfFile64<'a, Endianness>) -> Self {
        let sections = executable.sections().filter(|section| section.kind() == SectionKind::Text);
        Self(
            sections.filter_map(|section| Some((section.address() as usize, section.data().ok()?))).collect(),
        )
    }

    /// The code of a function; empty if it is not in the file.
    pub(crate) fn of(&self, function: &Range<usize>) -> &'a [u8] {
        let code = self.0.iter().find_map(|(start, code)| {
            code.get(function.start.checked_sub(*start)?..function.end.checked_sub(*start)?)
        });
        code.unwrap_or_default()
    }
}

/// Whether a file's name is that of C or C++ code. The linker may put symbols of all files behind one without a name.
fn is_of_c(file: &str) -> bool {
    [".c", ".cc", ".cpp", ".cxx"].iter().any(|ending| file.ends_with(ending))
}

/// Adds the files of C between two that are an allocator's, unless one of another language is between them.
fn fill(own: &mut BTreeSet<usize>, files: &[&str]) {
    let pairs: Vec<(usize, usize)> = own.iter().copied().zip(own.iter().copied().skip(1)).collect();
    for (first, second) in pairs {
        if files[first..second].iter().all(|file| is_of_c(file)) {
            own.extend(first + 1..second);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_between_two_of_an_allocator_are_its_own_too() {
        let files = ["", "arena.c", "ticker.c", "tsd.c", "app.1-cgu.0", "mdb.c", "base.c"];
        let mut own = BTreeSet::from([1, 3, 6]);
        fill(&mut own, &files);
        assert_eq!(own, BTreeSet::from([1, 2, 3, 6]));
    }

    #[test]
    fn a_program_without_an_allocator_has_none() {
        let executable = crate::machine::executable::map().expect("this program");
        let executable = ElfFile64::<Endianness>::parse(executable).expect("an executable");
        let owned = Owned::of(&executable, &Code::in_file(&executable));
        assert!(owned.functions.is_empty() && owned.symbols.is_empty(), "{owned:?}");
        assert_eq!(super::super::linked().count(), 0);
    }
}

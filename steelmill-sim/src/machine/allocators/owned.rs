//! Which symbols of an executable are an allocator's: functions and statics whose names begin as its names do, and what else
//! the same source files declare, such as a `static` of C, which may have any name.
//!
//! Local symbols follow the symbol of their source file (elf(5), `STT_FILE`), file by file as they were linked. A file is an
//! allocator's if one of its symbols is, if an allocator's function calls one of its local functions, which nobody else can, or
//! if it lies between two such files.

use std::collections::BTreeSet;
use std::ops::Range;

use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use super::branches::{self, Target};

/// How names of allocators begin: jemalloc's (of the crates tikv-jemalloc-sys and jemalloc-sys, and of other builds) and
/// mimalloc's.
const PREFIXES: [&str; 5] = ["_rjem_", "je_", "_je_", "mi_", "_mi_"];

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
    /// In order, without functions of no length.
    pub(crate) functions: Vec<Range<usize>>,
    /// The numbers of all their symbols.
    symbols: BTreeSet<usize>,
}

/// A symbol that is a function or a static.
struct Symbol<'a> {
    number: usize,
    name: &'a str,
    range: Range<usize>,
    is_function: bool,
    is_local: bool,
    /// The number of its source file, if it is local.
    file: usize,
}

impl Owned {
    /// Looks for the allocators in an executable.
    pub(crate) fn of(executable: &ElfFile64<'_, Endianness>) -> Self {
        let (symbols, files) = symbols_of(executable);
        let is_named = |symbol: &&Symbol<'_>| PREFIXES.iter().any(|prefix| symbol.name.starts_with(prefix));
        let named: Vec<&Symbol<'_>> = symbols.iter().filter(is_named).collect();
        if named.is_empty() {
            return Self::default();
        }
        let mut own_files: BTreeSet<usize> =
            named.iter().filter(|symbol| symbol.is_local).map(|symbol| symbol.file).collect();
        own_files.extend(files_called(executable, &symbols, &named));
        own_files.retain(|file| is_of_c(files[*file]));
        fill(&mut own_files, &files);
        let is_own = |symbol: &Symbol<'_>| match symbol.is_local {
            true => own_files.contains(&symbol.file) || is_named(&symbol),
            false => is_named(&symbol) || REPLACED.contains(&symbol.name),
        };
        let own: Vec<&Symbol<'_>> = symbols.iter().filter(|symbol| is_own(symbol)).collect();
        let functions = own.iter().filter(|symbol| symbol.is_function).map(|symbol| symbol.range.clone());
        let mut functions: Vec<_> = functions.collect();
        functions.sort_by_key(|range| (range.start, range.end));
        functions.dedup();
        Self { functions, symbols: own.iter().map(|symbol| symbol.number).collect() }
    }

    /// Whether a symbol is an allocator's, by its number.
    pub(crate) fn has(&self, symbol: usize) -> bool {
        self.symbols.contains(&symbol)
    }
}

/// The functions and statics of an executable, and the names of its source files; what is before the first has an empty name.
fn symbols_of<'a>(executable: &ElfFile64<'a, Endianness>) -> (Vec<Symbol<'a>>, Vec<&'a str>) {
    let (mut symbols, mut files) = (Vec::new(), vec![""]);
    for symbol in executable.symbols() {
        let Ok(name) = symbol.name() else { continue };
        let is_function = match symbol.kind() {
            SymbolKind::File => {
                files.push(name);
                continue;
            }
            SymbolKind::Text => true,
            SymbolKind::Data => false,
            _ => continue,
        };
        let start = symbol.address() as usize;
        let range = start..start + symbol.size() as usize;
        if symbol.is_definition() && !range.is_empty() {
            let (number, is_local) = (symbol.index().0, symbol.is_local());
            symbols.push(Symbol { number, name, range, is_function, is_local, file: files.len() - 1 });
        }
    }
    (symbols, files)
}

/// Files with local functions that some functions call.
fn files_called(
    executable: &ElfFile64<'_, Endianness>,
    symbols: &[Symbol<'_>],
    callers: &[&Symbol<'_>],
) -> BTreeSet<usize> {
    let mut local: Vec<(usize, usize)> = symbols
        .iter()
        .filter(|symbol| symbol.is_function && symbol.is_local)
        .map(|symbol| (symbol.range.start, symbol.file))
        .collect();
    local.sort_unstable();
    let functions = callers.iter().filter(|symbol| symbol.is_function);
    let branches = functions
        .filter_map(|symbol| Some(branches::of(code_of(executable, &symbol.range)?, symbol.range.start)));
    let mut files = BTreeSet::new();
    for branch in branches.flatten() {
        if let Target::At(target) = branch.target
            && let Ok(found) = local.binary_search_by_key(&target, |(start, _)| *start)
        {
            files.insert(local[found].1);
        }
    }
    files
}

/// The code of a function.
pub(crate) fn code_of<'a>(
    executable: &ElfFile64<'a, Endianness>,
    function: &Range<usize>,
) -> Option<&'a [u8]> {
    let (start, length) = (function.start as u64, function.len() as u64);
    executable.sections().find_map(|section| section.data_range(start, length).ok().flatten())
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
        let owned = Owned::of(&executable);
        assert!(owned.functions.is_empty() && owned.symbols.is_empty(), "{owned:?}");
        assert_eq!(super::super::linked().count(), 0);
    }
}

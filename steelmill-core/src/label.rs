//! Short names of types, for messages: `Gateway<SimWorld>` without module paths.

use std::borrow::Cow;

/// The name of a type without module paths.
pub(crate) type Label = Cow<'static, str>;

pub(crate) fn label<T: ?Sized>() -> Label {
    shorten(std::any::type_name::<T>())
}

/// Whether a character is of a path. Braces: a type declared in an async function has a segment `{{closure}}`.
fn is_path(c: char) -> bool {
    if c.is_ascii() { ASCII[c as usize] } else { c.is_alphanumeric() }
}

/// Whether a byte is an ASCII character that is of a path.
static ASCII: [bool; 256] = {
    let mut is_path = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        is_path[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'{' | b'}');
        byte += 1;
    }
    is_path
};

/// Removes the module paths from a type's name; borrows if it holds a single path.
fn shorten(name: &'static str) -> Label {
    // Most names are a path of ASCII letters, and each child factory that is made asks for some.
    if name.bytes().all(|byte| ASCII[usize::from(byte)]) || name.chars().all(is_path) {
        return Cow::Borrowed(last_segment(name));
    }
    let mut short = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = if is_path(first) {
            let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
            short.push_str(last_segment(&rest[..end]));
            end
        } else {
            short.push(first);
            first.len_utf8()
        };
        rest = &rest[end..];
    }
    Cow::Owned(short)
}

/// The names of types that are different, with as many segments of their paths as tell all of them apart; numbered if nothing
/// does.
pub(crate) fn told_apart(names: &[&'static str]) -> Vec<String> {
    let segments = names.iter().map(|name| name.matches("::").count() + 1).max().unwrap_or(1);
    for kept in 2..=segments {
        let short: Vec<_> = names.iter().map(|name| shorten_to(name, kept)).collect();
        let mut distinct: Vec<_> = short.iter().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() == names.len() {
            return short;
        }
    }
    names.iter().zip(1..).map(|(name, number)| format!("{name}#{number}")).collect()
}

/// Keeps so many segments of each path.
fn shorten_to(name: &str, kept: usize) -> String {
    let mut short = String::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = if is_path(first) {
            let end = rest.find(|c| !is_path(c)).unwrap_or(rest.len());
            let from = rest[..end].rmatch_indices("::").nth(kept - 1).map_or(0, |(at, _)| at + 2);
            short.push_str(&rest[from..end]);
            end
        } else {
            short.push(first);
            first.len_utf8()
        };
        rest = &rest[end..];
    }
    short
}

fn last_segment(path: &str) -> &str {
    path.bytes().rposition(|byte| byte == b':').map_or(path, |colon| &path[colon + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, short: &str) {
        assert_eq!(shorten(name), short);
    }

    #[test]
    fn types_of_one_name_are_told_apart_by_as_much_of_their_paths_as_it_takes() {
        assert_eq!(told_apart(&["a::b::Store", "a::c::Store"]), ["b::Store", "c::Store"]);
        assert_eq!(told_apart(&["a::x::Store", "b::x::Store"]), ["a::x::Store", "b::x::Store"]);
        assert_eq!(told_apart(&["a::Of<b::X>", "a::Of<c::X>"]), ["a::Of<b::X>", "a::Of<c::X>"]);
        assert_eq!(told_apart(&["Store", "a::Store"]), ["Store", "a::Store"]);
        assert_eq!(told_apart(&["a::Store", "a::Store"]), ["a::Store#1", "a::Store#2"]);
    }

    #[test]
    fn a_label_has_no_module_paths() {
        check("Gateway", "Gateway");
        check("demo::gateway::Gateway", "Gateway");
        check("demo::main::{{closure}}::Gateway", "Gateway");
        check("demo::Gateway<steelmill_sim::SimWorld>", "Gateway<SimWorld>");
        check("a::Pair<(b::C, &str), [d::E; 3]>", "Pair<(C, &str), [E; 3]>");
        check("a::Boxed<dyn core::fmt::Debug + Send>", "Boxed<dyn Debug + Send>");
    }
}

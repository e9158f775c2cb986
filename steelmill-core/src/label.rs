//! Short names of types, for messages: `Gateway<SimWorld>` without module paths.

use std::borrow::Cow;

/// The name of a type without module paths.
pub(crate) type Label = Cow<'static, str>;

pub(crate) fn label<T: ?Sized>() -> Label {
    shorten(std::any::type_name::<T>())
}

/// Removes the module paths from a type's name; borrows if it holds a single path.
fn shorten(name: &'static str) -> Label {
    // Braces: a type declared in an async function has a path segment `{{closure}}`.
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}');
    // Most names are a path of ASCII letters, and each child factory that is made asks for some.
    let is_plain = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b':' | b'{' | b'}');
    if name.as_bytes().iter().all(is_plain) || name.chars().all(is_path) {
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

fn last_segment(path: &str) -> &str {
    path.rfind(':').map_or(path, |colon| &path[colon + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, short: &str) {
        assert_eq!(shorten(name), short);
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

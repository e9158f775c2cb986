//! Rust source as a flat list of tokens with their lines, so that rules match neither comments nor strings and do not
//! depend on formatting.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

pub(super) struct Token {
    /// As written; for a group, its opening or closing character.
    pub(super) text: String,
    pub(super) line: usize,
}

/// Tokenizes `text`, without comments; a documentation comment becomes a `doc` attribute.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    flatten(TokenStream::from_str(text)?, &mut tokens);
    Ok(tokens)
}

fn flatten(stream: TokenStream, into: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                into.push(Token { text: open.into(), line });
                flatten(group.stream(), into);
                into.push(Token { text: close.into(), line: group.span_close().start().line });
            }
            single => into.push(Token { text: single.to_string(), line }),
        }
    }
}

/// The lines at which the token sequence `pattern` begins.
pub(super) fn find(tokens: &[Token], pattern: &[&str]) -> Vec<usize> {
    tokens
        .windows(pattern.len())
        .filter(|window| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
        .map(|window| window[0].line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_in_code_but_not_in_comments_and_strings() {
        let text =
            "//! word\n/* word */ fn f() {\n    let _ = (\"word\", r#\"word\"#, 'w');\n    word!();\n}\n";
        let tokens = tokens(text).expect("it is Rust");
        assert_eq!(find(&tokens, &["word"]), [4]);
        assert_eq!(find(&tokens, &["word", "!"]), [4]);
        assert_eq!(find(&tokens, &["word", "?"]), [] as [usize; 0]);
    }
}

//! Rust text as a flat list of tokens with their lines: what a rule looks for is then never found in a comment or a
//! string, and how the code is laid out does not matter.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// One token.
pub(super) struct Token {
    /// As written; of a group, its opening or closing character.
    pub(super) text: String,
    pub(super) line: usize,
}

/// Takes `text` apart. Comments are gone; documentation is there as the attribute it is.
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

/// The lines on which the tokens `pattern` follow each other.
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

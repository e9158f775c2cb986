//! Who depends on whom, as a picture.

use std::fmt::Write;

use crate::daemon::Label;
use crate::factory::Via;

/// The daemons of a factory and what each was built from; made by [`Factory::graph`](crate::Factory::graph).
///
/// Its order is the order of completion, dependencies first, and the same in every run. Daemons shared with an ancestor
/// stand in front, with its path. Named daemons are `Store[primary]`; an arrow says when what it points to was found as
/// an optional dependency, behind a trait, or as one of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    name: String,
    nodes: Vec<GraphNode>,
}

/// A daemon in a [`Graph`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphNode {
    pub(crate) label: Label,
    /// The path of the ancestor that owns it, when it is shared.
    pub(crate) owner: Option<String>,
    pub(crate) needs: Vec<GraphEdge>,
}

/// Something a daemon was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GraphEdge {
    /// The index of its node.
    to: usize,
    is_optional: bool,
    /// What was asked for, when it was not the daemon itself.
    label: Option<Label>,
}

impl GraphEdge {
    pub(crate) fn new(to: usize, via: Via) -> Self {
        let label = match via {
            Via::Itself => None,
            Via::Optional => Some(Label::Borrowed("optional")),
            Via::Trait(label) => Some(label()),
            Via::Group(label) => Some(format!("each {}", label()).into()),
        };
        GraphEdge { to, is_optional: matches!(via, Via::Optional), label }
    }
}

impl Graph {
    pub(crate) fn new(name: &str, nodes: Vec<GraphNode>) -> Self {
        Graph { name: name.to_owned(), nodes }
    }

    /// The graph in Graphviz's language; arrows point from a daemon to what it depends on.
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {} {{\n", dot_string(&self.name));
        for (id, node) in self.nodes.iter().enumerate() {
            let style = if node.owner.is_some() { ", style=dashed" } else { "" };
            let _ = writeln!(text, "    n{id} [label={}{style}];", dot_string(&node.title()));
        }
        for (from, edge) in self.edges() {
            let _ = write!(text, "    n{from} -> n{}", edge.to);
            if let Some(label) = &edge.label {
                let style = if edge.is_optional { ", style=dashed" } else { "" };
                let _ = write!(text, " [label={}{style}]", dot_string(label));
            }
            text.push_str(";\n");
        }
        text.push_str("}\n");
        text
    }

    /// The graph as a Mermaid flowchart; arrows point from a daemon to what it depends on.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (id, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(text, "    n{id}[{}]", mermaid_string(&node.title()));
        }
        for (from, edge) in self.edges() {
            let arrow = if edge.is_optional { "-.->" } else { "-->" };
            let label = edge.label.as_deref().map(|label| format!("|{}|", mermaid_string(label)));
            let _ = writeln!(text, "    n{from} {arrow}{} n{}", label.unwrap_or_default(), edge.to);
        }
        text
    }

    fn edges(&self) -> impl Iterator<Item = (usize, &GraphEdge)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(from, node)| node.needs.iter().map(move |edge| (from, edge)))
    }
}

impl GraphNode {
    fn title(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{} ({owner})", self.label),
            None => self.label.to_string(),
        }
    }
}

/// A quoted string as Graphviz reads it: only quotes and backslashes mean something.
fn dot_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A quoted string as Mermaid reads it: what would be markup is written as HTML entities.
fn mermaid_string(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("\"{}\"", text.replace('"', "&quot;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(label: &'static str, owner: Option<&str>, needs: &[(usize, Via)]) -> GraphNode {
        let needs = needs.iter().map(|(to, via)| GraphEdge::new(*to, *via)).collect();
        GraphNode { label: Label::Borrowed(label), owner: owner.map(str::to_owned), needs }
    }

    fn graph() -> Graph {
        let store = || Label::Borrowed("dyn Store");
        let nodes = vec![
            node("Clock", Some("demo"), &[]),
            node("Disk<X>", None, &[(0, Via::Itself)]),
            node("Disk<X>[a \"b\"]", None, &[(0, Via::Group(store))]),
            node("Api", None, &[(0, Via::Optional), (1, Via::Trait(store))]),
        ];
        Graph::new("demo/a", nodes)
    }

    #[test]
    fn dot_shows_shared_daemons_and_optional_ones_dashed() {
        let expected = [
            r#"digraph "demo/a" {"#,
            r#"    n0 [label="Clock (demo)", style=dashed];"#,
            r#"    n1 [label="Disk<X>"];"#,
            r#"    n2 [label="Disk<X>[a \"b\"]"];"#,
            r#"    n3 [label="Api"];"#,
            r#"    n1 -> n0;"#,
            r#"    n2 -> n0 [label="each dyn Store"];"#,
            r#"    n3 -> n0 [label="optional", style=dashed];"#,
            r#"    n3 -> n1 [label="dyn Store"];"#,
            "}\n",
        ];
        assert_eq!(graph().to_dot(), expected.join("\n"));
    }

    #[test]
    fn mermaid_escapes_what_it_would_read_as_markup() {
        let expected = [
            r#"flowchart TD"#,
            r#"    n0["Clock (demo)"]"#,
            r#"    n1["Disk&lt;X&gt;"]"#,
            r#"    n2["Disk&lt;X&gt;[a &quot;b&quot;]"]"#,
            r#"    n3["Api"]"#,
            r#"    n1 --> n0"#,
            r#"    n2 -->|"each dyn Store"| n0"#,
            r#"    n3 -.->|"optional"| n0"#,
            r#"    n3 -->|"dyn Store"| n1"#,
            "",
        ];
        assert_eq!(graph().to_mermaid(), expected.join("\n"));
    }
}

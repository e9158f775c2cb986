//! Who depends on whom, as a picture.

use std::fmt::Write;

use crate::daemon::Label;

/// The daemons of a factory and what each was built from; made by [`Factory::graph`](crate::Factory::graph).
///
/// Its order is the order of completion, dependencies first, and the same in every run.
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
    /// What it was built from: indices of nodes.
    pub(crate) needs: Vec<usize>,
}

impl Graph {
    pub(crate) fn new(name: &str, nodes: Vec<GraphNode>) -> Self {
        Graph { name: name.to_owned(), nodes }
    }

    /// The graph in Graphviz's language; arrows point from a daemon to what it depends on.
    pub fn to_dot(&self) -> String {
        let mut text = format!("digraph {:?} {{\n", self.name);
        for (id, node) in self.nodes.iter().enumerate() {
            let style = if node.owner.is_some() { ", style=dashed" } else { "" };
            let _ = writeln!(text, "    n{id} [label={:?}{style}];", node.title());
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "    n{from} -> n{to};");
        }
        text.push_str("}\n");
        text
    }

    /// The graph as a Mermaid flowchart; arrows point from a daemon to what it depends on.
    pub fn to_mermaid(&self) -> String {
        let mut text = String::from("flowchart TD\n");
        for (id, node) in self.nodes.iter().enumerate() {
            let title = node.title().replace('<', "&lt;").replace('>', "&gt;");
            let _ = writeln!(text, "    n{id}[\"{title}\"]");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "    n{from} --> n{to}");
        }
        text
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.flat_map(|(from, node)| node.needs.iter().map(move |to| (from, *to)))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn diamond() -> Graph {
        let node = |label, owner: Option<&str>, needs: &[usize]| GraphNode {
            label: Label::Borrowed(label),
            owner: owner.map(str::to_owned),
            needs: needs.to_vec(),
        };
        Graph::new(
            "demo/a",
            vec![node("Clock", Some("demo"), &[]), node("Store<X>", None, &[0]), node("Api", None, &[0, 1])],
        )
    }

    #[test]
    fn dot_shows_shared_daemons_dashed() {
        let expected = "digraph \"demo/a\" {\n    n0 [label=\"Clock (demo)\", style=dashed];\n    \
                        n1 [label=\"Store<X>\"];\n    n2 [label=\"Api\"];\n    n1 -> n0;\n    n2 -> n0;\n    n2 -> n1;\n}\n";
        assert_eq!(diamond().to_dot(), expected);
    }

    #[test]
    fn mermaid_escapes_what_it_would_read_as_markup() {
        let expected = "flowchart TD\n    n0[\"Clock (demo)\"]\n    n1[\"Store&lt;X&gt;\"]\n    n2[\"Api\"]\n    \
                        n1 --> n0\n    n2 --> n0\n    n2 --> n1\n";
        assert_eq!(diamond().to_mermaid(), expected);
    }
}

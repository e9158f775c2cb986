//! The dependency graph, for Graphviz and Mermaid.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Factory;
use super::slots::{Place, Via};
use crate::label::Label;

/// The dependency graph of a factory; made by [`Factory::graph`](crate::Factory::graph).
///
/// Daemons are in the order of completion, dependencies first, the same in every run; those shared by an ancestor come
/// first, with its path. Named daemons are `Store[primary]`. An edge is labelled if it is optional, through a trait, to a
/// member of a group, or only an order ([`after`](crate::Factory::after)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    name: String,
    nodes: Vec<GraphNode>,
}

/// A daemon in a [`Graph`].
#[derive(Debug, Clone, PartialEq, Eq)]
struct GraphNode {
    label: Label,
    /// The path of the ancestor that owns it, when it is shared.
    owner: Option<String>,
    needs: Vec<GraphEdge>,
}

/// A dependency of a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
struct GraphEdge {
    /// The index of its node.
    to: usize,
    is_optional: bool,
    /// How it was requested, if not by its type.
    label: Option<Label>,
}

impl GraphEdge {
    fn new(to: usize, via: Via) -> Self {
        let label = match via {
            Via::Itself => None,
            Via::Optional => Some(Label::Borrowed("optional")),
            Via::Trait(label) => Some(label()),
            Via::Group(label) => Some(format!("each {}", label()).into()),
            Via::Order => Some(Label::Borrowed("after")),
        };
        GraphEdge { to, is_optional: matches!(via, Via::Optional), label }
    }
}

impl Factory {
    /// The dependency graph of what was built so far: shared daemons first, then those built here.
    pub fn graph(&self) -> Graph {
        let place_of = |place: Place| match place {
            Place::Shared(index) => index as usize,
            Place::Own(slot) => self.shared.len() + slot.index(),
        };
        let shared_places: BTreeMap<_, _> =
            (self.shared.iter().enumerate()).map(|(at, shared)| ((shared.level, shared.slot), at)).collect();
        let shared = self.shared.iter().map(|shared| {
            let owner = &self.ancestors[shared.level];
            let slot = owner.slots.get(shared.slot);
            // Only dependencies that are shared here, too.
            let needs = slot.needs.iter().filter_map(|need| {
                let (above, slot) = owner.origin(need.place);
                let at = shared_places.get(&(shared.level + above, slot))?;
                Some(GraphEdge::new(*at, need.via))
            });
            GraphNode {
                label: slot.label.clone(),
                owner: Some(owner.control.path.to_string()),
                needs: needs.collect(),
            }
        });
        let own = self.slots.iter().map(|(_, slot)| GraphNode {
            label: slot.label.clone(),
            owner: None,
            needs: slot.needs.iter().map(|need| GraphEdge::new(place_of(need.place), need.via)).collect(),
        });
        Graph::new(&self.path, shared.chain(own).collect())
    }
}

impl Graph {
    fn new(name: &str, nodes: Vec<GraphNode>) -> Self {
        Graph { name: name.to_owned(), nodes }
    }

    /// The graph in Graphviz's DOT language; arrows point from a daemon to its dependencies.
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

    /// The graph as a Mermaid flowchart; arrows point from a daemon to its dependencies.
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

/// A DOT string: quotes and backslashes are escaped.
fn dot_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A Mermaid string: markup is written as HTML entities.
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

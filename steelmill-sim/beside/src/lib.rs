//! What another simulator and steelmill take for the same work: see `benches`. A crate of its own, because the other simulator
//! turns features of tokio on that would be on in all of the workspace.
#![forbid(unsafe_code)]

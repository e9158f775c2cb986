//! Crates that services are built from, each as client and server on machines of a simulated cluster, as they are.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, for real time and sockets"
)]

mod grpc; // tonic
mod helper;
mod http; // hyper, axum, tower, reqwest, tiny_http, ureq
mod postgres; // tokio-postgres, pgwire
mod quic; // quinn
mod raft; // openraft
mod redis; // redis
mod smol; // smol, whose reactor makes system calls past the C library
mod steelmill; // steelmill-runtime: one binary, both worlds
mod tls; // tokio-rustls
mod websocket; // tokio-tungstenite

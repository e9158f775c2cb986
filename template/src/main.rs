//! The service on real sockets: `cargo run`, or `cargo run -- HOST:PORT`.

use std::env;
use std::process::ExitCode;

use steelmill_runtime::{Options, RuntimeWorld, run};
use {{crate_name}}::{Listen, Server};

fn main() -> ExitCode {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let options = Options { name: "{{project-name}}".to_owned(), ..Options::default() };
    run(options, |factory| {
        factory.provide_value(Listen(address))?;
        factory.with::<Server<RuntimeWorld>>()
    })
}

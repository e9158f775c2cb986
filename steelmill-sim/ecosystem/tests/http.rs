//! HTTP: axum with reqwest on tokio, tiny_http with ureq on threads.
#![expect(
    clippy::disallowed_methods,
    reason = "these are programs as people write them, for real time and sockets"
)]

mod helper;

use std::io::Read as _;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use helper::{SECOND, each_seed, succeeds};
use steelmill_sim::Sim;
use tokio::net::TcpListener;

/// Greets whom it is asked to.
async fn greeter() -> std::io::Result<()> {
    let router =
        Router::new().route("/{name}", get(async |Path(name): Path<String>| format!("hello {name}")));
    axum::serve(TcpListener::bind("0.0.0.0:80").await?, router).await
}

#[test]
fn axum_answers_reqwest_and_a_cut_cable_is_a_timeout() {
    each_seed(async |sim: Sim| {
        let server = sim.tokio_program("server", greeter).start().await?;
        let client = sim.tokio_program("client", || async {
            let client = reqwest::Client::builder().timeout(SECOND).build().expect("a client");
            let get = async || client.get("http://server/world").send().await?.text().await;
            tokio::time::sleep(SECOND).await;
            assert_eq!(get().await.expect("the cable is whole"), "hello world");
            tokio::time::sleep(SECOND).await;
            assert!(get().await.expect_err("the cable is cut").is_timeout());
            tokio::time::sleep(5 * SECOND).await;
            assert_eq!(get().await.expect("it is whole again"), "hello world");
        });
        let client = client.start().await?;
        sim.clock().sleep(Duration::from_millis(1500)).await;
        let cut = sim.partition(&server, &client);
        sim.clock().sleep(3 * SECOND).await;
        drop(cut);
        succeeds(client).await
    });
}

#[test]
fn axum_on_a_runtime_of_several_threads_survives_a_crash_of_the_server() {
    each_seed(async |sim: Sim| {
        let server = sim.program("server", || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
            runtime.block_on(greeter())
        });
        let server = server.start().await?;
        let client = sim.program("client", || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(async {
                let client = reqwest::Client::builder().timeout(SECOND).build().expect("a client");
                let mut answers = [0, 0];
                for _ in 0..40 {
                    tokio::time::sleep(SECOND / 4).await;
                    let sent = client.get("http://server/world").send().await;
                    answers[usize::from(sent.is_ok())] += 1;
                }
                assert!(answers[0] > 0 && answers[1] > 20, "{answers:?}");
            });
            std::io::Result::Ok(())
        });
        let client = client.start().await?;
        sim.clock().sleep(3 * SECOND).await;
        server.exit();
        sim.clock().sleep(SECOND).await;
        let _server = server.start().await?;
        succeeds(client).await
    });
}

#[test]
fn tiny_http_answers_ureq_on_threads() {
    each_seed(async |sim: Sim| {
        let server = sim.program("server", || {
            let server = tiny_http::Server::http("0.0.0.0:80").expect("the port is free");
            for request in server.incoming_requests() {
                let text = format!("you asked for {}", request.url());
                let _ = request.respond(tiny_http::Response::from_string(text));
            }
        });
        let _server = server.start().await?;
        sim.clock().sleep(SECOND).await;
        let client = sim.program("client", || {
            let mut text = String::new();
            let mut response = ureq::get("http://server/tea").call().expect("an answer");
            response.body_mut().as_reader().read_to_string(&mut text)?;
            assert_eq!(text, "you asked for /tea");
            std::io::Result::Ok(())
        });
        succeeds(client.start().await?).await
    });
}

//! HTTP: axum with reqwest and hyper with tower on tokio, tiny_http with ureq on threads.

use std::io::Read as _;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use steelmill_sim::Sim;
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

use crate::helper::{SECOND, asks, each_seed, succeeds, through_faults};

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

/// Answers with the protocol's version, at most eight requests of a connection at a time.
async fn version() -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let answer = service_fn(async |request: Request<Incoming>| {
            tokio::time::sleep(SECOND / 100).await;
            let text = format!("{:?}", request.version());
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
        });
        let service = ServiceBuilder::new().concurrency_limit(8).service(answer);
        tokio::spawn(async move {
            let connection = auto::Builder::new(TokioExecutor::new());
            connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await
        });
    }
}

async fn ask_for_version(expected: &str) {
    let client = Client::builder(TokioExecutor::new()).http2_only(expected == "HTTP/2.0").build_http();
    asks(async || {
        let get = async || {
            let request = Request::get("http://server/").body(Full::<Bytes>::default())?;
            let body = client.request(request).await?.into_body().collect().await?;
            assert_eq!(body.to_bytes(), expected);
            anyhow::Ok(())
        };
        futures::try_join!(get(), get(), get()).map(|_| ())
    })
    .await;
}

fn hyper_speaks(expected: &'static str) {
    each_seed(move |sim: Sim| async move {
        let server = sim.tokio_program("server", version);
        let client = sim.tokio_program("client", move || ask_for_version(expected));
        through_faults(&sim, server, client).await
    });
}

#[test]
fn hyper_and_tower_speak_http_1_through_faults() {
    hyper_speaks("HTTP/1.1");
}

#[test]
fn hyper_and_tower_speak_http_2_through_faults() {
    hyper_speaks("HTTP/2.0");
}

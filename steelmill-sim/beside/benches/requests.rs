//! Requests of reqwest to axum, both as they are, on two simulated machines.

mod harness;

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use steelmill_sim::{Seed, Settings, simulate_alone};
use tokio::net::TcpListener;

fn main() {
    harness::main(|options| {
        let (n, [least, greatest]) = (options.n, options.latency());
        let outcome = simulate_alone(Settings::new(Seed(1)), &|sim| async move {
            sim.set_latency(least..=greatest);
            let _server = sim.tokio_program("server", serve).start().await?;
            sim.clock().sleep(Duration::from_secs(1)).await;
            let client = sim.tokio_program("client", move || ask(n)).start().await?;
            let life = client.ended().await;
            if !life.is_success() {
                return Err(steelmill_core::Error::msg(life.to_string()));
            }
            Ok(())
        });
        if let Some(failure) = outcome.failure {
            panic!("{failure}");
        }
    });
}

async fn serve() -> std::io::Result<()> {
    let app = Router::new().route("/", get(async || harness::ANSWER));
    axum::serve(TcpListener::bind("0.0.0.0:80").await?, app).await
}

async fn ask(n: u64) -> reqwest::Result<()> {
    let client = reqwest::Client::new();
    for _ in 0..n {
        let answer = client.get("http://server/").send().await?.text().await?;
        assert_eq!(answer, harness::ANSWER);
    }
    Ok(())
}

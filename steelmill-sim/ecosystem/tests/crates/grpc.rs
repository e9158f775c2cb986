//! gRPC: tonic with its health service.

use steelmill_sim::Sim;
use tonic::transport::{Endpoint, Server};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::helper::{SECOND, asks, each_seed, through_faults};

async fn serve() -> Result<(), tonic::transport::Error> {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("greeter", ServingStatus::Serving).await;
    Server::builder().add_service(service).serve(([0, 0, 0, 0], 50051).into()).await
}

#[test]
fn tonic_reconnects_through_faults() {
    each_seed(async |sim: Sim| {
        let server = sim.tokio_program("server", serve);
        let client = sim.tokio_program("client", async || {
            let channel = Endpoint::from_static("http://server:50051").timeout(SECOND / 2).connect_lazy();
            let client = HealthClient::new(channel);
            asks(async || {
                let request = HealthCheckRequest { service: "greeter".to_owned() };
                let response = client.clone().check(request).await?;
                assert_eq!(response.into_inner().status, ServingStatus::Serving as i32);
                Ok::<_, tonic::Status>(())
            })
            .await;
        });
        through_faults(&sim, server, client).await
    });
}

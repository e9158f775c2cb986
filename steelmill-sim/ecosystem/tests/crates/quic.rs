//! QUIC: quinn with rustls.

use std::net::Ipv4Addr;
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use steelmill_sim::Sim;

use crate::helper::{asks, each_seed, through_faults};
use crate::tls;

/// Sends back what it receives on each stream.
async fn serve(config: ServerConfig) -> std::io::Result<()> {
    let endpoint = Endpoint::server(config, (Ipv4Addr::UNSPECIFIED, 443).into())?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let connection = incoming.await?;
            loop {
                let (mut send, mut receive) = connection.accept_bi().await?;
                let text = receive.read_to_end(100).await?;
                send.write_all(&text).await?;
                send.finish()?;
            }
            #[expect(unreachable_code, reason = "it gives the type")]
            anyhow::Ok(())
        });
    }
    Ok(())
}

#[test]
fn quinn_connects_again_after_each_fault() {
    each_seed(async |sim: Sim| {
        let (certificate, key) = tls::certificate();
        let server = QuicServerConfig::try_from(tls::server_config((certificate.clone(), key)));
        let server = ServerConfig::with_crypto(Arc::new(server?));
        let client =
            ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls::client_config(certificate))?));
        let server = sim.tokio_program("server", move || serve(server.clone()));
        let client = sim.tokio_program("client", move || {
            let client = client.clone();
            async move {
                let mut endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into()).expect("a port");
                endpoint.set_default_client_config(client);
                let mut open = None;
                asks(async || {
                    let connection = match open.take() {
                        Some(connection) => connection,
                        None => {
                            let address = tokio::net::lookup_host("server:443").await?.next();
                            endpoint.connect(address.expect("an address"), "server")?.await?
                        }
                    };
                    let (mut send, mut receive) = connection.open_bi().await?;
                    send.write_all(b"hello").await?;
                    send.finish()?;
                    assert_eq!(receive.read_to_end(100).await?, b"hello");
                    open = Some(connection);
                    anyhow::Ok(())
                })
                .await;
            }
        });
        through_faults(&sim, server, client).await
    });
}

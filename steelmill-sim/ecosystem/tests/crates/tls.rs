//! TLS: tokio-rustls with ring.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use steelmill_sim::Sim;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::helper::{asks, each_seed, through_faults};

/// A new certificate for a machine called `server`, with its key.
pub(crate) fn certificate() -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["server".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    (made.cert.into(), key)
}

pub(crate) fn client_config(trusted: CertificateDer<'static>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("it is a certificate");
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

pub(crate) fn server_config(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
) -> ServerConfig {
    let config = ServerConfig::builder().with_no_client_auth();
    config.with_single_cert(vec![certificate], key).expect("they belong together")
}

/// Sends back what it receives.
async fn serve(config: Arc<ServerConfig>) -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:443").await?;
    let acceptor = TlsAcceptor::from(config);
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let (mut receive, mut send) = tokio::io::split(acceptor.accept(stream).await?);
            tokio::io::copy(&mut receive, &mut send).await
        });
    }
}

#[test]
fn rustls_shakes_hands_again_after_each_fault() {
    each_seed(async |sim: Sim| {
        let (certificate, key) = certificate();
        let server = Arc::new(server_config((certificate.clone(), key)));
        let client = Arc::new(client_config(certificate));
        let server = sim.tokio_program("server", move || serve(server.clone()));
        let client = sim.tokio_program("client", move || {
            let connector = TlsConnector::from(client.clone());
            async move {
                let mut open = None;
                asks(async || {
                    let mut stream = match open.take() {
                        Some(stream) => stream,
                        None => {
                            let stream = TcpStream::connect("server:443").await?;
                            connector.connect("server".try_into().expect("a name"), stream).await?
                        }
                    };
                    stream.write_all(b"hello").await?;
                    stream.flush().await?;
                    let mut answer = [0; 5];
                    stream.read_exact(&mut answer).await?;
                    assert_eq!(&answer, b"hello");
                    open = Some(stream);
                    std::io::Result::Ok(())
                })
                .await;
            }
        });
        through_faults(&sim, server, client).await
    });
}

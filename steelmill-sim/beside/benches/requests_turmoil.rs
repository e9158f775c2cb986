//! The same requests on [turmoil](https://docs.rs/turmoil), whose sockets both programs have to be given: axum by a listener, and
//! hyper's client, of which reqwest is made, by a connector, as reqwest takes none.

mod harness;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::Listener;
use http_body_util::{BodyExt as _, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::service_fn;
use turmoil::net::{TcpListener, TcpStream};

/// Longer than any run.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn main() {
    harness::main(|options| {
        let (n, [least, greatest]) = (options.n, options.latency());
        let mut sim = turmoil::Builder::new()
            .rng_seed(1)
            .min_message_latency(least)
            .max_message_latency(greatest)
            .simulation_duration(FOR_EVER)
            .build();
        sim.host("server", || async {
            let app = Router::new().route("/", get(async || harness::ANSWER));
            let listener = TcpListener::bind(("0.0.0.0", 80)).await?;
            Ok(axum::serve(Accepting(listener), app).await?)
        });
        sim.client("client", async move {
            let connector = service_fn(|_: Uri| {
                Box::pin(async {
                    let stream = TcpStream::connect(("server", 80)).await?;
                    io::Result::Ok(TokioIo::new(Connecting(stream)))
                })
            });
            let client = Client::builder(TokioExecutor::new()).build::<_, Empty<Bytes>>(connector);
            for _ in 0..n {
                let answer = client.get(Uri::from_static("http://server/")).await?;
                let answer = answer.into_body().collect().await?.to_bytes();
                assert_eq!(answer, harness::ANSWER);
            }
            Ok(())
        });
        sim.run().expect("the client succeeds");
    });
}

/// What axum accepts connections from.
struct Accepting(TcpListener);

impl Listener for Accepting {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        self.0.accept().await.expect("the server has descriptors")
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection that hyper's client uses.
struct Connecting(TcpStream);

impl Connection for Connecting {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Connecting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connecting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

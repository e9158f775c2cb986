//! WebSocket: tokio-tungstenite.

use futures::{SinkExt as _, StreamExt as _};
use steelmill_sim::Sim;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{accept_async, connect_async};

use crate::helper::{asks, each_seed, through_faults};

/// Sends back every message.
async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:80").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut socket = accept_async(stream).await?;
            while let Some(message) = socket.next().await.transpose()? {
                if message.is_text() {
                    socket.send(message).await?;
                }
            }
            Ok::<_, Error>(())
        });
    }
}

#[test]
fn a_web_socket_is_opened_again_after_each_fault() {
    each_seed(async |sim: Sim| {
        let server = sim.tokio_program("server", serve);
        let client = sim.tokio_program("client", async || {
            let mut open = None;
            asks(async || {
                let mut socket = match open.take() {
                    Some(socket) => socket,
                    None => connect_async("ws://server/").await?.0,
                };
                socket.send(Message::text("hello")).await?;
                let answer = socket.next().await.transpose()?;
                assert_eq!(answer, Some(Message::text("hello")));
                open = Some(socket);
                Ok::<_, Error>(())
            })
            .await;
        });
        through_faults(&sim, server, client).await
    });
}

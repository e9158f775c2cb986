//! PostgreSQL: tokio-postgres, with a server made with pgwire.

use std::pin::Pin;
use std::sync::Arc;

use pgwire::api::auth::noop::NoopStartupHandler;
use pgwire::api::query::SimpleQueryHandler;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response};
use pgwire::api::{ClientInfo, PgWireServerHandlers, Type};
use pgwire::error::PgWireResult;
use pgwire::tokio::process_socket;
use steelmill_sim::Sim;
use tokio::net::TcpListener;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::helper::{asks, each_seed, through_faults};

/// Answers every query with its own text.
struct Echo;

impl NoopStartupHandler for Echo {}

impl SimpleQueryHandler for Echo {
    fn do_query<'a, 'b, 'c, 'd, C>(
        &'a self,
        _: &'b mut C,
        query: &'c str,
    ) -> Pin<Box<dyn Future<Output = PgWireResult<Vec<Response>>> + Send + 'd>>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
        C: ClientInfo + Unpin + Send + Sync + 'd,
    {
        let field = FieldInfo::new("query".to_owned(), None, None, Type::VARCHAR, FieldFormat::Text);
        let fields = Arc::new(vec![field]);
        let mut encoder = DataRowEncoder::new(fields.clone());
        let row = encoder.encode_field(&query).map(|()| encoder.take_row());
        let rows = futures::stream::iter([row]);
        Box::pin(async move { Ok(vec![Response::Query(QueryResponse::new(fields, rows))]) })
    }
}

struct Handlers;

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::new(Echo)
    }

    fn startup_handler(&self) -> Arc<impl pgwire::api::auth::StartupHandler> {
        Arc::new(Echo)
    }
}

async fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("0.0.0.0:5432").await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(process_socket(stream, None, Handlers));
    }
}

#[test]
fn tokio_postgres_connects_again_after_each_fault() {
    each_seed(async |sim: Sim| {
        let server = sim.tokio_program("server", serve);
        let client = sim.tokio_program("client", async || {
            let mut open = None;
            asks(async || {
                let client = match open.take() {
                    Some(client) => client,
                    None => {
                        let config = "host=server user=somebody dbname=any connect_timeout=1";
                        let (client, connection) = tokio_postgres::connect(config, NoTls).await?;
                        tokio::spawn(connection);
                        client
                    }
                };
                let messages = client.simple_query("SELECT 1").await?;
                let row = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                assert_eq!(row, Some("SELECT 1"));
                open = Some(client);
                Ok::<_, tokio_postgres::Error>(())
            })
            .await;
        });
        through_faults(&sim, server, client).await
    });
}

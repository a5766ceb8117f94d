//! Limits: nobody takes more than its share, and whoever is refused can come again.

mod bodies;
mod connections;
mod rates;
mod requests;
mod slow_clients;

use std::time::Duration;

use e2e::{Given, RawConnection, Response, World, within};
use serde_json::Value;

/// The gateway with these `limits` on its one route, `/mcp`.
async fn given(limits: Value) -> Given {
    let mut given = Given::new().await;
    given.config["routes"][0]["limits"] = limits;
    given
}

/// The head of a request to `/mcp`, without its end.
fn head(method: &str, token: &str) -> String {
    format!("{method} /mcp HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n")
}

/// Waits as long as an answer says, and not longer.
async fn wait_as_told(answer: &Response) {
    let seconds = answer.header("retry-after").parse().unwrap();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Waits until the gateway has closed a connection without a word.
async fn closed(connection: &mut RawConnection) {
    assert!(within("the connection to be closed", connection.response()).await.is_none());
}

/// Waits until the metrics say this.
async fn measured(world: &World, line: &str) {
    let measured = async {
        loop {
            let metrics = world.client().get(world.admin_url("/metrics")).send().await.unwrap().text().await.unwrap();
            if metrics.lines().any(|each| each == line) {
                return;
            }
        }
    };
    within(line, measured).await;
}

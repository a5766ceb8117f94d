//! Owns phantomgate as a part of the demo: `conf/demo.yaml`, with the real ports in it, on a thread of its own.
//!
//! Never: a configuration that an operator could not write. The demo runs the product as it is.

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow};
use phantomgate::server::{Server, Shutdown};
use tokio::sync::oneshot;

/// The configuration as it is shipped, with the documented ports.
const CONFIGURATION: &str = include_str!("../../conf/demo.yaml");

/// Where the secret is that the configuration names.
pub(crate) const SECRET_FILE: &str = "secrets/authorization-server";

/// The addresses that take the place of the documented ones.
pub(crate) struct Addresses {
    /// phantomgate itself, in place of `127.0.0.1:8080`.
    pub(crate) gateway: String,
    /// In place of `127.0.0.1:9000`.
    pub(crate) authorization_server: String,
    /// In place of `127.0.0.1:3000`.
    pub(crate) mcp_server: String,
}

/// A running phantomgate.
pub(crate) struct Gateway {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Gateway {
    /// Starts phantomgate on `listener`; its keys and the configuration it runs with are kept in `folder`.
    ///
    /// # Errors
    /// When the configuration has errors (all of them are named), or phantomgate cannot start with it.
    pub(crate) async fn start(listener: TcpListener, addresses: &Addresses, folder: &Path) -> anyhow::Result<Gateway> {
        let file = folder.join("demo.yaml");
        let text = configuration(addresses);
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        let config = phantomgate::config::parse(&file, &text).map_err(|report| anyhow!("{report}"))?;

        let (stop, stopped) = oneshot::channel();
        let (started, outcome) = oneshot::channel();
        let serve = move || match Server::with_listeners(config, vec![listener]) {
            Ok(server) => {
                let _ = started.send(Ok(()));
                server.run(async move {
                    // A sender that was dropped is as good as one that has spoken.
                    let _ = stopped.await;
                    Shutdown::Graceful
                })
            }
            Err(error) => {
                let _ = started.send(Err(anyhow!("phantomgate cannot start: {error}")));
                Ok(())
            }
        };
        let thread = thread::Builder::new().name("phantomgate".to_owned()).spawn(serve);
        let thread = thread.context("cannot start a thread for phantomgate")?;
        outcome.await.context("phantomgate ended before it had started")??;
        Ok(Gateway { stop, thread })
    }

    /// Drains and ends.
    ///
    /// # Errors
    /// When phantomgate had failed or panicked.
    pub(crate) async fn shut_down(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        let ended = joined.context("cannot wait for phantomgate")?.map_err(|_| anyhow!("phantomgate panicked"))?;
        ended.context("phantomgate failed")
    }
}

fn configuration(addresses: &Addresses) -> String {
    CONFIGURATION
        .replace("127.0.0.1:8080", &addresses.gateway)
        .replace("127.0.0.1:9000", &addresses.authorization_server)
        .replace("127.0.0.1:3000", &addresses.mcp_server)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_address_is_replaced() {
        let text = configuration(&Addresses {
            gateway: "gateway".to_owned(),
            authorization_server: "authorization-server".to_owned(),
            mcp_server: "mcp-server".to_owned(),
        });
        assert!(!text.contains("127.0.0.1"));
        assert!(text.contains(SECRET_FILE));
    }
}

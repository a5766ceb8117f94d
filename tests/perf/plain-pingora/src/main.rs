//! The floor of every comparison: Pingora passes requests on to one upstream, and does nothing else. It has the allocator,
//! the TLS library and the build profile of phantomgate, so the difference between the two is what phantomgate does.

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use clap::Parser;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pass every request on to one upstream.
#[derive(Parser)]
struct Arguments {
    /// Where to listen
    listen: SocketAddr,
    /// Where requests go
    upstream: SocketAddr,
    /// Worker threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The certificate to show: TLS and HTTP/2, then
    #[arg(long, requires = "private_key", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its private key
    #[arg(long, requires = "certificate", value_name = "FILE")]
    private_key: Option<PathBuf>,
}

struct Forward {
    upstream: HttpPeer,
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(self.upstream.clone()))
    }
}

fn main() -> pingora::Result<()> {
    let arguments = Arguments::parse();
    // Pingora would take another one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let conf = ServerConf {
        threads: arguments.threads,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let forward = Forward { upstream: HttpPeer::new(arguments.upstream, false, String::new()) };
    let mut service = http_proxy_service(&server.configuration, forward);
    let listen = arguments.listen.to_string();
    match (arguments.certificate, arguments.private_key) {
        (Some(certificate), Some(private_key)) => {
            let files = [certificate, private_key].map(|file| file.display().to_string());
            let [certificate, private_key] = &files;
            let mut tls = TlsSettings::intermediate(certificate, private_key)?;
            tls.enable_h2();
            service.add_tls_with_settings(&listen, None, tls);
        }
        _ => service.add_tcp(&listen),
    }
    server.add_service(service);
    server.run_forever()
}

//! Who is compared, and how each of them is started. Their configurations are the files in `tests/perf/peers`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Certificates, Process, ReservedPort};
use serde::{Deserialize, Serialize};

use super::scenario::TOKENS;
use crate::authorization_server::{AuthorizationServer, CLIENT_ID, CLIENT_SECRET, RESOURCE, SCOPE, UPSTREAM_AUDIENCE};
use crate::load::listening;
use crate::machine::Placement;
use crate::process::ProcessTree;
use crate::programs::{ENVIRONMENT, Program};
use crate::template::fill;
use crate::upstream::{Upstream, new_folder, nginx, nginx_user};

/// Worker threads of each of them.
const THREADS: &str = "2";

/// A proxy, with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// phantomgate with audit and metrics
    Phantomgate,
    /// phantomgate without audit
    PhantomgateWithoutAudit,
    /// phantomgate, where it does not read messages
    PhantomgatePlainRoute,
    /// Pingora, without any of ours: no token work
    PlainPingora,
    /// nginx with `auth_request` and `proxy_cache`
    NginxAuthRequest,
    /// Envoy with `ext_authz`
    EnvoyExtAuthz,
    /// Envoy with a Lua filter that caches
    EnvoyLua,
    /// Traefik with `forwardAuth`
    TraefikForwardAuth,
    /// HAProxy with Lua that caches
    HaproxyLua,
    /// nginx: no token work
    Nginx,
}

impl Peer {
    /// What it is called in a table, without its version.
    pub(crate) fn label(self) -> (&'static str, &'static str) {
        match self {
            Self::Phantomgate => ("phantomgate", ""),
            Self::PhantomgateWithoutAudit => ("phantomgate", "without audit"),
            Self::PhantomgatePlainRoute => ("phantomgate", "messages not read"),
            Self::PlainPingora => ("Pingora", "no token work"),
            Self::NginxAuthRequest => ("nginx", "auth_request, proxy_cache"),
            Self::EnvoyExtAuthz => ("Envoy", "ext_authz"),
            Self::EnvoyLua => ("Envoy", "Lua that caches"),
            Self::TraefikForwardAuth => ("Traefik", "forwardAuth"),
            Self::HaproxyLua => ("HAProxy", "Lua that caches"),
            Self::Nginx => ("nginx", "no token work"),
        }
    }

    /// Whether it swaps tokens; the others pass on what they get.
    pub(crate) fn swaps(self) -> bool {
        !matches!(self, Self::PlainPingora | Self::Nginx)
    }

    /// What it is a configuration of.
    pub(crate) fn program(self) -> Program {
        match self {
            Self::Phantomgate | Self::PhantomgateWithoutAudit | Self::PhantomgatePlainRoute => Program::Phantomgate,
            Self::PlainPingora => Program::PlainPingora,
            Self::NginxAuthRequest | Self::Nginx => Program::Nginx,
            Self::EnvoyExtAuthz | Self::EnvoyLua => Program::Envoy,
            Self::TraefikForwardAuth => Program::Traefik,
            Self::HaproxyLua => Program::Haproxy,
        }
    }

    /// The version of its program, as that says itself.
    pub(crate) fn version(self) -> String {
        let argument = match self.program() {
            Program::PlainPingora => return locked_version("pingora"),
            Program::Phantomgate | Program::Envoy => "--version",
            Program::Nginx | Program::Haproxy => "-v",
            Program::Traefik => "version",
        };
        let program = self.program().path();
        let output = Command::new(&program).arg(argument).output();
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        first_version(&text).unwrap_or_else(|| panic!("no version in {text}"))
    }

    fn templates(self) -> &'static [(&'static str, &'static str)] {
        match self.program() {
            Program::Phantomgate => &[("phantomgate.yaml", include_str!("../../peers/phantomgate.yaml"))],
            Program::PlainPingora => &[],
            Program::Nginx if self == Self::Nginx => &[("nginx.conf", include_str!("../../peers/nginx.conf"))],
            Program::Nginx => &[("nginx.conf", include_str!("../../peers/nginx-auth-request.conf"))],
            Program::Envoy if self == Self::EnvoyExtAuthz => {
                &[("envoy.yaml", include_str!("../../peers/envoy-ext-authz.yaml"))]
            }
            Program::Envoy => &[
                ("envoy.yaml", include_str!("../../peers/envoy-lua.yaml")),
                ("envoy.lua", include_str!("../../peers/envoy.lua")),
            ],
            Program::Traefik => &[
                ("traefik.yaml", include_str!("../../peers/traefik.yaml")),
                ("traefik-routes.yaml", include_str!("../../peers/traefik-routes.yaml")),
            ],
            Program::Haproxy => &[
                ("haproxy.cfg", include_str!("../../peers/haproxy.cfg")),
                ("haproxy.lua", include_str!("../../peers/haproxy.lua")),
            ],
        }
    }

    /// How TLS and HTTP/2 are said in its configuration: what stands for `@TLS@`, `@TLS_OPTIONS@` and `@CERTIFICATES@`.
    fn tls(self, tls: &Tls) -> [String; 3] {
        let (certificate, key) = (tls.certificate.display(), tls.private_key.display());
        let none = String::new;
        match self.program() {
            Program::Phantomgate => {
                [format!("tls: {{ certificate: {certificate:?}, private_key: {key:?} }}"), none(), none()]
            }
            Program::PlainPingora => [none(), none(), none()],
            Program::Nginx => {
                [format!("ssl_certificate {certificate}; ssl_certificate_key {key};"), "ssl http2".to_owned(), none()]
            }
            Program::Envoy => {
                let files = format!(
                    "{{ certificate_chain: {{ filename: {certificate:?} }}, private_key: {{ filename: {key:?} }} }}"
                );
                let context = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
                let socket = format!(
                    "transport_socket: {{ name: tls, typed_config: {{ \"@type\": {context}, common_tls_context: {{ \
                     alpn_protocols: [h2], tls_certificates: [{files}] }} }} }}"
                );
                [socket, none(), none()]
            }
            Program::Traefik => {
                let store = format!("{{ certFile: {certificate:?}, keyFile: {key:?} }}");
                let certificates = format!("tls: {{ stores: {{ default: {{ defaultCertificate: {store} }} }} }}");
                ["tls: {}".to_owned(), none(), certificates]
            }
            Program::Haproxy => [format!("ssl crt {} alpn h2", tls.both.display()), none(), none()],
        }
    }

    fn command(self, placement: &Placement, directory: &Path) -> Command {
        let file = |name: &str| directory.join(name);
        let mut command = placement.proxy(&self.program().path());
        match self.program() {
            Program::Phantomgate => {
                command.envs(ENVIRONMENT).args(["run", "--log-level", "warn", "-c"]).arg(file("phantomgate.yaml"));
                command
            }
            Program::PlainPingora => command,
            Program::Nginx => nginx(command, &file("nginx.conf")),
            Program::Envoy => {
                command.args(["--concurrency", THREADS, "--disable-hot-restart", "--log-level", "error", "-c"]);
                command.arg(file("envoy.yaml"));
                command
            }
            Program::Traefik => {
                command.env("GOMAXPROCS", THREADS).arg(format!("--configfile={}", file("traefik.yaml").display()));
                command
            }
            Program::Haproxy => {
                command.args(["-db", "-f"]).arg(file("haproxy.cfg"));
                command
            }
        }
    }
}

/// The first word of a text that begins as versions do, with a digit; `nginx/1.22.1` counts as two words.
fn first_version(text: &str) -> Option<String> {
    let mut words = text.split(|character: char| character.is_whitespace() || "/,:".contains(character));
    let word = words.find(|word| word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.'))?;
    word.split(['-', '+']).next().map(str::to_owned)
}

/// The version of a crate that the workspace is built with.
fn locked_version(name: &str) -> String {
    let package = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = include_str!("../../../../Cargo.lock").split_once(&package).unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// The files of a certificate.
struct Tls {
    certificate: PathBuf,
    private_key: PathBuf,
    /// One after the other, as HAProxy has them.
    both: PathBuf,
}

impl Tls {
    fn new(directory: &Path) -> Self {
        let identity = Certificates::new(directory).server();
        let both = directory.join("both.pem");
        let pem = [&identity.certificate, &identity.private_key].map(|file| std::fs::read_to_string(file).unwrap());
        std::fs::write(&both, pem.concat()).unwrap();
        Self { certificate: identity.certificate, private_key: identity.private_key, both }
    }
}

/// What all of them stand between.
pub(crate) struct Surroundings {
    /// Who knows the tokens.
    pub(crate) authorization_server: AuthorizationServer,
    /// Where requests go.
    pub(crate) upstream: Upstream,
    /// Which processors they have.
    pub(crate) placement: Placement,
    tls: Tls,
    /// Of all of this.
    pub(crate) directory: tempfile::TempDir,
}

impl Surroundings {
    /// Starts all of it.
    pub(crate) async fn start() -> Self {
        let (directory, placement) = (tempfile::tempdir().unwrap(), Placement::here());
        let upstream = Upstream::start(directory.path(), |program| placement.other(program)).await;
        let authorization_server = AuthorizationServer::start(TOKENS + 1);
        Self { authorization_server, upstream, placement, tls: Tls::new(directory.path()), directory }
    }
}

/// A peer that is running. Dropping it ends it.
pub(crate) struct Running {
    port: ReservedPort,
    process: Process,
    scheme: &'static str,
}

impl Running {
    /// Starts `peer`, with nothing left of an earlier time, and waits until it listens.
    pub(crate) async fn start(peer: Peer, tls: bool, surroundings: &Surroundings) -> Self {
        let (port, admin) = (ReservedPort::new(), ReservedPort::new());
        let directory = new_folder(surroundings.directory.path(), "peer");
        let Surroundings { authorization_server, upstream, placement, .. } = surroundings;
        let [tls_words, tls_options, certificates] = if tls { peer.tls(&surroundings.tls) } else { Default::default() };
        let (listen, authorization_server_address) = (port.address(), authorization_server.address());
        let (upstream, folder) = (upstream.address(), directory.display().to_string());
        let audit = format!("audit: [{{ file: \"{folder}/audit.jsonl\" }}]");
        let number = |address: SocketAddr| address.port().to_string();
        let values = [
            ("LISTEN", listen.to_string()),
            ("HOST", listen.ip().to_string()),
            ("PORT", number(listen)),
            ("ADMIN", admin.address().to_string()),
            ("UPSTREAM", upstream.to_string()),
            ("UPSTREAM_HOST", upstream.ip().to_string()),
            ("UPSTREAM_PORT", number(upstream)),
            ("AUTHORIZATION_SERVER", authorization_server_address.to_string()),
            ("AUTHORIZATION_SERVER_HOST", authorization_server_address.ip().to_string()),
            ("AUTHORIZATION_SERVER_PORT", number(authorization_server_address)),
            ("ISSUER", authorization_server.issuer().to_owned()),
            ("CLIENT_ID", CLIENT_ID.to_owned()),
            ("RESOURCE", RESOURCE.to_owned()),
            ("SCOPE", SCOPE.to_owned()),
            ("UPSTREAM_AUDIENCE", UPSTREAM_AUDIENCE.to_owned()),
            ("AUDIT", if peer == Peer::PhantomgateWithoutAudit { String::new() } else { audit }),
            ("TLS", tls_words),
            ("TLS_OPTIONS", tls_options),
            ("CERTIFICATES", certificates),
            ("USER", nginx_user().to_owned()),
            ("DIRECTORY", folder),
        ];
        let values: Vec<_> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for (name, template) in peer.templates() {
            std::fs::write(directory.join(name), fill(template, &values)).unwrap();
        }
        std::fs::write(directory.join("secret"), CLIENT_SECRET).unwrap();
        let mut command = peer.command(placement, &directory);
        if peer == Peer::PlainPingora {
            command.args([listen.to_string(), upstream.to_string()]).args(["--threads", THREADS]);
            if tls {
                command.arg("--certificate").arg(&surroundings.tls.certificate);
                command.arg("--private-key").arg(&surroundings.tls.private_key);
            }
        }
        let process = Process::spawn(peer.label().0, command);
        tokio::select! {
            () = listening(listen) => {}
            () = process.find_in_output("it listened", |_| None) => {} // that is, it panics when the process ends
        }
        Self { port, process, scheme: if tls { "https" } else { "http" } }
    }

    /// A URL on it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.port.address())
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> ProcessTree {
        ProcessTree::of(self.process.id())
    }

    /// All it has said, which is nothing when all is well.
    pub(crate) fn output(&self) -> String {
        self.process.output()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say_of_themselves() {
        for (text, version) in [
            ("phantomgate 0.1.0\n", "0.1.0"),
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12"),
            ("\n/usr/bin/envoy  version: 6a1b2c3d/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nCodename:     munster\n", "3.7.15"),
        ] {
            assert_eq!(first_version(text).as_deref(), Some(version), "{text}");
        }
    }
}

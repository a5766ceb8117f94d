//! Where the programs are that `tests/perf/run` has built and installed. It starts this one in the root of the checkout.

use std::path::PathBuf;

/// A program that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// phantomgate as it ships; `PHANTOMGATE_BIN` names another
    Phantomgate,
    /// The floor, built the same way; `PLAIN_PINGORA_BIN` names another
    PlainPingora,
    /// nginx
    Nginx,
    /// Envoy
    Envoy,
    /// Traefik
    Traefik,
    /// HAProxy
    Haproxy,
}

/// What the systemd unit and the container have in the environment of phantomgate: after how many milliseconds freed memory is
/// given back.
pub(crate) const ENVIRONMENT: [(&str, &str); 1] = [("MIMALLOC_PURGE_DELAY", "100")];

impl Program {
    /// Its path, or its name where it is on the path.
    pub(crate) fn path(self) -> PathBuf {
        let built = |variable: &str, path: &str| std::env::var_os(variable).map_or_else(|| path.into(), PathBuf::from);
        match self {
            Self::Phantomgate => built("PHANTOMGATE_BIN", "target/shipped/phantomgate"),
            Self::PlainPingora => built("PLAIN_PINGORA_BIN", "target/shipped/plain-pingora"),
            Self::Nginx => "nginx".into(),
            Self::Envoy => "target/perf/python/envoy".into(),
            Self::Traefik => "target/perf/python/traefik".into(),
            Self::Haproxy => "haproxy".into(),
        }
    }
}

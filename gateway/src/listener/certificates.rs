//! Which certificate a client is shown: the one for the name that it asks for (SNI, RFC 6066 §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::Identity;

/// Certificates by name.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For names that no certificate is for, and for clients that name nobody.
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// What follows `*.`: one label takes the star's place (RFC 6125 §6.4.3).
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Where two are for the same name, the earlier one is shown. None when there is no certificate at all.
    pub(super) fn new(identities: Vec<Identity>) -> Option<Self> {
        let first = identities.first()?.key.clone();
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for Identity { key, names, .. } in identities {
            for name in names {
                match name.strip_prefix("*.") {
                    Some(rest) => wildcards.entry(rest.to_owned()).or_insert_with(|| key.clone()),
                    None => exact.entry(name).or_insert_with(|| key.clone()),
                };
            }
        }
        Some(Self { first, exact, wildcards })
    }

    fn choose(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(name) = name.map(str::to_ascii_lowercase) else { return &self.first };
        let of_wildcard = || self.wildcards.get(name.split_once('.')?.1);
        self.exact.get(&name).or_else(of_wildcard).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.choose(hello.server_name()).clone())
    }
}

#[cfg(test)]
mod tests {
    use phantomgate_introspection::NumericDate;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;
    use crate::certificate::provider;

    fn identity(names: &[&str]) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        Identity {
            key: Arc::new(CertifiedKey::from_der(chain, key, &provider()).unwrap()),
            names: names.iter().map(|&name| name.to_owned()).collect(),
            expires_at: NumericDate::from_seconds(0),
        }
    }

    #[test]
    fn a_certificate_is_chosen_by_its_names_and_the_first_where_none_fits() {
        let identities = [
            identity(&["edge.example"]),
            identity(&["a.example", "*.b.example"]),
            identity(&["x.b.example", "a.example"]),
        ];
        let keys: Vec<_> = identities.iter().map(|identity| identity.key.clone()).collect();
        let certificates = Certificates::new(identities.to_vec()).unwrap();
        for (name, expected) in [
            (Some("edge.example"), 0),
            (Some("a.example"), 1),
            (Some("A.Example"), 1),
            (Some("y.b.example"), 1),
            (Some("x.b.example"), 2),
            (Some("z.y.b.example"), 0),
            (Some("b.example"), 0),
            (Some("other.example"), 0),
            (Some("localhost"), 0),
            (None, 0),
        ] {
            let chosen = certificates.choose(name);
            assert!(Arc::ptr_eq(chosen, &keys[expected]), "{name:?}");
        }
        assert!(Certificates::new(Vec::new()).is_none());
    }
}

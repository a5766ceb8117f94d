//! What is said to the next hop alone, and goes no further (RFC 9110 §7.6.1).

use http::HeaderMap;
use http::header::{CONNECTION, HOST, HeaderName};
use pingora::{Error, ErrorType, Result};

use super::Changes;

/// How many fields `Connection` may name. Nobody needs as many, and each is looked for.
const MOST_NAMED: usize = 9;

/// Takes out of the fields that were `received` what is meant for us: what always is, and what `Connection` names.
///
/// # Errors
/// `Connection` names what is no field name, too much, or `Host`, which every request has.
pub(super) fn strip(received: &HeaderMap, changes: &mut Changes<'_>) -> Result<()> {
    for name in named(received)? {
        changes.remove(&name);
    }
    for name in received.keys().filter(|name| is_ours(name)) {
        changes.remove(name);
    }
    Ok(())
}

/// Whether a field is always meant for us. `Upgrade` is: behind it is a tunnel, and nothing that passes through could be
/// authorized any more.
fn is_ours(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn named(received: &HeaderMap) -> Result<Vec<HeaderName>> {
    let values = received.get_all(CONNECTION).iter();
    let options = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let options = options.map(<[u8]>::trim_ascii).filter(|option| !option.is_empty());
    let mut named = Vec::new();
    for option in options {
        match HeaderName::from_bytes(option) {
            Ok(name) if name != HOST && named.len() < MOST_NAMED => named.push(name),
            _ => return Err(Error::explain(ErrorType::InvalidHTTPHeader, "what Connection names").into_down()),
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use pingora::http::RequestHeader;

    use super::*;

    fn stripped(fields: &[(&'static str, &str)]) -> Result<Vec<String>> {
        let mut header = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        let mut changes = Changes::default();
        strip(&header.headers, &mut changes)?;
        changes.apply(&mut header)?;
        Ok(header.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect())
    }

    #[test]
    fn what_is_for_the_next_hop_goes_no_further() {
        let fields = [
            ("Host", "a"),
            ("Connection", "keep-alive, X-Secret"),
            ("Connection", "x-other ,, close"),
            ("X-Secret", "1"),
            ("X-Other", "2"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Upgrade", "websocket"),
            ("Transfer-Encoding", "chunked"),
            ("X-Stays", "3"),
        ];
        assert_eq!(stripped(&fields).unwrap(), ["host: a", "x-stays: 3"]);
        assert_eq!(stripped(&[("Accept", "*/*")]).unwrap(), ["accept: */*"]);
    }

    #[test]
    fn a_connection_that_makes_no_sense_is_refused() {
        for options in ["host", "a b", "\"x-forwarded-for\"", ":authority", "a,b,c,d,e,f,g,h,i,j"] {
            assert!(stripped(&[("Connection", options)]).is_err(), "{options}");
        }
        assert!(stripped(&[("Connection", "a,b,c,d,e,f,g,h,i")]).is_ok());
    }
}

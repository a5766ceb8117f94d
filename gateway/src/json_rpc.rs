//! What a refusal needs of JSON-RPC 2.0: the id of the request, and a code for each reason.

use serde::{Deserialize, Serialize};

use crate::audit::Reason;

/// The id of a JSON-RPC request: a number, a text, or null (for a notification or a batch, which have none to answer).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number, as it was written.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// None.
    Null,
}

/// The id of the JSON-RPC request in `body`; none when there is no JSON-RPC in it.
pub fn id_of(body: &[u8]) -> Option<Id> {
    #[derive(Deserialize)]
    struct Request {
        jsonrpc: String,
        id: Option<Id>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Message {
        One(Request),
        Batch(Vec<Request>),
    }
    match serde_json::from_slice(body).ok()? {
        Message::One(request) => (request.jsonrpc == "2.0").then(|| request.id.unwrap_or(Id::Null)),
        Message::Batch(requests) => requests.iter().all(|request| request.jsonrpc == "2.0").then_some(Id::Null),
    }
}

/// The error code of a reason, always the same one. From the range JSON-RPC leaves to implementations; below -32002,
/// because SDKs use the first three for errors of their own, and above -32020, from where codes belong to MCP.
pub fn error_code(reason: Reason) -> i32 {
    match reason {
        Reason::MissingCredential => -32003,
        Reason::InactiveToken => -32004,
        Reason::WrongAudience => -32005,
        Reason::InsufficientScope => -32006,
        Reason::NoRoute => -32007,
        Reason::MalformedRequest => -32008,
        Reason::IntrospectionUnavailable => -32009,
        Reason::UpstreamUnavailable => -32010,
        Reason::InternalError => -32011,
        Reason::ExchangeRefused => -32012,
        Reason::InsufficientClaims => -32013,
        Reason::ForeignOrigin => -32015,
        // Never answered with; here so that a new reason asks for a code.
        Reason::Granted | Reason::OwnEndpoint | Reason::ClientDisconnected => -32019,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use strum::VariantArray as _;

    use super::*;

    #[test]
    fn the_id_comes_back_as_it_was_sent() {
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#), Some(Id::Text("a".into())));
        let number = serde_json::to_string(&id_of(br#"{"id":12345678901234567890,"jsonrpc":"2.0"}"#).unwrap());
        assert_eq!(number.unwrap(), "12345678901234567890");
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Some(Id::Null));
        assert_eq!(id_of(br#"[{"jsonrpc":"2.0","id":1}]"#), Some(Id::Null));
    }

    #[test]
    fn what_is_no_json_rpc_has_no_id() {
        for body in [&b""[..], b"{}", b"hello", br#"{"jsonrpc":"1.0","id":1}"#, br#"{"jsonrpc":"2.0","id":{}}"#] {
            assert_eq!(id_of(body), None, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn codes_are_ours_to_give_and_each_reason_has_its_own() {
        let answered =
            |reason: &&Reason| !matches!(reason, Reason::Granted | Reason::OwnEndpoint | Reason::ClientDisconnected);
        let codes: Vec<_> = Reason::VARIANTS.iter().filter(answered).map(|reason| error_code(*reason)).collect();
        assert!(codes.iter().all(|code| (-32019..=-32003).contains(code)), "{codes:?}");
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len());
    }
}

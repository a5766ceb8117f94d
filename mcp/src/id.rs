//! The id of a JSON-RPC message, kept to be answered with.

use serde::{Deserialize, Serialize};

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

/// The id of the JSON-RPC request in `body`, to answer one with that is refused unread; none when there is no JSON-RPC in
/// it. Not for decisions: those take [`Messages`](crate::Messages).
pub fn id_of(body: &[u8]) -> Option<Id> {
    #[derive(Deserialize)]
    struct Request {
        jsonrpc: String,
        id: Option<Id>,
    }
    let is_batch = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if is_batch {
        let requests: Vec<Request> = serde_json::from_slice(body).ok()?;
        return requests.iter().all(|request| request.jsonrpc == "2.0").then_some(Id::Null);
    }
    let request: Request = serde_json::from_slice(body).ok()?;
    (request.jsonrpc == "2.0").then(|| request.id.unwrap_or(Id::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_comes_back_as_it_was_sent() {
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","id":"a","method":"ping"}"#), Some(Id::Text("a".into())));
        let number = serde_json::to_string(&id_of(br#"{"id":12345678901234567890,"jsonrpc":"2.0"}"#).unwrap());
        assert_eq!(number.unwrap(), "12345678901234567890");
        assert_eq!(id_of(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), Some(Id::Null));
        assert_eq!(id_of(br#" [{"jsonrpc":"2.0","id":1}]"#), Some(Id::Null));
    }

    #[test]
    fn what_is_no_json_rpc_has_no_id() {
        for body in [&b""[..], b"{}", b"hello", b"1", br#"{"jsonrpc":"1.0","id":1}"#, br#"{"jsonrpc":"2.0","id":{}}"#] {
            assert_eq!(id_of(body), None, "{}", String::from_utf8_lossy(body));
        }
    }
}

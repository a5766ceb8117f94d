//! The error code of each reason, for refusals of JSON-RPC requests.

use crate::audit::Reason;

/// The error code of a reason, always the same one, and another for whatever a client would do about it differently: that of the specification where it has one, otherwise one from the
/// range that JSON-RPC leaves to implementations; below -32002, because SDKs use the first three for errors of their own,
/// and above -32020, from where codes belong to MCP.
pub fn error_code(reason: Reason) -> i32 {
    match reason {
        Reason::MissingCredential => -32003,
        Reason::InactiveToken => -32004,
        Reason::WrongAudience => -32005,
        Reason::InsufficientScope => -32006,
        // What a client does about it is the same.
        Reason::NoRoute | Reason::MethodNotAllowed => -32007,
        Reason::MalformedRequest | Reason::RequestTimeout => -32008,
        Reason::IntrospectionUnavailable => -32009,
        Reason::UpstreamUnavailable => -32010,
        Reason::InternalError => -32011,
        Reason::ExchangeRefused => -32012,
        Reason::InsufficientClaims => -32013,
        Reason::ToolDenied => -32014,
        Reason::BodyTooLarge | Reason::HeaderTooLarge => -32016,
        Reason::SessionNotFound => -32017,
        // Whatever there is too much of, to come again later helps.
        Reason::RateLimited | Reason::TooManyStreams | Reason::ConcurrencyLimited | Reason::UpstreamOverloaded => {
            -32018
        }
        // What SDKs themselves say of a connection that was closed.
        Reason::StreamCut => -32000,
        Reason::MalformedMessage => -32600,
        Reason::HeaderMismatch => -32020,
        Reason::UnsupportedVersion => -32022,
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
    fn codes_are_ours_to_give_and_mean_one_thing() {
        let never_answered = error_code(Reason::Granted);
        let codes = Reason::VARIANTS.iter().map(|reason| error_code(*reason)).filter(|code| *code != never_answered);
        let codes: Vec<_> = codes.collect();
        let of_others = [-32600, -32020, -32022, -32000];
        let ours = |code: &i32| (-32018..=-32003).contains(code) || of_others.contains(code);
        assert!(codes.iter().all(ours), "{codes:?}");
        // Not here, too large, in time no more, too many: the first three have a second reason, the last three more.
        assert_eq!(codes.iter().collect::<HashSet<_>>().len(), codes.len() - 6);
    }
}

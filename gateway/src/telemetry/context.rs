//! `traceparent` and `tracestate` (W3C Trace Context): read strictly, because anybody may send them.

use std::fmt;

use http::{HeaderMap, HeaderValue};

use super::{TRACEPARENT, TRACESTATE};

/// The longest `tracestate` that is passed on, in bytes: what everybody must support (§3.3.1.5).
const LONGEST_STATE: usize = 512;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// The id of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// Where in which trace a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that the request is sent by.
    pub span_id: SpanId,
    /// Whether who sends it keeps spans of the trace.
    pub is_sampled: bool,
}

impl TraceId {
    /// The trace with this id.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id as it goes to a collector.
    pub fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }

    /// The last eight bytes.
    pub fn end(self) -> u64 {
        self.0.last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl SpanId {
    /// The span with this id.
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The id as it goes to a collector.
    pub fn bytes(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-0{}", self.trace_id, self.span_id, u8::from(self.is_sampled))
    }
}

impl TraceParent {
    /// What `headers` say of it. None when they say nothing, or nothing that holds (§4.3): then a new trace begins.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hexadecimal::<1>(parts.next()?)?;
        let trace_id = hexadecimal::<16>(parts.next()?)?;
        let span_id = hexadecimal::<8>(parts.next()?)?;
        let [flags] = hexadecimal::<1>(parts.next()?)?;
        match version {
            [0xff] => return None,
            [0] if parts.next().is_some() => return None,
            _ => {} // a later version may say more
        }
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id: TraceId(trace_id), span_id: SpanId(span_id), is_sampled: flags & 1 == 1 })
    }
}

/// What `headers` say to other tracing systems, if it can be passed on.
pub(super) fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let parts: Option<Vec<&str>> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().ok()).collect();
    // In several headers it is one list (§3.3.1.1).
    let whole = parts?.join(",");
    let is_fit = !whole.trim().is_empty() && whole.len() <= LONGEST_STATE;
    is_fit.then(|| HeaderValue::from_str(&whole).ok()).flatten()
}

/// `N` bytes, in hexadecimal digits of lower case and nothing else.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.bytes().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn w3c_s3_2_a_traceparent_is_read_and_written_as_it_is() {
        let parent = TraceParent::parse(PARENT).unwrap();
        assert!(parent.is_sampled);
        assert_eq!(parent.to_string(), PARENT);
        assert!(!TraceParent::parse(&PARENT.replace("-01", "-00")).unwrap().is_sampled);
        assert_eq!(TraceParent::parse(&PARENT.replace("-01", "-03")).unwrap(), parent);
        assert_eq!(TraceParent::parse(&PARENT.replace("00-4", "01-4").replace("-01", "-01-more")).unwrap(), parent);
    }

    #[test]
    fn w3c_s4_3_what_does_not_hold_begins_a_new_trace() {
        for wrong in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-4", "ff-4"),
            &format!("{PARENT}-more"),
            &format!("{PARENT}-"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(TraceParent::parse(wrong).is_none(), "{wrong}");
        }
        let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
        let mut both = twice.clone();
        both.append("traceparent", PARENT.parse().unwrap());
        assert!(TraceParent::of(&both).is_none());
    }

    #[test]
    fn w3c_s3_3_a_tracestate_is_passed_on_as_one_list_unless_it_is_too_long() {
        let mut two = headers(&[("tracestate", "a=1")]);
        two.append("tracestate", "b=2".parse().unwrap());
        assert_eq!(state(&two).unwrap(), "a=1,b=2");
        assert!(state(&headers(&[("tracestate", &"a".repeat(513))])).is_none());
        assert!(state(&HeaderMap::new()).is_none());
    }
}

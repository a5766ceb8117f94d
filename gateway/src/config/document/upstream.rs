//! Where requests go.

use std::borrow::Cow;
use std::fmt;

use phantomgate_upstreams::{HashBy, Selection};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::tls::{Protocol, UpstreamTls};
use crate::config::values::{Choice, Span};

/// A named group of endpoints that serve the same thing.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    /// `http://host:port` or `https://host:port`, or `{ url: ..., weight: 2, draining: true }`. At least one. Of a name that
    /// stands for several addresses each takes part; names are looked up again every 30 seconds.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Which of them a request goes to: `round_robin`, they take turns; `least_connections`, the one with the fewest requests
    /// under way; `consistent_hash`, always the same one for the same `hash_by`.
    #[serde(default)]
    pub(crate) selection: Choice<Selection>,
    /// What `consistent_hash` goes by: the `subject` of the token, its `client`, the MCP `session`, or the client's `address`;
    /// the subject when left out. Requests that have none take turns.
    pub(crate) hash_by: Option<Choice<HashBy>>,
    /// Each address is asked whether it is well. When left out, requests alone tell.
    pub(crate) health: Option<Health>,
    /// When an address that fails is left alone.
    #[serde(default)]
    pub(crate) ejection: Ejection,
    /// How long to wait for them.
    #[serde(default)]
    pub(crate) timeouts: Timeouts,
    /// Which HTTP is spoken: `http1`, `http2` (without TLS, too) or `auto` (HTTP/2 where an https endpoint offers it).
    #[serde(default)]
    pub(crate) protocol: Protocol,
    /// How TLS is spoken to https endpoints, where the system's certificate authorities are not enough.
    #[serde(default)]
    pub(crate) tls: UpstreamTls,
    /// How many times a request is tried again, where that is safe, 0 to 10. A POST is never sent twice.
    #[serde(default = "retries")]
    pub(crate) retries: u32,
    /// How many requests at once.
    #[serde(default)]
    pub(crate) limits: UpstreamLimits,
}

/// One endpoint.
#[derive(Debug, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) weight: u32,
    pub(crate) draining: bool,
}

/// As a mapping.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointMapping {
    url: String,
    #[serde(default = "weight")]
    weight: u32,
    #[serde(default)]
    draining: bool,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl<'de> Visitor<'de> for Written {
            type Value = Endpoint;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a URL, or { url: ..., weight: ... }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Endpoint, E> {
                Ok(Endpoint { url: text.to_owned(), weight: weight(), draining: false })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Endpoint, M::Error> {
                let EndpointMapping { url, weight, draining } =
                    EndpointMapping::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Endpoint { url, weight, draining })
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One endpoint: its URL alone, or with what is special about it.",
            "oneOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "url": { "type": "string", "description": "`http://host:port` or `https://host:port`." },
                        "weight": {
                            "type": "integer", "minimum": 1, "maximum": 100, "default": 1,
                            "description": "Its share of the requests, in proportion to those of the others.",
                        },
                        "draining": {
                            "type": "boolean", "default": false,
                            "description": "It gets no new requests and sessions; MCP sessions that it has go on.",
                        },
                    },
                    "required": ["url"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// How an address is asked whether it is well.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    /// What is asked for with GET, such as `/healthz`; well is what answers 2xx. When left out, a connection is enough.
    pub(crate) path: Option<String>,
    /// From one question to the next, 100ms to 1h; up to a tenth of it is added at random.
    pub(crate) interval: Span,
    /// How long an answer may take, 10ms to the interval.
    pub(crate) timeout: Span,
    /// So many good answers in a row, and it gets requests again, 1 to 100.
    pub(crate) healthy_after: u32,
    /// So many bad ones in a row, and it gets no more, 1 to 100.
    pub(crate) unhealthy_after: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { path: None, interval: Span::seconds(5), timeout: Span::seconds(1), healthy_after: 2, unhealthy_after: 3 }
    }
}

/// When an address that fails is left alone. Then one request tries it again. Where all are left alone, none is.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ejection {
    /// So many requests in a row that found no connection, or lost it before an answer began, 1 to 1000. What an application
    /// answers, 500 too, is no failure.
    pub(crate) failures: u32,
    /// For how long, 100ms to 1h; twice as long each time it fails again right after, up to ten times this.
    #[serde(rename = "for")]
    pub(crate) period: Span,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { failures: 5, period: Span::seconds(30) }
    }
}

/// How long to wait for an upstream.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// Until a connection stands, TLS included, 10ms to 60s.
    pub(crate) connect: Span,
    /// From the end of a request to the beginning of its answer, 10ms to `idle_stream`; 60s when left out, or `idle_stream` if
    /// that is shorter.
    pub(crate) first_byte: Option<Span>,
    /// The longest silence of an upstream, in an answer or a stream, 1s to 1h.
    pub(crate) idle_stream: Span,
    /// From when a request is passed on to the end of its answer, 10ms to 24h; no bound when left out. Event streams are
    /// exempt.
    pub(crate) total: Option<Span>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Span::seconds(1), first_byte: None, idle_stream: Span::seconds(15 * 60), total: None }
    }
}

/// How many requests at once, open event streams included. More are answered with 503.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct UpstreamLimits {
    /// To the upstream; no limit when left out.
    pub(crate) requests: Option<usize>,
    /// To each address; no limit when left out. One that is full is passed over.
    pub(crate) requests_per_endpoint: Option<usize>,
}

fn weight() -> u32 {
    1
}

fn retries() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::super::super::read::read_value;
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_or_a_mapping() {
        let read =
            |text| read_value::<Endpoint>(text).map(|Endpoint { url, weight, draining }| (url, weight, draining));
        assert_eq!(read("http://a"), Ok(("http://a".into(), 1, false)));
        assert_eq!(read("{ url: http://a, weight: 3, draining: true }"), Ok(("http://a".into(), 3, true)));
        assert!(read("{ url: http://a, wieght: 3 }").unwrap_err().contains("did you mean \"weight\"?"));
        assert!(read("[http://a]").unwrap_err().contains("a URL, or { url: ..., weight: ... }"));
    }
}

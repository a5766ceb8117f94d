//! Values with a form of their own: durations with units, algorithms, resource identifiers, origins.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use jsonwebtoken::Algorithm;
use phantomgate_introspection::config::is_confidential;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use strum::VariantNames;
use url::Url;

/// A duration with its unit: `500ms`, `30s`, `5m`, `1h 30m`. A bare number is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(formatter)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a duration with its unit, such as 500ms, 30s or 5m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                humantime::parse_duration(text)
                    .map(Span)
                    .map_err(|_| E::custom(format!("{text:?} is no duration; write one such as 500ms, 30s or 5m")))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Span, E> {
                Err(E::custom(format!("{number} has no unit; write {number}s, or another unit such as ms or m")))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration with its unit: 500ms, 30s, 5m, 1h 30m.",
            "type": "string",
            "pattern": "^[0-9]+[a-z]+( ?[0-9]+[a-z]+)*$",
        })
    }
}

/// A number of bytes with its unit: `64KiB`, `4MiB`. A bare number is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) ByteSize);

impl Size {
    pub(crate) const fn kibibytes(count: u64) -> Self {
        Self(ByteSize::kib(count))
    }

    pub(crate) const fn mebibytes(count: u64) -> Self {
        Self(ByteSize::mib(count))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ByteSize(bytes)) = *self;
        for (unit, size) in [("GiB", bytesize::GIB), ("MiB", bytesize::MIB), ("KiB", bytesize::KIB)] {
            if bytes >= size && bytes.is_multiple_of(size) {
                return write!(formatter, "{}{unit}", bytes / size);
            }
        }
        write!(formatter, "{bytes}B")
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Size;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a size with its unit, such as 64KiB or 4MiB")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                match text.parse() {
                    Ok(size) if text.ends_with('B') => Ok(Size(size)),
                    _ => Err(E::custom(format!("{text:?} is no size; write one such as 64KiB or 4MiB"))),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                Err(E::custom(format!("{number} has no unit; write {number}B, or another unit such as KiB or MiB")))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes with its unit: 512B, 64KiB, 4MiB.",
            "type": "string",
            "pattern": "^[0-9.]+ ?([KMGT]i?)?B$",
        })
    }
}

/// One of the values of an enumeration that lives elsewhere, by its name there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Choice<T>(pub(crate) T);

impl<T: fmt::Display> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: FromStr + VariantNames> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        named(deserializer, T::VARIANTS, |name| name.parse().ok().map(Self))
    }
}

impl<T: VariantNames> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Choice".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": T::VARIANTS })
    }
}

/// An algorithm that signatures of others may have, by its registered name (RFC 7518, RFC 8037): asymmetric ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VerificationAlgorithm(pub(crate) Algorithm);

impl VerificationAlgorithm {
    const NAMES: [&str; 9] = ["ES256", "ES384", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];
}

impl Serialize for VerificationAlgorithm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:?}", self.0))
    }
}

impl<'de> Deserialize<'de> for VerificationAlgorithm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        named(deserializer, &Self::NAMES, |name| {
            let is_asymmetric = Self::NAMES.contains(&name);
            name.parse().ok().filter(|_| is_asymmetric).map(Self)
        })
    }
}

impl JsonSchema for VerificationAlgorithm {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "VerificationAlgorithm".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::NAMES })
    }
}

/// A value that is written as one of `names`.
fn named<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    names: &'static [&'static str],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, D::Error> {
    struct Name<F>(&'static [&'static str], F);
    impl<T, F: Fn(&str) -> Option<T>> Visitor<'_> for Name<F> {
        type Value = T;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "one of {}", self.0.join(", "))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).ok_or_else(|| E::unknown_variant(text, self.0))
        }
    }
    deserializer.deserialize_str(Name(names, parse))
}

/// The identifier of a protected resource (RFC 8707 §2, RFC 9728 §1.2): an `https` URL without fragment, `http` on
/// loopback. Compared to the letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceIdentifier {
    text: String,
    url: Url,
}

impl ResourceIdentifier {
    /// The identifier as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The path of a well-known `document` about it (RFC 9728 §3.1, RFC 8414 §3.1): the well-known part, then the path of
    /// the resource.
    pub fn well_known_path(&self, document: &str) -> String {
        let path = self.url.path();
        format!("/.well-known/{document}{}", if path == "/" { "" } else { path })
    }

    /// The public URL of its metadata.
    pub fn metadata_url(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.well_known_path("oauth-protected-resource"))
    }
}

/// Whom browsers name in `Origin` as the site a request comes from (RFC 6454 §6.2): scheme, host and port, the port only
/// where it is not the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

impl WebOrigin {
    /// The origin as browsers write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin that `resource` belongs to.
    pub fn of(resource: &ResourceIdentifier) -> Self {
        Self(resource.url.origin().ascii_serialization())
    }
}

impl FromStr for WebOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is no origin; write one such as https://inspector.example.com, or * for any";
        let (_, authority) = text.split_once("://").ok_or(FORM)?;
        if authority.contains(['/', '?', '#', '\\', '@', '*']) {
            return Err("must be scheme, host and port alone, such as https://inspector.example.com:8443");
        }
        let url = Url::parse(text).map_err(|_| FORM)?;
        let origin = match (url.origin(), url.host_str()) {
            (origin @ url::Origin::Tuple(..), _) => origin.ascii_serialization(),
            // Schemes without a meaning to a URL library have origins too: those of browser extensions, for example.
            (url::Origin::Opaque(_), Some(host)) if !host.is_empty() => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase())
            }
            (url::Origin::Opaque(_), _) => return Err(FORM),
        };
        Ok(Self(origin))
    }
}

impl FromStr for ResourceIdentifier {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| "is no absolute URL; write the public URL of the resource")?;
        if !is_confidential(&url) {
            return Err("must be an https URL (http is possible on loopback only)");
        }
        if url.fragment().is_some() || url.query().is_some() || !url.username().is_empty() {
            return Err("must have no user information, query or fragment");
        }
        // It stands in challenges between quotes.
        if text.contains(['"', '\\']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be printable ASCII without quotes and backslashes");
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

#[cfg(test)]
mod tests {
    use phantomgate_introspection::config::JwtRules;

    use super::super::read::read_value;
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        assert_eq!(read_value("500ms"), Ok(Span(Duration::from_millis(500))));
        assert_eq!(read_value("1h 30m"), Ok(Span::seconds(5_400)));
        let error = |text| read_value::<Span>(text).unwrap_err();
        assert_eq!(error("300"), "300 has no unit; write 300s, or another unit such as ms or m");
        assert_eq!(error("soon"), "\"soon\" is no duration; write one such as 500ms, 30s or 5m");
        assert!(error("[1s]").contains("this is a list"));
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(read_value("64KiB"), Ok(Size(ByteSize(65_536))));
        assert_eq!(read_value("4 MiB"), Ok(Size::mebibytes(4)));
        let error = |text| read_value::<Size>(text).unwrap_err();
        assert_eq!(error("4096"), "4096 has no unit; write 4096B, or another unit such as KiB or MiB");
        for bad in ["big", "4M", "'4096'"] {
            assert!(error(bad).ends_with("is no size; write one such as 64KiB or 4MiB"), "{bad}");
        }
        for (size, written) in
            [(Size::mebibytes(4), "4MiB"), (Size(ByteSize(1_536)), "1536B"), (Size(ByteSize(0)), "0B")]
        {
            assert_eq!(size.to_string(), written);
            assert_eq!(read_value(written), Ok(size));
        }
    }

    #[test]
    fn a_choice_is_one_of_its_names() {
        assert_eq!(read_value("oidc-provider"), Ok(Choice(phantomgate_introspection::Vendor::OidcProvider)));
        let error = read_value::<Choice<phantomgate_introspection::Vendor>>("keycloack").unwrap_err();
        assert!(error.contains("did you mean \"keycloak\"?"), "{error}");
    }

    #[test]
    fn only_asymmetric_algorithms_can_be_chosen() {
        assert_eq!(VerificationAlgorithm::NAMES.map(|name| name.parse::<Algorithm>().unwrap()), JwtRules::ALGORITHMS);
        assert_eq!(read_value("PS384"), Ok(VerificationAlgorithm(Algorithm::PS384)));
        for wrong in ["HS256", "none", "RS1"] {
            assert!(read_value::<VerificationAlgorithm>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rfc9728_s3_1_the_well_known_part_goes_before_the_path() {
        let url = |text: &str| text.parse::<ResourceIdentifier>().unwrap().metadata_url();
        assert_eq!(url("https://a.example/mcp"), "https://a.example/.well-known/oauth-protected-resource/mcp");
        assert_eq!(url("https://a.example"), "https://a.example/.well-known/oauth-protected-resource");
        assert_eq!(url("http://127.0.0.1:8080/a/b"), "http://127.0.0.1:8080/.well-known/oauth-protected-resource/a/b");
    }

    #[test]
    fn rfc6454_s6_2_an_origin_is_kept_as_browsers_write_it() {
        let origin = |text: &str| text.parse::<WebOrigin>().map(|origin| origin.0);
        assert_eq!(origin("https://Inspector.Example.com:443"), Ok("https://inspector.example.com".into()));
        assert_eq!(origin("http://127.0.0.1:6274"), Ok("http://127.0.0.1:6274".into()));
        assert_eq!(origin("https://[::1]:8443"), Ok("https://[::1]:8443".into()));
        assert_eq!(origin("https://b\u{fc}cher.example"), Ok("https://xn--bcher-kva.example".into()));
        assert_eq!(origin("chrome-extension://abcdef"), Ok("chrome-extension://abcdef".into()));
        for bad in ["", "*", "null", "a.example", "https://", "file://", "https:a", "https://a b", "data:text/html"] {
            assert!(origin(bad).is_err(), "{bad}");
        }
        for more in ["https://a.example/", "https://a.example?x", "https://u@a.example", "https://*.example.com"] {
            assert!(origin(more).unwrap_err().contains("alone"), "{more}");
        }
        let resource: ResourceIdentifier = "https://mcp.example.com:443/mcp".parse().unwrap();
        assert_eq!(WebOrigin::of(&resource).as_str(), "https://mcp.example.com");
    }

    #[test]
    fn rfc8707_s2_a_resource_is_an_absolute_https_url_without_fragment() {
        for bad in
            ["mcp", "http://a.example/mcp", "https://a.example/#x", "https://a.example/?x", "https://u@a.example/"]
        {
            assert!(bad.parse::<ResourceIdentifier>().is_err(), "{bad}");
        }
    }
}

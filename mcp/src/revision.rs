//! The revisions of MCP, by the dates they are known by.

/// A revision of the Model Context Protocol. Orders by age.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
    strum::VariantNames,
)]
pub enum Revision {
    /// HTTP+SSE: a stream and an address to post to.
    #[strum(serialize = "2024-11-05")]
    V2024_11_05,
    /// Streamable HTTP with sessions; the only one with batches. What a request is of that names none.
    #[strum(serialize = "2025-03-26")]
    V2025_03_26,
    /// `MCP-Protocol-Version` on every request after `initialize`.
    #[strum(serialize = "2025-06-18")]
    V2025_06_18,
    /// The last one with sessions.
    #[strum(serialize = "2025-11-25")]
    V2025_11_25,
    /// Every request stands alone, and says in headers what its body does.
    #[strum(serialize = "2026-07-28")]
    V2026_07_28,
}

impl Revision {
    /// The date, as it is written in headers and messages.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether requests stand alone: no `initialize`, no session, POST only.
    pub fn is_stateless(self) -> bool {
        self >= Self::V2026_07_28
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    #[test]
    fn a_revision_is_read_as_it_is_written_and_orders_by_its_date() {
        for revision in Revision::VARIANTS {
            assert_eq!(revision.as_str().parse(), Ok(*revision));
            assert_eq!(revision.to_string(), revision.as_str());
        }
        assert!(Revision::VARIANTS.windows(2).all(|pair| pair[0] < pair[1] && pair[0].as_str() < pair[1].as_str()));
        assert!("2026-07-28 ".parse::<Revision>().is_err() && "draft".parse::<Revision>().is_err());
    }
}

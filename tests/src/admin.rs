//! The gateway's admin listener: metrics that can be asked for by name, and revocations.

use http::StatusCode;
use serde_json::Value;

use crate::{AnswerExt, Response, World, within};

/// One line of Prometheus text.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self { name, labels, value: value.parse().unwrap_or_else(|_| panic!("not a sample: {line}")) })
    }
}

impl World {
    /// A GET request to the admin listener.
    pub fn admin(&self, path: &str) -> reqwest::RequestBuilder {
        self.client().get(self.admin_url(path))
    }

    /// All metrics, as Prometheus reads them.
    pub async fn metrics(&self) -> String {
        self.admin("/metrics").answer().await.assert_status(200).body.clone()
    }

    /// The sum of the samples of `name` that have all of these labels; 0 when there are none.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.metrics().await;
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let samples = metrics.lines().filter_map(Sample::parse);
        let matching = samples.filter(|sample| {
            sample.name == name
                && labels.iter().all(|label| sample.labels.trim_end_matches('}').split(',').any(|own| own == label))
        });
        matching.map(|sample| sample.value).sum()
    }

    /// Waits until [`Self::metric`] is `value`.
    pub async fn metric_becomes(&self, name: &str, labels: &[(&str, &str)], value: f64) {
        #[allow(clippy::float_cmp, reason = "counters and gauges count whole things")]
        let reached = async { while self.metric(name, labels).await != value {} };
        within(&format!("{name}{labels:?} to be {value}"), reached).await;
    }

    /// Posts a revocation; gives the whole answer.
    pub async fn post_revocation(&self, revocation: &Value) -> Response {
        self.client().post(self.admin_url("/v1/revocations")).json(revocation).answer().await
    }

    /// Revokes; gives how many tokens were forgotten.
    pub async fn revoke(&self, revocation: Value) -> u64 {
        let answer = self.post_revocation(&revocation).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:#?}");
        answer.json()["forgotten"].as_u64().unwrap_or_else(|| panic!("no count in {answer:#?}"))
    }
}

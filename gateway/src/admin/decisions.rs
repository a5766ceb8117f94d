//! `GET /v1/decisions`: what became of the last requests.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Operations;
use super::problem::Problem;
use crate::audit::{Decision, Entry, JsonRecord, Reason, Recent};

/// How many are told where nobody says how many.
const LIMIT: usize = 100;

/// Which decisions are wanted. Each parameter that is there narrows them down.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those after the one of this number, as `last` of an earlier answer has it.
    since: Option<u64>,
    /// What became of the request.
    decision: Option<Decision>,
    /// Why.
    reason: Option<Reason>,
    /// The name of the route.
    route: Option<String>,
    /// The client identifier.
    client_id: Option<String>,
    /// The subject.
    subject: Option<String>,
    /// How many at most, the newest; 100 when left out. No more than 1 000 are kept.
    limit: Option<usize>,
}

/// The last decisions.
#[derive(Serialize, JsonSchema)]
pub(super) struct Decisions {
    /// The number of the last one that was looked at, whether it is told or not: for `since`. It is less than what was asked
    /// with when the gateway was started anew.
    last: u64,
    /// Oldest first.
    decisions: Vec<Entry>,
}

pub(super) async fn decisions(
    State(operations): State<Arc<Operations>>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Decisions>, Problem> {
    let Query(wanted) = wanted.map_err(|_| {
        Problem(StatusCode::BAD_REQUEST, "A parameter of the query is not known, or has not the form of its kind")
    })?;
    let gateway = operations.current.get();
    let recent = gateway.audit.recent.as_ref();
    let recent = recent.ok_or(Problem(StatusCode::NOT_FOUND, "No decisions are kept"))?;
    Ok(Json(wanted.of(recent)))
}

impl Wanted {
    fn of(&self, recent: &Recent) -> Decisions {
        let since = self.since.unwrap_or(0);
        let mut decisions = recent.since(since);
        let last = decisions.last().map_or_else(|| recent.last().min(since), |entry| entry.sequence);
        decisions.retain(|entry| self.is(&entry.record));
        decisions.drain(..decisions.len().saturating_sub(self.limit.unwrap_or(LIMIT)));
        Decisions { last, decisions }
    }

    fn is(&self, record: &JsonRecord) -> bool {
        let Self { since: _, limit: _, decision, reason, route, client_id, subject } = self;
        let texts = [route, client_id, subject];
        if decision.is_none() && reason.is_none() && texts.iter().all(|wanted| wanted.is_none()) {
            return true;
        }
        let is = |wanted: &Option<String>, text: Option<String>| wanted.is_none() || *wanted == text;
        // It can be read: we have written it.
        serde_json::from_str(record.text()).is_ok_and(|record: Facts| {
            decision.is_none_or(|decision| decision == record.decision)
                && reason.is_none_or(|reason| reason == record.reason)
                && is(route, record.route)
                && is(client_id, record.client_id)
                && is(subject, record.subject)
        })
    }
}

/// What can be asked for of a record.
#[derive(Deserialize)]
struct Facts {
    decision: Decision,
    reason: Reason,
    route: Option<String>,
    client_id: Option<String>,
    subject: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{AuditRecord, record};

    /// Those of a ring in which every third is denied and every other is alice's.
    fn told(wanted: &Wanted) -> (u64, Vec<u64>) {
        let recent = Recent::default();
        for number in 1..=12 {
            let (decision, reason) = match number % 3 {
                0 => (Decision::Deny, Reason::InsufficientScope),
                _ => (Decision::Allow, Reason::Granted),
            };
            let subject = Some(if number % 2 == 0 { "alice" } else { "bob" }.into());
            recent.push(JsonRecord::from(&AuditRecord { decision, reason, subject, ..record() }));
        }
        let Decisions { last, decisions } = wanted.of(&recent);
        (last, decisions.iter().map(|entry| entry.sequence).collect())
    }

    #[test]
    fn each_parameter_narrows_down_what_is_told() {
        let all = Wanted::default();
        assert_eq!(told(&all), (12, (1..=12).collect()));
        assert_eq!(told(&Wanted { decision: Some(Decision::Deny), ..all }).1, [3, 6, 9, 12]);
        let alice = || Wanted { subject: Some("alice".to_owned()), ..Wanted::default() };
        assert_eq!(told(&Wanted { reason: Some(Reason::InsufficientScope), ..alice() }).1, [6, 12]);
        assert_eq!(told(&Wanted { limit: Some(2), ..alice() }).1, [10, 12], "the newest");
        assert!(told(&Wanted { route: Some("other".to_owned()), ..alice() }).1.is_empty());
    }

    #[test]
    fn who_asks_again_is_told_what_is_new() {
        let since = |number| told(&Wanted { since: Some(number), ..Wanted::default() });
        assert_eq!(since(10), (12, vec![11, 12]));
        assert_eq!(since(12), (12, vec![]));
        assert_eq!(since(400), (12, vec![]), "another gateway's number");
        let unlike = Wanted { since: Some(10), client_id: Some("other".to_owned()), ..Wanted::default() };
        assert_eq!(told(&unlike), (12, vec![]), "what is not told was looked at all the same");
    }
}

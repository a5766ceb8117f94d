//! `docs/performance.md`: tables between markers, a pair for each scenario.

use super::results::Results;
use super::table::table;
use crate::document::with_section;

/// The document with the tables of these results in their places. What stands around them stays.
pub(crate) fn with_tables(document: &str, results: &Results) -> String {
    results
        .0
        .iter()
        .fold(document.to_owned(), |document, result| with_section(&document, result.scenario.name(), &table(result)))
}

#[cfg(test)]
mod tests {
    use super::super::chart::chart;
    use super::super::results::tests::result;
    use super::super::scenario::Scenario;
    use super::*;

    const DOCUMENT: &str = include_str!("../../../../docs/performance.md");

    #[test]
    fn a_table_takes_the_place_of_the_one_before() {
        let mut results = Results::default();
        results.put(result(Scenario::ManyTokens, &[]));
        let old = "one\n<!-- many-tokens -->\nold\n<!-- end of many-tokens -->\ntwo";
        let new = with_tables(old, &results);
        assert!(new.starts_with("one\n<!-- many-tokens -->\n|") && new.ends_with("<!-- end of many-tokens -->\ntwo"));
        assert!(!new.contains("old"));
        assert_eq!(with_tables(&new, &results), new);
    }

    #[test]
    fn every_scenario_has_its_place() {
        let mut results = Results::default();
        Scenario::ALL.into_iter().for_each(|scenario| results.put(result(scenario, &[])));
        with_tables(DOCUMENT, &results);
    }

    #[test]
    fn the_document_and_the_chart_show_what_was_measured() {
        let results: Results = serde_json::from_str(include_str!("../../../../docs/performance.json")).unwrap();
        assert!(with_tables(DOCUMENT, &results) == DOCUMENT, "write it again: tests/perf/run --write");
        assert!(chart(&results) == include_str!("../../../../docs/performance.svg"), "tests/perf/run --write");
    }
}

//! The table: Markdown that reads as well in a terminal.

use super::results::{PeerResult, ScenarioResult};
use crate::document::{aligned, grouped, milliseconds};

/// What is set in place of a figure that there is none of.
const NONE: &str = "–";

/// The table of a scenario, and what must be known to read it.
pub(crate) fn table(result: &ScenarioResult) -> String {
    let counted = result.peers.iter().any(|peer| peer.instructions.is_some());
    let mut head = vec!["", "requests/s", "p50", "p99", "p99.9", "CPU per request", "of phantomgate's"];
    if counted {
        head.push("instructions");
    }
    head.extend(["introspections", "memory"]);
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(result.peers.iter().map(|peer| row(peer, counted)));

    aligned(&rows) + "\n" + &circumstances(result)
}

fn row(result: &PeerResult, counted: bool) -> Vec<String> {
    let mut cells = vec![
        name(result),
        grouped(result.requests_per_second),
        milliseconds(result.p50),
        milliseconds(result.p99),
        milliseconds(result.p999),
        format!("{:.1} µs", result.cpu),
        result.of_phantomgates.map_or(NONE.to_owned(), |ratio| format!("× {ratio:.2}")),
    ];
    if counted {
        cells.push(result.instructions.map_or(NONE.to_owned(), grouped));
    }
    cells.push(if result.peer.swaps() { grouped(result.introspections) } else { NONE.to_owned() });
    cells.push(format!("{:.0} MiB", result.memory / 1024.0 / 1024.0));
    cells
}

/// A peer, its version and what is special about it.
pub(crate) fn name(result: &PeerResult) -> String {
    match result.peer.label() {
        (program, "") => format!("{program} {}", result.version),
        (program, note) => format!("{program} {}, {note}", result.version),
    }
}

fn circumstances(result: &ScenarioResult) -> String {
    let ScenarioResult { machine, rounds, seconds, measured, .. } = result;
    let times = if *rounds == 1 { "One round".to_owned() } else { format!("Medians of {rounds} rounds") };
    let text = format!(
        "{times} of {seconds} s, {measured}, on {} processors ({}), {}.\n",
        machine.processors, machine.processor, machine.kernel
    );
    match &result.doubts()[..] {
        [] => text,
        doubts => format!("{text}**The machine was too noisy for these figures:** {}.\n", doubts.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Disturbance;
    use crate::peers::peer::Peer;
    use crate::peers::results::tests::result;
    use crate::peers::scenario::Scenario;

    #[test]
    fn a_table_compares_all_with_phantomgate() {
        let peers = [(Peer::Phantomgate, 40.0), (Peer::HaproxyLua, 50.0), (Peer::Nginx, 10.0)];
        let text = table(&result(Scenario::OneToken, &peers));
        assert_eq!(
            text,
            "\
|                                | requests/s |     p50 |     p99 |    p99.9 | CPU per request | of phantomgate's | introspections | memory |
| ------------------------------ | ---------: | ------: | ------: | -------: | --------------: | ---------------: | -------------: | -----: |
| phantomgate 1.2.3              |     25 000 | 1.50 ms | 3.20 ms | 12.00 ms |         40.0 µs |           × 1.00 |         12 345 | 20 MiB |
| HAProxy 1.2.3, Lua that caches |     20 000 | 1.50 ms | 3.20 ms | 12.00 ms |         50.0 µs |           × 1.25 |         12 345 | 20 MiB |
| nginx 1.2.3, no token work     |    100 000 | 1.50 ms | 3.20 ms | 12.00 ms |         10.0 µs |           × 0.25 |              – | 20 MiB |

Medians of 5 rounds of 5 s, 2026-01-02, on 2 processors (A processor), Linux 6.1.
"
        );
    }

    #[test]
    fn a_noisy_machine_is_named_where_the_figures_are() {
        let mut result = result(Scenario::OneToken, &[(Peer::Nginx, 10.0)]);
        result.disturbance = Disturbance { others: 0.2, ..Disturbance::default() };
        let text = table(&result);
        assert!(text.contains("too noisy for these figures:** other processes took up to 20 % of the time."), "{text}");
        assert!(text.contains(" – |"), "without phantomgate there is nothing to compare with:\n{text}");
    }
}

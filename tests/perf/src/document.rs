//! `docs/performance.md`: tables between markers, which read as well in a terminal.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use e2e::now;

use crate::machine::{Disturbance, Machine};

/// What a command has found.
pub(crate) struct Findings {
    /// Its name, and that of its place in the document.
    pub(crate) name: &'static str,
    /// Tables, and what must be known to read them.
    pub(crate) text: String,
    /// What is not as it has to be. With any of these the command fails.
    pub(crate) failures: Vec<String>,
}

impl Findings {
    /// Prints them, and puts them into the document if that is wanted.
    pub(crate) fn conclude(self, write: bool) -> ExitCode {
        println!("\n{}", self.text);
        if write {
            let file = Path::new("docs/performance.md");
            let document = std::fs::read_to_string(file).unwrap();
            std::fs::write(file, with_section(&document, self.name, &self.text)).unwrap();
            println!("It is in {} now.", file.display());
        }
        for failure in &self.failures {
            eprintln!("FAILED: {failure}");
        }
        if self.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The document with this text between the markers of this name. What stands around them stays.
pub(crate) fn with_section(document: &str, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let missing = || panic!("docs/performance.md has no {begin:?} with {end:?} after it");
    let (before, rest) = document.split_once(&begin).unwrap_or_else(missing);
    let (_, after) = rest.split_once(&end).unwrap_or_else(missing);
    format!("{before}{begin}{text}{end}{after}")
}

/// A table whose columns have one width each. The first row is its head; all columns but the first are set to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!(" {cell:<width$} |") } else { format!(" {cell:>width$} |") }
        });
        format!("|{}\n", cells.collect::<String>())
    };
    let rule = widths.iter().enumerate().map(|(column, &width)| {
        let dashes = "-".repeat(width);
        if column == 0 { format!(" {dashes} |") } else { format!(" {}: |", &dashes[1..]) }
    });
    let mut text = line(&rows[0]) + &format!("|{}\n", rule.collect::<String>());
    text.extend(rows[1..].iter().map(line));
    text
}

/// A row of [`aligned`].
pub(crate) fn row<const COUNT: usize>(cells: [&str; COUNT]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// The line under a table: how it was measured, when and where, and what disturbed it.
pub(crate) fn circumstances(how: &str, disturbance: Disturbance) -> String {
    let Machine { processor, processors, kernel } = Machine::this();
    let text = format!("{how}, {}, on {processors} processors ({processor}), {kernel}.\n", today());
    match &disturbance.doubts()[..] {
        [] => text,
        doubts => format!("{text}**The machine was too noisy for these figures:** {}.\n", doubts.join("; ")),
    }
}

/// How often something was measured, as a sentence begins with it.
pub(crate) fn rounds(count: u32) -> String {
    if count == 1 { "One round".to_owned() } else { format!("Medians of {count} rounds") }
}

/// The day.
pub(crate) fn today() -> String {
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(now())).to_string();
    time.split('T').next().unwrap().to_owned()
}

/// From microseconds.
pub(crate) fn milliseconds(microseconds: f64) -> String {
    format!("{:.2} ms", microseconds / 1000.0)
}

/// With a unit, from bytes.
pub(crate) fn bytes(count: f64) -> String {
    let kibibytes = count / 1024.0;
    if kibibytes.abs() < 1000.0 { format!("{kibibytes:.1} KiB") } else { format!("{:.1} MiB", kibibytes / 1024.0) }
}

/// With a space between thousands.
pub(crate) fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_place() {
        let document = include_str!("../../../docs/performance.md");
        for name in ["cold", "scale", "streams", "soak"] {
            assert!(
                with_section(document, name, "THIS").contains(&format!("<!-- {name} -->\nTHIS<!-- end of {name} -->"))
            );
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(grouped(1_234_567.8), "1 234 568");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(bytes(2048.0), "2.0 KiB");
        assert_eq!(bytes(3.0 * 1024.0 * 1024.0), "3.0 MiB");
        assert_eq!(milliseconds(1234.0), "1.23 ms");
    }

    #[test]
    fn columns_have_one_width() {
        let rows = [row(["", "µs"]), row(["one", "10"]), row(["eleven", "7"])];
        assert_eq!(aligned(&rows), "|        | µs |\n| ------ | -: |\n| one    | 10 |\n| eleven |  7 |\n");
    }
}

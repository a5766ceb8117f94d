//! Owns how the story looks on a terminal: steps, paragraphs, messages between two parties, two columns side by side.
//!
//! Colour is used when standard output is a terminal and `NO_COLOR` is not set. Never: decides what is told.

use std::io::{self, IsTerminal, Write};

/// A line of text is no longer.
const WIDTH: usize = 100;
/// The left of two columns.
const LEFT: usize = 36;

/// Where the story is told.
pub struct Console {
    out: Box<dyn Write + Send>,
    colour: bool,
    steps: usize,
}

#[derive(Clone, Copy)]
enum Style {
    Bold,
    Dim,
    Cyan,
    Green,
    Yellow,
}

impl Console {
    /// Standard output.
    pub fn stdout() -> Console {
        let stdout = io::stdout();
        let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Console { out: Box::new(stdout), colour, steps: 0 }
    }

    /// Somewhere else, without colour.
    pub fn plain(out: impl Write + Send + 'static) -> Console {
        Console { out: Box::new(out), colour: false, steps: 0 }
    }

    /// A heading of its own.
    pub fn title(&mut self, text: &str) -> io::Result<()> {
        let text = self.paint(Style::Bold, text);
        writeln!(self.out, "\n{text}\n")
    }

    /// The next step of the story.
    pub fn step(&mut self, title: &str) -> io::Result<()> {
        self.steps += 1;
        let heading = self.paint(Style::Bold, &format!("{}. {title}", self.steps));
        writeln!(self.out, "\n{heading}")
    }

    /// A paragraph.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - 3) {
            writeln!(self.out, "   {line}")?;
        }
        Ok(())
    }

    /// What one party sends to another.
    pub fn message(&mut self, from: &str, to: &str, what: &str) -> io::Result<()> {
        let parties = self.paint(Style::Cyan, &format!("{from} → {to}"));
        writeln!(self.out, "     {parties}  {what}")
    }

    /// A part of a message, or of an answer.
    pub fn detail(&mut self, text: &str) -> io::Result<()> {
        for line in wrap(text, WIDTH - 9) {
            let line = self.paint(Style::Dim, &line);
            writeln!(self.out, "         {line}")?;
        }
        Ok(())
    }

    /// A table of names and what they are.
    pub fn table<const ROWS: usize>(&mut self, rows: [(&str, &str); ROWS]) -> io::Result<()> {
        for (name, value) in rows {
            let name = self.paint(Style::Cyan, &format!("{name:<22}"));
            writeln!(self.out, "   {name} {value}")?;
        }
        Ok(())
    }

    /// A line to paste into a shell: never wrapped.
    pub fn command(&mut self, line: &str) -> io::Result<()> {
        let line = self.paint(Style::Yellow, line);
        writeln!(self.out, "{line}")
    }

    /// Two columns, with a heading each.
    pub fn side_by_side(&mut self, left: (&str, &[String]), right: (&str, &[String])) -> io::Result<()> {
        let rule = |width: usize| "─".repeat(width);
        let right_width = WIDTH - 3 - LEFT - 3;
        let headings = (self.paint(Style::Yellow, &format!("{:<LEFT$}", left.0)), self.paint(Style::Yellow, right.0));
        writeln!(self.out, "\n   {} │ {}", headings.0, headings.1)?;
        writeln!(self.out, "   {}─┼─{}", rule(LEFT), rule(right_width))?;
        let wrapped = |lines: &[String], width: usize| -> Vec<String> {
            lines.iter().flat_map(|line| fold(line, width)).collect()
        };
        let (left, right) = (wrapped(left.1, LEFT), wrapped(right.1, right_width));
        for row in 0..left.len().max(right.len()) {
            let cell = |column: &[String]| column.get(row).cloned().unwrap_or_default();
            let line = format!("   {:<LEFT$} │ {}", cell(&left), cell(&right));
            writeln!(self.out, "{}", line.trim_end())?;
        }
        writeln!(self.out)
    }

    /// Says that `claim` holds, if it does.
    ///
    /// # Errors
    /// When it does not: the story is over then.
    pub fn check(&mut self, holds: bool, claim: &str) -> anyhow::Result<()> {
        anyhow::ensure!(holds, "this does not hold: {claim}");
        let mark = self.paint(Style::Green, "✓");
        for (position, line) in wrap(claim, WIDTH - 5).iter().enumerate() {
            let mark = if position == 0 { mark.as_str() } else { " " };
            writeln!(self.out, "   {mark} {line}")?;
        }
        Ok(())
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Cyan => 36,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Breaks a text at spaces, so that no line is longer than `width` unless a single word is.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

/// Cuts a line into pieces of `width`, wherever that is; an empty line stays one.
fn fold(line: &str, width: usize) -> Vec<String> {
    let characters: Vec<char> = line.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(width).map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_is_broken_at_spaces() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("incomprehensible", 4), ["incomprehensible"]);
    }

    #[test]
    fn a_column_is_cut_at_its_width() {
        assert_eq!(fold("abcde", 2), ["ab", "cd", "e"]);
        assert_eq!(fold("", 2), [""]);
    }

    #[test]
    fn a_claim_that_does_not_hold_ends_the_story() {
        assert!(Console::plain(io::sink()).check(false, "the sky is green").is_err());
    }
}

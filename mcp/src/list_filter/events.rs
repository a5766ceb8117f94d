//! An event stream, filtered event by event.
//!
//! What is between events goes on at once. An event is held until its empty line has come, and then goes on as it is
//! unless its data is a message with a list in it that changes: then the data is written anew where it stood first, and the
//! event keeps its other lines.

use std::borrow::Cow;

use super::rewrite::rewrite;
use super::{FilterError, Rules};
use crate::event_stream::{Line, Lines, data, lines};

#[derive(Default)]
pub(super) struct Events {
    lines: Lines,
    /// The lines of the event that has begun; or a line of which not yet all has come.
    held: Vec<u8>,
    is_in_event: bool,
}

impl Events {
    pub(super) fn push(&mut self, piece: &[u8], rules: &Rules, output: &mut Vec<u8>) -> Result<(), FilterError> {
        let mut rest = piece;
        while let Some((line, end)) = self.lines.next(&mut rest) {
            rules.hold(&mut self.held, line)?;
            match end {
                Some(Line::Empty) if self.is_in_event => self.complete(rules, output)?,
                Some(Line::Field) => self.is_in_event = true,
                Some(Line::Empty | Line::Comment) | None => {}
            }
            if !self.is_in_event && self.lines.is_at_start() {
                output.append(&mut self.held);
            }
        }
        Ok(())
    }

    /// What comes after the last empty line is no event, but some clients take it for one.
    pub(super) fn finish(&mut self, rules: &Rules, output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.complete(rules, output)?;
        output.append(&mut self.held);
        Ok(())
    }

    /// The event that is held is whole. Leaves in its place what may be sent, which may be the same.
    fn complete(&mut self, rules: &Rules, output: &mut Vec<u8>) -> Result<(), FilterError> {
        self.is_in_event = false;
        let message = data_of(&self.held);
        // Neither an object nor a list of them: no message, and nothing that anybody takes for one.
        if !matches!(message.trim_ascii_start().first(), Some(b'{' | b'[')) {
            return Ok(());
        }
        let Some(rewritten) = rewrite(&message, &*rules.visibility)? else { return Ok(()) };
        let mut is_written = false;
        for line in lines(&self.held) {
            match data(line) {
                None => output.extend_from_slice(line),
                Some(_) if is_written => {}
                Some(_) => {
                    write_data(&rewritten, output);
                    is_written = true;
                }
            }
        }
        self.held.clear();
        Ok(())
    }
}

/// The data of an event: that of all its lines, with a line feed between two.
fn data_of(event: &[u8]) -> Cow<'_, [u8]> {
    let mut data = lines(event).filter_map(data);
    let Some(first) = data.next() else { return Cow::Borrowed(&[]) };
    data.fold(Cow::Borrowed(first), |mut data, line| {
        data.to_mut().push(b'\n');
        data.to_mut().extend_from_slice(line);
        data
    })
}

fn write_data(data: &[u8], output: &mut Vec<u8>) {
    for line in data.split(|byte| *byte == b'\n') {
        output.extend_from_slice(b"data: ");
        output.extend_from_slice(line);
        output.push(b'\n');
    }
}

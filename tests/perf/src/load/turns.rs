//! Requests that are made from a number, where there are too many of them to have them all at hand.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Report, wrk};

/// Where the number goes in a request, with seven digits.
pub(crate) const NUMBER: &str = "%07d";

/// Has no divisor in common with a power of ten, nor with a product of twos and fives, and leads far from one number to
/// the next.
const STEP: usize = 618_033;

/// What is asked of a proxy, with a number below `count` in the places of [`NUMBER`], three at most.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    /// Where to.
    pub(crate) url: String,
    /// A whole request of HTTP/1.1.
    pub(crate) request: String,
    /// How many numbers there are: twos and fives alone divide it.
    pub(crate) count: usize,
}

impl Turns {
    /// Sends requests for so long (whole seconds; under a minute), beginning after the turn of the number `first`.
    pub(crate) async fn run(
        &self,
        first: usize,
        duration: Duration,
        directory: &Path,
        launch: &impl Fn(&Path) -> Command,
    ) -> Report {
        let launch = |program: &str| launch(Path::new(program));
        wrk::execute(&self.script(first), &self.url, duration, directory, launch).await
    }

    fn script(&self, first: usize) -> String {
        let Self { request, count, .. } = self;
        assert!(request.matches('%').count() == request.matches(NUMBER).count(), "Lua would read it: {request}");
        // Lua and Rust agree on how such text is quoted.
        let parameters = format!("local FIRST, COUNT, STEP, REQUEST = {first}, {count}, {STEP}, {request:?}\n");
        parameters + include_str!("turns.lua")
    }

    /// The number whose turn was the last after so many requests.
    pub(crate) fn after(&self, first: usize, requests: usize) -> usize {
        (first + requests % self.count * STEP) % self.count
    }

    /// The request of this number.
    pub(crate) fn request(&self, number: usize) -> Vec<u8> {
        self.request.replace(NUMBER, &format!("{number:07}")).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_have_their_turn() {
        for count in [1, 10, 100, 500, 1000, 10_000, 100_000, 1_000_000] {
            let (mut number, mut seen) = (0, vec![false; count]);
            for _ in 0..count {
                number = (number + STEP) % count;
                seen[number] = true;
            }
            assert!(seen.iter().all(|seen| *seen), "{count}");
        }
    }

    #[test]
    fn a_request_is_text_for_lua() {
        let request = "GET /%07d HTTP/1.1\r\nX: \"%07d\"\r\n\r\n".to_owned();
        let turns = Turns { url: String::new(), request, count: 10 };
        assert_eq!(turns.request(7), b"GET /0000007 HTTP/1.1\r\nX: \"0000007\"\r\n\r\n");
        let expected = r#"REQUEST = 3, 10, 618033, "GET /%07d HTTP/1.1\r\nX: \"%07d\"\r\n\r\n""#;
        assert!(turns.script(3).contains(expected), "{}", turns.script(3));
    }
}

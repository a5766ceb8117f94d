//! JSON in one strict pass: no member twice, not too deep, in time linear in its length, and without building values.
//!
//! A [`Reader`] says what is to be made of one value; whatever no reader asks for is walked through by the same rules and
//! left behind. The names of an object are remembered in place while they are few, and beyond that in a set whose hashes
//! nobody can foresee.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

use crate::message::{Malformed, Messages};

/// What is made of a value; of a kind of value that it says nothing about, [`other`](Self::other).
pub(crate) trait Reader<'de>: Sized {
    /// What it is made into.
    type Output;

    fn other(self) -> Self::Output;

    fn text(self, _text: &str) -> Self::Output {
        self.other()
    }

    fn number(self, _number: Number) -> Self::Output {
        self.other()
    }

    fn null(self) -> Self::Output {
        self.other()
    }

    fn list<A: SeqAccess<'de>>(self, mut list: List<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        while list.next(Skip)?.is_some() {}
        Ok(self.other())
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        while object.next_name()?.is_some() {
            object.value(Skip)?;
        }
        Ok(self.other())
    }
}

/// Reads the one JSON value that `text` is.
///
/// # Errors
/// [`Malformed::Json`], [`Malformed::DuplicateMember`] and [`Malformed::TooDeep`].
pub(crate) fn read<'de, R: Reader<'de>>(text: &'de [u8], reader: R) -> Result<R::Output, Malformed> {
    // Once for the whole is faster than string by string.
    read_text(std::str::from_utf8(text).map_err(|_| Malformed::Json)?, reader)
}

/// As [`read`].
pub(crate) fn read_text<'de, R: Reader<'de>>(text: &'de str, reader: R) -> Result<R::Output, Malformed> {
    let fault = Cell::new(None);
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Strict { reader, place: Place { fault: &fault, depth: 0 } }
        .deserialize(&mut deserializer)
        .and_then(|output| deserializer.end().map(|()| output))
        .map_err(|_| fault.get().unwrap_or(Malformed::Json))
}

/// Where in the text we are, and where a fault is written down that [`serde_json::Error`] has no kind for.
#[derive(Clone, Copy)]
struct Place<'f> {
    fault: &'f Cell<Option<Malformed>>,
    depth: u8,
}

impl Place<'_> {
    fn refuse<E: serde::de::Error>(self, fault: Malformed) -> E {
        self.fault.set(Some(fault));
        E::custom(fault)
    }

    fn within<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == Messages::MAX_DEPTH {
            return Err(self.refuse(Malformed::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

/// A list that is being read.
pub(crate) struct List<'f, 'de, A> {
    access: A,
    place: Place<'f>,
    text: PhantomData<&'de str>,
}

impl<'de, A: SeqAccess<'de>> List<'_, 'de, A> {
    pub(crate) fn next<R: Reader<'de>>(&mut self, reader: R) -> Result<Option<R::Output>, A::Error> {
        self.access.next_element_seed(Strict { reader, place: self.place })
    }

    /// The next value as it is written. Of what is within it, nothing but that it is JSON is known.
    pub(crate) fn next_raw(&mut self) -> Result<Option<&'de RawValue>, A::Error> {
        self.access.next_element()
    }
}

/// An object that is being read: a name, its value, the next name.
pub(crate) struct Object<'f, 'de, A> {
    access: A,
    place: Place<'f>,
    names: Names<'de>,
}

impl<'de, A: MapAccess<'de>> Object<'_, 'de, A> {
    pub(crate) fn next_name(&mut self) -> Result<Option<&str>, A::Error> {
        let Some(name) = self.access.next_key_seed(Name)? else { return Ok(None) };
        match self.names.add(name) {
            Some(name) => Ok(Some(name)),
            None => Err(self.place.refuse(Malformed::DuplicateMember)),
        }
    }

    pub(crate) fn value<R: Reader<'de>>(&mut self, reader: R) -> Result<R::Output, A::Error> {
        self.access.next_value_seed(Strict { reader, place: self.place })
    }

    /// The value as it is written. Of what is within it, nothing but that it is JSON is known.
    pub(crate) fn raw(&mut self) -> Result<&'de RawValue, A::Error> {
        self.access.next_value()
    }

    /// Passes over a value in which a member may stand twice.
    pub(crate) fn ignore(&mut self) -> Result<(), A::Error> {
        self.access.next_value::<IgnoredAny>().map(|_| ())
    }
}

/// Up to so many names it is faster to compare with each than to hash.
const FEW: usize = 8;

/// The names that an object has had so far.
struct Names<'de> {
    first: [Cow<'de, str>; FEW],
    count: usize,
    /// The others; of most objects there are none, and then it holds no memory.
    rest: HashSet<Cow<'de, str>>,
    last: Cow<'de, str>,
}

impl<'de> Names<'de> {
    fn new() -> Self {
        Self { first: [const { Cow::Borrowed("") }; FEW], count: 0, rest: HashSet::new(), last: Cow::Borrowed("") }
    }

    /// Adds a name; none when it is there already.
    fn add(&mut self, name: Cow<'de, str>) -> Option<&str> {
        if self.first.iter().take(self.count).any(|known| *known == name) {
            return None;
        }
        if let Some(free) = self.first.get_mut(self.count) {
            self.count += 1;
            *free = name;
            return Some(free);
        }
        if !self.rest.insert(name.clone()) {
            return None;
        }
        self.last = name;
        Some(&self.last)
    }
}

/// The name of a member, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Reads a value by the rules of this module.
struct Strict<'f, R> {
    reader: R,
    place: Place<'f>,
}

impl<'de, R: Reader<'de>> DeserializeSeed<'de> for Strict<'_, R> {
    type Value = R::Output;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Output, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Reader<'de>> Visitor<'de> for Strict<'_, R> {
    type Value = R::Output;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _value: bool) -> Result<R::Output, E> {
        Ok(self.reader.other())
    }

    fn visit_i64<E>(self, number: i64) -> Result<R::Output, E> {
        Ok(self.reader.number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<R::Output, E> {
        Ok(self.reader.number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<R::Output, E> {
        Ok(match Number::from_f64(number) {
            Some(number) => self.reader.number(number),
            None => self.reader.other(),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<R::Output, E> {
        Ok(self.reader.text(text))
    }

    fn visit_unit<E>(self) -> Result<R::Output, E> {
        Ok(self.reader.null())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<R::Output, A::Error> {
        let place = self.place.within()?;
        self.reader.list(List { access, place, text: PhantomData })
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<R::Output, A::Error> {
        let place = self.place.within()?;
        self.reader.object(Object { access, place, names: Names::new() })
    }
}

/// Makes nothing of a value.
pub(crate) struct Skip;

impl Reader<'_> for Skip {
    type Output = ();

    fn other(self) {}
}

/// Reads a text; of anything else, nothing.
pub(crate) struct Text;

impl Reader<'_> for Text {
    type Output = Option<String>;

    fn other(self) -> Option<String> {
        None
    }

    fn text(self, text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// Whether a name is another one in other capitals. Some programs take the two for the same (Go's `encoding/json` does,
/// and to it `ſ` is an s and the Kelvin sign a k).
pub(crate) fn is_other_spelling(name: &str, known: &[&str]) -> bool {
    fn fold(character: char) -> char {
        match character {
            'ſ' => 's',
            '\u{212A}' => 'k',
            _ => character.to_ascii_lowercase(),
        }
    }
    known.iter().any(|known| name != *known && name.chars().map(fold).eq(known.chars().map(fold)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(text: &str) -> Result<(), Malformed> {
        read(text.as_bytes(), Skip)
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_at_any_depth_however_it_is_written() {
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[[{"a":[{"b":1,"c":{},"b":1}]}]]"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"\u0061":1,"a":2}"#,
            r#"{"":1,"":2}"#,
        ] {
            assert_eq!(skip(text), Err(Malformed::DuplicateMember), "{text}");
        }
        assert_eq!(skip(r#"{"a":{"b":1},"b":[{"a":1},{"a":1}]}"#), Ok(()));
    }

    #[test]
    fn among_many_members_too() {
        let members: Vec<String> = (0..100).map(|number| format!("\"{number}\":0")).collect();
        assert_eq!(skip(&format!("{{{}}}", members.join(","))), Ok(()));
        for again in [0, 7, 8, 9, 99] {
            let text = format!("{{{},\"{again}\":1}}", members.join(","));
            assert_eq!(skip(&text), Err(Malformed::DuplicateMember), "{again}");
        }
    }

    #[test]
    fn the_depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(skip(&nested(Messages::MAX_DEPTH.into())), Ok(()));
        assert_eq!(skip(&nested(usize::from(Messages::MAX_DEPTH) + 1)), Err(Malformed::TooDeep));
        assert_eq!(skip(&"[".repeat(1_000_000)), Err(Malformed::TooDeep));
        assert_eq!(skip(&"{\"a\":".repeat(1_000_000)), Err(Malformed::TooDeep));
    }

    #[test]
    fn nothing_but_one_value_in_utf_8_is_json() {
        for text in
            ["", " ", "{", "{}{}", "{} x", "\u{feff}{}", "{a:1}", "{'a':1}", "[1,]", "NaN", "\"\\ud800\"", "1e999"]
        {
            assert_eq!(skip(text), Err(Malformed::Json), "{text}");
        }
        assert_eq!(read(b"\"\xff\"", Skip), Err(Malformed::Json));
        assert_eq!(read(b"{\"a\xff\":1}", Skip), Err(Malformed::Json));
        assert_eq!(skip(" [null, true, -1.5e3, \"\\u00e9\"] \n"), Ok(()));
    }

    #[test]
    fn another_spelling_of_a_name() {
        for name in ["Name", "NAME", "namE"] {
            assert!(is_other_spelling(name, &["uri", "name"]), "{name}");
        }
        assert!(is_other_spelling("paramſ", &["params"]) && is_other_spelling("tas\u{212A}Id", &["taskId"]));
        for name in ["name", "names", "nam", "náme", ""] {
            assert!(!is_other_spelling(name, &["uri", "name"]), "{name}");
        }
    }
}

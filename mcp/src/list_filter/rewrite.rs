//! The lists in one message, or in a batch of them, without what may not be seen.
//!
//! The text is not built anew but cut: what changes is noted down while it is read, and everything else is copied. No member
//! may stand twice where one is looked for; what is deeper (the schema of a tool, the content of another result) is none of
//! this module's business.

use std::borrow::Cow;
use std::ops::Range;

use serde::de::{MapAccess, SeqAccess};
use serde_json::value::RawValue;

use super::{FilterError, Visibility};
use crate::json::{self, List, Object, Reader};
use crate::message::ListKind;

/// The text without the items that are not visible, and with its lists marked as the caller's own (2026-07-28, caching);
/// none when it stays as it is.
///
/// # Errors
/// [`FilterError::Unreadable`].
pub(super) fn rewrite(text: &[u8], visibility: &dyn Visibility) -> Result<Option<Vec<u8>>, FilterError> {
    let text = std::str::from_utf8(text).map_err(|_| FilterError::Unreadable)?;
    let mut cut = Cut { visibility, base: text.as_ptr().addr(), edits: Vec::new(), is_unreadable: false };
    json::read_text(text, Body(&mut cut)).map_err(|_| FilterError::Unreadable)?;
    match cut {
        Cut { is_unreadable: true, .. } => Err(FilterError::Unreadable),
        Cut { edits, .. } if edits.is_empty() => Ok(None),
        Cut { edits, .. } => apply(text, edits).ok_or(FilterError::Unreadable).map(Some),
    }
}

/// In place of this part of the text stands that.
type Edit = (Range<usize>, Cow<'static, str>);

fn apply(text: &str, mut edits: Vec<Edit>) -> Option<Vec<u8>> {
    edits.sort_by_key(|(range, _)| range.start);
    let mut output = Vec::with_capacity(text.len() + 64);
    let mut copied = 0;
    for (range, new) in edits {
        output.extend_from_slice(text.get(copied..range.start)?.as_bytes());
        output.extend_from_slice(new.as_bytes());
        copied = range.end;
    }
    output.extend_from_slice(text.get(copied..)?.as_bytes());
    Some(output)
}

/// What is found out about a text while it is read.
struct Cut<'v> {
    visibility: &'v dyn Visibility,
    /// Where the text lies in memory, and with it where in the text a part of it does.
    base: usize,
    edits: Vec<Edit>,
    is_unreadable: bool,
}

impl Cut<'_> {
    fn range(&self, part: &RawValue) -> Range<usize> {
        let start = part.get().as_ptr().addr().wrapping_sub(self.base);
        start..start.wrapping_add(part.get().len())
    }
}

/// A message, or a batch; anything else has no lists.
struct Body<'c, 'v>(&'c mut Cut<'v>);

impl<'de> Reader<'de> for Body<'_, '_> {
    type Output = ();

    fn other(self) {}

    fn list<A: SeqAccess<'de>>(self, mut list: List<'_, 'de, A>) -> Result<(), A::Error> {
        while list.next(Message(self.0))?.is_some() {}
        Ok(())
    }

    fn object<A: MapAccess<'de>>(self, object: Object<'_, 'de, A>) -> Result<(), A::Error> {
        Message(self.0).object(object)
    }
}

struct Message<'c, 'v>(&'c mut Cut<'v>);

impl<'de> Reader<'de> for Message<'_, '_> {
    type Output = ();

    fn other(self) {}

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<(), A::Error> {
        while let Some(name) = object.next_name()? {
            if name == "result" {
                object.value(Outcome(self.0))?;
            } else {
                object.ignore()?;
            }
        }
        Ok(())
    }
}

/// What stands in `result`.
struct Outcome<'c, 'v>(&'c mut Cut<'v>);

impl<'de> Reader<'de> for Outcome<'_, '_> {
    type Output = ();

    fn other(self) {}

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<(), A::Error> {
        let Self(cut) = self;
        let mut has_list = false;
        let (mut cache_scope, mut ttl) = (None, None);
        while let Some(name) = object.next_name()? {
            let kind = match name {
                "tools" => ListKind::Tools,
                "prompts" => ListKind::Prompts,
                "resources" => ListKind::Resources,
                "resourceTemplates" => ListKind::ResourceTemplates,
                "cacheScope" => {
                    cache_scope = Some(object.raw()?);
                    continue;
                }
                "ttlMs" => {
                    ttl = Some(object.raw()?);
                    continue;
                }
                _ => {
                    object.ignore()?;
                    continue;
                }
            };
            has_list |= object.value(Items { cut, kind })?;
        }
        match (cache_scope, ttl) {
            _ if !has_list => {}
            (Some(scope), _) if scope.get() == "\"private\"" => {}
            (Some(scope), _) => cut.edits.push((cut.range(scope), Cow::Borrowed("\"private\""))),
            (None, Some(ttl)) => {
                let end = cut.range(ttl).end;
                cut.edits.push((end..end, Cow::Borrowed(",\"cacheScope\":\"private\"")));
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// The items of a list. Says whether it is one.
struct Items<'c, 'v> {
    cut: &'c mut Cut<'v>,
    kind: ListKind,
}

impl<'de> Reader<'de> for Items<'_, '_> {
    type Output = bool;

    fn other(self) -> bool {
        false
    }

    fn list<A: SeqAccess<'de>>(self, mut list: List<'_, 'de, A>) -> Result<bool, A::Error> {
        let Self { cut, kind } = self;
        let mut visible = Vec::new();
        let mut all: Option<Range<usize>> = None;
        let mut count = 0_usize;
        while let Some(item) = list.next_raw()? {
            count += 1;
            let Range { start, end } = cut.range(item);
            all = Some(all.map_or(start, |all| all.start)..end);
            match json::read_text(item.get(), Item { kind, visibility: cut.visibility }) {
                Ok(Some(true)) => visible.push(item.get()),
                Ok(Some(false)) => {}
                Ok(None) | Err(_) => cut.is_unreadable = true,
            }
        }
        if let Some(all) = all.filter(|_| visible.len() < count) {
            cut.edits.push((all, Cow::Owned(visible.join(","))));
        }
        Ok(true)
    }
}

/// Whether an item is visible; nothing, when it has no name.
struct Item<'v> {
    kind: ListKind,
    visibility: &'v dyn Visibility,
}

impl<'de> Reader<'de> for Item<'_> {
    type Output = Option<bool>;

    fn other(self) -> Option<bool> {
        None
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Option<bool>, A::Error> {
        let member = match self.kind {
            ListKind::Tools | ListKind::Prompts => "name",
            ListKind::Resources => "uri",
            ListKind::ResourceTemplates => "uriTemplate",
        };
        let mut is_visible = None;
        while let Some(name) = object.next_name()? {
            if name == member {
                is_visible = object.value(ItemName { kind: self.kind, visibility: self.visibility })?;
            } else {
                object.ignore()?;
            }
        }
        Ok(is_visible)
    }
}

struct ItemName<'v> {
    kind: ListKind,
    visibility: &'v dyn Visibility,
}

impl Reader<'_> for ItemName<'_> {
    type Output = Option<bool>;

    fn other(self) -> Option<bool> {
        None
    }

    fn text(self, text: &str) -> Option<bool> {
        Some(self.visibility.is_visible(self.kind, text))
    }
}

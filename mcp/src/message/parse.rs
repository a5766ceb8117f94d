//! From JSON to messages: JSON-RPC 2.0, as MCP narrows it (parameters are an object, ids are texts or numbers).
//!
//! What is wrong with a message is said once all of the body has been read: what is not JSON is not JSON-RPC either, and
//! clients are told the first.

use serde::de::{MapAccess, SeqAccess};
use serde_json::Number;

use super::{ListKind, Malformed, Message, Subject};
use crate::id::Id;
use crate::json::{List, Object, Reader, Skip, Text, is_other_spelling};

/// Where the revision of a request stands in its `_meta`.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// A member of an object that is read: absent, of a kind it should not be of, or there.
#[derive(Debug, Clone, PartialEq, Default)]
enum Member<T> {
    #[default]
    Absent,
    Wrong,
    Is(T),
}

impl<T> Member<T> {
    fn of(value: Option<T>) -> Self {
        value.map_or(Self::Wrong, Self::Is)
    }

    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    fn present(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Wrong => None,
        }
    }

    fn or_refuse(self, fault: Malformed) -> Result<Option<T>, Malformed> {
        match self {
            Self::Absent => Ok(None),
            Self::Wrong => Err(fault),
            Self::Is(value) => Ok(Some(value)),
        }
    }
}

/// Reads a body: a message, or a list of them; and which of the two it is.
pub(super) struct Body;

impl<'de> Reader<'de> for Body {
    type Output = Result<(Vec<Message>, bool), Malformed>;

    fn other(self) -> Self::Output {
        Err(Malformed::JsonRpc)
    }

    fn object<A: MapAccess<'de>>(self, object: Object<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        Ok(Envelope.object(object)?.map(|message| (vec![message], false)))
    }

    fn list<A: SeqAccess<'de>>(self, mut list: List<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        let mut messages = Ok(Vec::new());
        while let Some(next) = list.next(Envelope)? {
            match (&mut messages, next) {
                (Ok(messages), Ok(message)) => messages.push(message),
                (Ok(_), Err(fault)) => messages = Err(fault),
                (Err(_), _) => {}
            }
        }
        Ok(messages.and_then(
            |messages| {
                if messages.is_empty() { Err(Malformed::EmptyBatch) } else { Ok((messages, true)) }
            },
        ))
    }
}

/// Reads a message.
struct Envelope;

/// A message, as it stands there.
#[derive(Default)]
struct Draft {
    is_version_2: bool,
    id: Member<Id>,
    method: Member<String>,
    params: Member<Params>,
    has_result: bool,
    has_error: bool,
    is_ambiguous: bool,
}

impl<'de> Reader<'de> for Envelope {
    type Output = Result<Message, Malformed>;

    fn other(self) -> Self::Output {
        Err(Malformed::JsonRpc)
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        const NAMES: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
        let mut draft = Draft::default();
        while let Some(name) = object.next_name()? {
            match name {
                "jsonrpc" => draft.is_version_2 = object.value(Is("2.0"))?,
                "id" => draft.id = Member::of(object.value(AnyId)?),
                "method" => draft.method = Member::of(object.value(Text)?),
                "params" => draft.params = Member::of(object.value(ReadParams)?),
                "result" => {
                    draft.has_result = true;
                    object.value(Skip)?;
                }
                "error" => {
                    draft.has_error = true;
                    object.value(Skip)?;
                }
                other => {
                    draft.is_ambiguous |= is_other_spelling(other, &NAMES);
                    object.value(Skip)?;
                }
            }
        }
        Ok(draft.into_message())
    }
}

impl Draft {
    fn into_message(self) -> Result<Message, Malformed> {
        if self.is_ambiguous {
            return Err(Malformed::DuplicateMember);
        }
        if !self.is_version_2 {
            return Err(Malformed::JsonRpc);
        }
        let (method, id) = (self.method.or_refuse(Malformed::JsonRpc)?, self.id.or_refuse(Malformed::JsonRpc)?);
        let is_whole = match &method {
            Some(_) => id != Some(Id::Null) && !self.has_result && !self.has_error,
            // An answer of the client. Only an error may come without an id: one about a request whose id could not be read.
            None if self.has_result => !self.has_error && matches!(id, Some(Id::Number(_) | Id::Text(_))),
            None => self.has_error,
        };
        if !is_whole {
            return Err(Malformed::JsonRpc);
        }
        let mut params = self.params.or_refuse(Malformed::JsonRpc)?.unwrap_or_default();
        // Of any message: a server may look for it before it looks what the message is.
        let meta_version = std::mem::take(&mut params.meta_version).or_refuse(Malformed::Meta)?;
        let subject = match &method {
            Some(method) => params.into_subject(method, id.is_some())?,
            None => Subject::Response,
        };
        Ok(Message { id, method, meta_version, subject })
    }
}

/// Of the parameters of any method, what some method is about.
#[derive(Default)]
struct Params {
    name: Option<String>,
    uri: Option<String>,
    task_id: Option<String>,
    protocol_version: Option<String>,
    reference: Option<Reference>,
    subscriptions: Member<Vec<String>>,
    meta_version: Member<String>,
    is_ambiguous: bool,
}

impl Params {
    fn into_subject(self, method: &str, is_request: bool) -> Result<Subject, Malformed> {
        let is_ambiguous = self.is_ambiguous;
        let subject = match method {
            "tools/call" => Subject::Tool(self.name.ok_or(Malformed::Name)?),
            "prompts/get" => Subject::Prompt(self.name.ok_or(Malformed::Name)?),
            // 2026-07-28 does not have these any more, and its servers say so. About no resource there is no rule either.
            "resources/subscribe" | "resources/unsubscribe" if self.uri.is_none() && !is_ambiguous => Subject::Other,
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
                Subject::Resource(self.uri.ok_or(Malformed::Name)?)
            }
            "completion/complete" => self.reference.and_then(Reference::into_subject).ok_or(Malformed::Name)?,
            "subscriptions/listen" => {
                Subject::Listen(self.subscriptions.or_refuse(Malformed::Name)?.unwrap_or_default())
            }
            "tools/list" => Subject::List(ListKind::Tools),
            "prompts/list" => Subject::List(ListKind::Prompts),
            "resources/list" => Subject::List(ListKind::Resources),
            "resources/templates/list" => Subject::List(ListKind::ResourceTemplates),
            "initialize" => Subject::Initialize(self.protocol_version),
            "ping" | "server/discover" | "logging/setLevel" => Subject::Protocol,
            _ if method.starts_with("tasks/") => Subject::Task(self.task_id),
            // One that asks for an answer is no notification, whatever it is called.
            _ if method.starts_with("notifications/") && !is_request => Subject::Protocol,
            _ => return Ok(Subject::Other),
        };
        if is_ambiguous { Err(Malformed::DuplicateMember) } else { Ok(subject) }
    }
}

/// Reads parameters; of anything but an object, nothing.
struct ReadParams;

impl<'de> Reader<'de> for ReadParams {
    type Output = Option<Params>;

    fn other(self) -> Option<Params> {
        None
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Option<Params>, A::Error> {
        const NAMES: [&str; 7] = ["name", "uri", "taskId", "protocolVersion", "ref", "notifications", "_meta"];
        let mut params = Params::default();
        while let Some(name) = object.next_name()? {
            match name {
                "name" => params.name = object.value(Text)?,
                "uri" => params.uri = object.value(Text)?,
                "taskId" => params.task_id = object.value(Text)?,
                "protocolVersion" => params.protocol_version = object.value(Text)?,
                "ref" => params.reference = object.value(ReadReference)?,
                "notifications" => params.subscriptions = object.value(ReadSubscriptions)?,
                "_meta" => params.meta_version = object.value(ReadMeta)?,
                other => {
                    params.is_ambiguous |= is_other_spelling(other, &NAMES);
                    object.value(Skip)?;
                }
            }
        }
        Ok(Some(params))
    }
}

/// What is completed: `{"type": "ref/prompt", "name": …}` or `{"type": "ref/resource", "uri": …}`.
#[derive(Default)]
struct Reference {
    kind: Option<String>,
    name: Member<String>,
    uri: Member<String>,
    is_ambiguous: bool,
}

impl Reference {
    /// None unless it is one of the two, and nothing of the other.
    fn into_subject(self) -> Option<Subject> {
        match self.kind.as_deref()? {
            _ if self.is_ambiguous => None,
            "ref/prompt" if self.uri.is_absent() => self.name.present().map(Subject::CompletePrompt),
            "ref/resource" if self.name.is_absent() => self.uri.present().map(Subject::CompleteResource),
            _ => None,
        }
    }
}

struct ReadReference;

impl<'de> Reader<'de> for ReadReference {
    type Output = Option<Reference>;

    fn other(self) -> Option<Reference> {
        None
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Option<Reference>, A::Error> {
        let mut reference = Reference::default();
        while let Some(name) = object.next_name()? {
            match name {
                "type" => reference.kind = object.value(Text)?,
                "name" => reference.name = Member::of(object.value(Text)?),
                "uri" => reference.uri = Member::of(object.value(Text)?),
                other => {
                    reference.is_ambiguous |= is_other_spelling(other, &["type", "name", "uri"]);
                    object.value(Skip)?;
                }
            }
        }
        Ok(Some(reference))
    }
}

/// Reads of `notifications` the `resourceSubscriptions`.
struct ReadSubscriptions;

impl<'de> Reader<'de> for ReadSubscriptions {
    type Output = Member<Vec<String>>;

    fn other(self) -> Self::Output {
        Member::Wrong
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        let mut subscriptions = Member::Absent;
        while let Some(name) = object.next_name()? {
            if name == "resourceSubscriptions" {
                subscriptions = Member::of(object.value(Texts)?);
            } else if is_other_spelling(name, &["resourceSubscriptions"]) {
                object.value(Skip)?;
                subscriptions = Member::Wrong;
            } else {
                object.value(Skip)?;
            }
        }
        Ok(subscriptions)
    }
}

/// Reads of `_meta` the revision.
struct ReadMeta;

impl<'de> Reader<'de> for ReadMeta {
    type Output = Member<String>;

    fn other(self) -> Self::Output {
        Member::Wrong
    }

    fn null(self) -> Self::Output {
        Member::Absent
    }

    fn object<A: MapAccess<'de>>(self, mut object: Object<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        let mut version = Member::Absent;
        while let Some(name) = object.next_name()? {
            if name == META_VERSION {
                version = Member::of(object.value(Text)?);
            } else {
                object.value(Skip)?;
            }
        }
        Ok(version)
    }
}

/// Reads a list of texts; of anything else, nothing.
struct Texts;

impl<'de> Reader<'de> for Texts {
    type Output = Option<Vec<String>>;

    fn other(self) -> Self::Output {
        None
    }

    fn list<A: SeqAccess<'de>>(self, mut list: List<'_, 'de, A>) -> Result<Self::Output, A::Error> {
        let mut texts = Some(Vec::new());
        while let Some(text) = list.next(Text)? {
            texts = texts.zip(text).map(|(mut texts, text)| {
                texts.push(text);
                texts
            });
        }
        Ok(texts)
    }
}

/// Reads an id, null included.
struct AnyId;

impl Reader<'_> for AnyId {
    type Output = Option<Id>;

    fn other(self) -> Option<Id> {
        None
    }

    fn text(self, text: &str) -> Option<Id> {
        Some(Id::Text(text.to_owned()))
    }

    fn number(self, number: Number) -> Option<Id> {
        Some(Id::Number(number))
    }

    fn null(self) -> Option<Id> {
        Some(Id::Null)
    }
}

/// Whether a value is this text.
struct Is(&'static str);

impl Reader<'_> for Is {
    type Output = bool;

    fn other(self) -> bool {
        false
    }

    fn text(self, text: &str) -> bool {
        text == self.0
    }
}

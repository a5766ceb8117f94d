//! What a client sends, read in one strict pass into the facts that decisions are taken on; nothing else is kept.

mod parse;
#[cfg(test)]
mod tests;

use crate::id::Id;
use crate::json;

/// What a POST carries: one message, or a batch of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Messages {
    list: Vec<Message>,
    is_batch: bool,
}

/// A JSON-RPC message of a client: a request, a notification or a response.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    id: Option<Id>,
    method: Option<String>,
    meta_version: Option<String>,
    subject: Subject,
}

/// An [`Operation`], as it is kept; and what headers or revisions are told by besides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Subject {
    Tool(String),
    Prompt(String),
    /// The URI of `resources/read`, and of what else goes by one.
    Resource(String),
    CompletePrompt(String),
    CompleteResource(String),
    Listen(Vec<String>),
    List(ListKind),
    /// `initialize`, with the `protocolVersion` it proposes.
    Initialize(Option<String>),
    /// `tasks/…`, with the `taskId`.
    Task(Option<String>),
    Protocol,
    Other,
    Response,
}

/// What a message is about, as far as permission to it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// `tools/call`, by the tool's name.
    Tool(&'a str),
    /// `prompts/get`, by the prompt's name.
    Prompt(&'a str),
    /// `resources/read`, `resources/subscribe` or `resources/unsubscribe`, by the resource's URI.
    Resource(&'a str),
    /// `completion/complete` for an argument of a prompt, by its name.
    CompletePrompt(&'a str),
    /// `completion/complete` for a variable of a resource template, by its URI or URI template.
    CompleteResource(&'a str),
    /// `subscriptions/listen`, by the URIs of the resources whose updates are asked for.
    Listen(&'a [String]),
    /// One of the lists.
    List(ListKind),
    /// What the protocol itself needs: `initialize`, `ping`, `server/discover`, `logging/setLevel`, `tasks/…`, and
    /// notifications.
    Protocol,
    /// A method this crate does not know.
    Other,
    /// The client's answer to a request of the server.
    Response,
}

/// What a list is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::VariantArray)]
pub enum ListKind {
    /// `tools/list`; its items go by `name`.
    Tools,
    /// `prompts/list`; its items go by `name`.
    Prompts,
    /// `resources/list`; its items go by `uri`.
    Resources,
    /// `resources/templates/list`; its items go by `uriTemplate`.
    ResourceTemplates,
}

/// Why a body is no message of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No JSON, or none in UTF-8, or more than one value.
    #[error("it is not JSON")]
    Json,
    /// JSON, but not JSON-RPC 2.0 as MCP has it.
    #[error("it is not JSON-RPC 2.0")]
    JsonRpc,
    /// An object names a member twice, or one that matters here in other capitals than it has.
    #[error("an object in it names a member twice")]
    DuplicateMember,
    /// Objects and arrays within each other, deeper than [`Messages::MAX_DEPTH`].
    #[error("it is nested too deeply")]
    TooDeep,
    /// A batch of nothing.
    #[error("it is an empty batch")]
    EmptyBatch,
    /// A batch, in a revision without batches.
    #[error("this revision of MCP has no batches")]
    Batch,
    /// The method is about something (a tool, a prompt, a resource), and the parameters do not say which.
    #[error("the parameters do not name what the method is about")]
    Name,
    /// `params._meta` does not say which revision this is, in one where it must.
    #[error("the parameters have no _meta with the protocol version")]
    Meta,
}

impl Malformed {
    /// The code of the JSON-RPC error.
    pub fn code(self) -> i32 {
        match self {
            Self::Json => -32700,
            Self::JsonRpc | Self::DuplicateMember | Self::TooDeep | Self::EmptyBatch | Self::Batch => -32600,
            Self::Name | Self::Meta => -32602,
        }
    }
}

impl Messages {
    /// How many objects and arrays may stand within each other.
    pub const MAX_DEPTH: u8 = 100;

    /// Reads a body. Takes time in proportion to its length, whatever it is.
    ///
    /// # Errors
    /// [`Malformed`], for what is not MCP and for what two programs could read in two ways.
    pub fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (list, is_batch) = json::read(body, parse::Body)??;
        Ok(Self { list, is_batch })
    }

    /// Whether it is a batch, be it of one.
    pub fn is_batch(&self) -> bool {
        self.is_batch
    }

    /// The messages; at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.list.iter()
    }

    /// The id of an error about the whole: that of the one request; null for anything else.
    pub fn id(&self) -> Id {
        match self.single() {
            Some(Message { id: Some(id), method: Some(_), .. }) => id.clone(),
            _ => Id::Null,
        }
    }

    /// The message, when it is not a batch.
    pub fn single(&self) -> Option<&Message> {
        self.list.first().filter(|_| !self.is_batch)
    }
}

impl Message {
    /// The id of a request or a response.
    pub fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// The method; none in a response.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    /// What it is about.
    pub fn operation(&self) -> Operation<'_> {
        match &self.subject {
            Subject::Tool(name) => Operation::Tool(name),
            Subject::Prompt(name) => Operation::Prompt(name),
            Subject::Resource(uri) => Operation::Resource(uri),
            Subject::CompletePrompt(name) => Operation::CompletePrompt(name),
            Subject::CompleteResource(uri) => Operation::CompleteResource(uri),
            Subject::Listen(uris) => Operation::Listen(uris),
            Subject::List(kind) => Operation::List(*kind),
            Subject::Initialize(_) | Subject::Task(_) | Subject::Protocol => Operation::Protocol,
            Subject::Other => Operation::Other,
            Subject::Response => Operation::Response,
        }
    }

    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`: the revision, as the body says it, of whatever kind the message
    /// is.
    pub fn meta_version(&self) -> Option<&str> {
        self.meta_version.as_deref()
    }

    /// Whether it asks for an answer.
    pub fn is_request(&self) -> bool {
        self.method.is_some() && self.id.is_some()
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }
}

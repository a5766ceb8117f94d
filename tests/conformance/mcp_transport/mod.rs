//! The Streamable HTTP pages of MCP, as an intermediary keeps them: what a server owes its clients, where the gateway answers
//! in its place; and that it passes on unchanged what the server owes. Which test is for which requirement, and why some
//! requirements have none, is in `README.md` beside this folder.

mod messages;
mod request_metadata;
mod sessions;
mod streams;

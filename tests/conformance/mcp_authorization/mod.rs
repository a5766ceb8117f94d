//! The authorization pages of MCP, as a resource server keeps them. Which test is for which requirement, and why some
//! requirements have none, is in `README.md` beside this folder.

mod challenges;
mod discovery;
mod tokens;

//! Owns the HTML of the login page. Whatever came from a client is escaped and cut to a length one can read.
//!
//! Never: a script, an image, a font from elsewhere.

use std::fmt::Write;

use super::PEOPLE;

/// What a person is asked.
pub(super) struct Login<'a> {
    /// The name the client gave itself.
    pub(super) client_name: &'a str,
    /// The client's identifier.
    pub(super) client_id: &'a str,
    /// Where the answer goes.
    pub(super) redirect_uri: &'a str,
    /// What the token will be for.
    pub(super) resource: &'a str,
    /// What the client wants to do there.
    pub(super) scopes: &'a str,
}

/// A longer name is cut.
const MAX_CHARACTERS: usize = 120;

impl Login<'_> {
    /// The page, whose form carries `ticket`.
    pub(super) fn render(&self, ticket: &str) -> String {
        let mut people = String::new();
        for person in PEOPLE {
            // Writing to a String cannot fail.
            let _ = write!(
                people,
                r#"<button name="person" value="{}"><strong>{} {}</strong><span>{}</span></button>"#,
                person.subject, person.given_name, person.family_name, person.role
            );
        }
        let facts = [
            ("wants to", self.scopes),
            ("at", self.resource),
            ("its identifier", self.client_id),
            ("you go back to", self.redirect_uri),
        ];
        let facts: String =
            facts.map(|(term, fact)| format!("<dt>{term}</dt><dd><code>{}</code></dd>", escape(fact))).concat();
        document(&format!(
            r#"<h1>{} asks for access</h1><dl>{facts}</dl>
<form method="post" action="/authorize"><input type="hidden" name="ticket" value="{}">
<h2>Who are you?</h2>{people}<button name="person" value="" class="no">Deny</button></form>"#,
            escape(self.client_name),
            escape(ticket),
        ))
    }
}

/// A page that says why there is nothing to log in to.
pub(super) fn error(why: &str) -> String {
    document(&format!("<h1>This did not work</h1><p>{}</p>", escape(why)))
}

fn document(body: &str) -> String {
    format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><title>phantomgate demo: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><main>{body}<footer>This authorization server is for demos: it has no passwords.</footer></main></body></html>"#
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}\
body{margin:0;display:grid;place-items:center;min-height:100vh;background:Canvas;color:CanvasText}\
main{max-width:32rem;margin:1rem;padding:2rem;border:1px solid #8886;border-radius:1rem}\
h1{font-size:1.4rem;margin:0 0 1rem}h2{font-size:1rem;margin:1.5rem 0 .5rem}\
dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0}\
dt{opacity:.7}dd{margin:0;overflow-wrap:anywhere}\
button{display:flex;justify-content:space-between;gap:1rem;width:100%;margin:.4rem 0;padding:.7rem 1rem;font:inherit;\
border:1px solid #8888;border-radius:.6rem;background:transparent;color:inherit;cursor:pointer;text-align:left}\
button:hover,button:focus{border-color:#36f}button span{opacity:.7}.no{justify-content:center;opacity:.8}\
footer{margin-top:1.5rem;font-size:.85rem;opacity:.7}";

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (position, character) in text.chars().enumerate() {
        if position == MAX_CHARACTERS {
            escaped.push('…');
            break;
        }
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_write_html_into_the_page() {
        let login = Login {
            client_name: "<script>alert(1)</script>",
            client_id: "\"><img>",
            redirect_uri: "http://127.0.0.1/'",
            resource: "https://mcp.example/&",
            scopes: "users:read",
        };
        let html = login.render("ticket");
        assert!(!html.contains("<script>") && !html.contains("<img>"));
        assert!(html.contains("&lt;script&gt;") && html.contains("&#39;") && html.contains("/&amp;"));
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(escape(&"x".repeat(1000)).chars().count(), MAX_CHARACTERS + 1);
    }
}

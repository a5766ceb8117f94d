//! The same for a person: a page that asks this listener, each second, for what its programs can ask for too.
//!
//! The page is the same for everybody and holds nothing, so that it can be shown before a token is given. It loads nothing
//! from elsewhere, runs nothing but its own files, and cannot be shown inside another page. What it shows is partly written
//! by clients: it is text there, never HTML, and the policy forbids the page to make any of text (Trusted Types).

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use http::{HeaderName, HeaderValue, header};

use super::Operations;

/// Where it is.
const PATH: &str = "/dashboard";

const SCRIPT: &str = "text/javascript; charset=utf-8";

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

/// Its files: the path below [`PATH`], the media type, and what is in it.
const FILES: [(&str, &str, &str); 12] = [
    ("", "text/html; charset=utf-8", include_str!("dashboard/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("dashboard/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
    ("/main.js", SCRIPT, include_str!("dashboard/main.js")),
    ("/api.js", SCRIPT, include_str!("dashboard/api.js")),
    ("/chart.js", SCRIPT, include_str!("dashboard/chart.js")),
    ("/decisions.js", SCRIPT, include_str!("dashboard/decisions.js")),
    ("/dialogs.js", SCRIPT, include_str!("dashboard/dialogs.js")),
    ("/dom.js", SCRIPT, include_str!("dashboard/dom.js")),
    ("/format.js", SCRIPT, include_str!("dashboard/format.js")),
    ("/overview.js", SCRIPT, include_str!("dashboard/overview.js")),
    ("/running.js", SCRIPT, include_str!("dashboard/running.js")),
];

/// Its files, and the way there from `/`.
pub(super) fn pages() -> Router<Arc<Operations>> {
    let file = |router: Router<_>, (path, media_type, content): (&str, &'static str, &'static str)| {
        let headers: [(HeaderName, HeaderValue); 2] =
            [(header::CONTENT_TYPE, HeaderValue::from_static(media_type)), (header::CONTENT_SECURITY_POLICY, POLICY)];
        router.route(&format!("{PATH}{path}"), get(async move || (headers, content)))
    };
    FILES.into_iter().fold(Router::new(), file).route("/", get(async || Redirect::temporary(PATH)))
}

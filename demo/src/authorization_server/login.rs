//! Owns the authorization endpoint (RFC 6749 §3.1): shows the login page for a request that the library found valid,
//! and turns the person's answer into a redirect with a code.
//!
//! The page carries a one-time ticket that stands for the validated request, so a form that this server did not show,
//! or has seen already, does nothing. Never: a page for an invalid request, a code without a person's click.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth_as::authorization::{
    AuthorizationError, AuthorizationErrorRedirect, AuthorizationRequest, ValidatedAuthorizationRequest,
};
use oauth_as::client::ClientId;
use oauth_as::error::{ErrorCode, ErrorResponse};
use oauth_as::server::UserApproval;
use oauth_as::store::Storage;
use parking_lot::Mutex;
use url::form_urlencoded;

use super::{AuthorizationServer, Person, Shared, client_id_metadata_document, page};

/// `GET /authorize`: the login page.
pub(super) async fn show(State(server): Shared, RawQuery(query): RawQuery) -> Response {
    match validate(&server, query.as_deref().unwrap_or_default()).await {
        Ok(request) => login_page(&server, request).await,
        Err(answer) => answer,
    }
}

/// `POST /authorize`: what the person clicked.
pub(super) async fn submit(State(server): Shared, form: Bytes) -> Response {
    let field = |name: &str| form_urlencoded::parse(&form).find(|(key, _)| key == name).map(|(_, value)| value);
    let Some(mut request) = field("ticket").and_then(|ticket| server.tickets.redeem(&ticket)) else {
        return sorry("This login page has been used already, or has expired. Start again from your agent.");
    };
    let Some(person) = field("person").and_then(|subject| Person::find(&subject)) else {
        return redirect(&request.denied().location());
    };
    request.scope = person.grant(&request.scope);
    match server.protocol.issue_authorization_code(UserApproval::granted(&request, person.subject)).await {
        Ok(response) => redirect(&response.location(&request.redirect_uri)),
        Err(error) => refusal(error),
    }
}

async fn validate(server: &AuthorizationServer, query: &str) -> Result<ValidatedAuthorizationRequest, Response> {
    let request = AuthorizationRequest::from_pairs(form_urlencoded::parse(query.as_bytes()));
    if let Some(client_id) = request.client_id.as_deref().filter(|id| client_id_metadata_document::is_url(id)) {
        client_id_metadata_document::learn(server, client_id).await.map_err(|error| sorry(&error.to_string()))?;
    }
    let validated = server.protocol.validate_authorization_request(&request).await.map_err(refusal)?;
    if validated.resource.is_empty() {
        return Err(redirect(&without_resource(&validated).location()));
    }
    Ok(validated)
}

/// RFC 8707 §2: a token that is for nobody in particular would be for everybody.
fn without_resource(request: &ValidatedAuthorizationRequest) -> AuthorizationErrorRedirect {
    let error = ErrorResponse::new(ErrorCode::InvalidTarget).with_description("say which resource the token is for");
    AuthorizationErrorRedirect { error, ..request.denied() }
}

async fn login_page(server: &AuthorizationServer, request: ValidatedAuthorizationRequest) -> Response {
    let client = server.protocol.store().get_client(&ClientId::new(request.client_id.as_str())).await;
    let name = client.ok().flatten().and_then(|client| client.name.clone());
    let page = page::Login {
        client_name: name.as_deref().unwrap_or("An agent without a name"),
        client_id: request.client_id.as_str(),
        redirect_uri: &request.redirect_uri,
        resource: &request.resource.join(" "),
        scopes: &request.scope.to_string(),
    };
    let Some(ticket) = random() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let html = page.render(&ticket);
    server.tickets.issue(ticket, request);
    html_response(StatusCode::OK, html)
}

fn refusal(error: AuthorizationError) -> Response {
    match error {
        AuthorizationError::Redirect(error) => redirect(&error.location()),
        // Without a redirect URI that is known to be the client's, only the person can be told (RFC 6749 §4.1.2.1).
        AuthorizationError::Direct(error) => {
            let code = error.error.as_str();
            sorry(&format!("{code}: {}", error.error_description.as_deref().unwrap_or("the request is not valid")))
        }
    }
}

fn sorry(why: &str) -> Response {
    html_response(StatusCode::BAD_REQUEST, page::error(why))
}

fn redirect(location: &str) -> Response {
    let headers =
        [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")];
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn html_response(status: StatusCode, html: String) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    (status, headers, Html(html)).into_response()
}

/// 256 random bits, base64url.
fn random() -> Option<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// The validated requests that wait for a person, by the ticket in the page.
#[derive(Default)]
pub(super) struct Tickets(Mutex<VecDeque<Ticket>>);

struct Ticket {
    name: String,
    shown_at: Instant,
    request: ValidatedAuthorizationRequest,
}

impl Tickets {
    /// So many people can look at the page at a time; the one who has looked longest gives way.
    const CAPACITY: usize = 1_000;
    /// So long a person may think.
    const LIFETIME: Duration = Duration::from_secs(10 * 60);

    fn issue(&self, name: String, request: ValidatedAuthorizationRequest) {
        let mut tickets = self.0.lock();
        if tickets.len() == Self::CAPACITY {
            tickets.pop_front();
        }
        tickets.push_back(Ticket { name, shown_at: Instant::now(), request });
    }

    fn redeem(&self, name: &str) -> Option<ValidatedAuthorizationRequest> {
        let mut tickets = self.0.lock();
        let position = tickets.iter().position(|ticket| ticket.name == name)?;
        let ticket = tickets.remove(position)?;
        (ticket.shown_at.elapsed() < Self::LIFETIME).then_some(ticket.request)
    }
}

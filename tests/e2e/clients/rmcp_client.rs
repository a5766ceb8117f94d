//! rmcp's client, which is a library here instead of a program; it takes the same steps and tells the same facts.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use e2e::{AnswerExt, follow_redirects, now, until};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ProgressNotificationParam},
    service::{NotificationContext, RunningService, ServiceError},
    transport::{
        StreamableHttpClientTransport,
        auth::{
            AuthClient, AuthError, AuthorizationCallback, AuthorizationManager, AuthorizationRequest, CredentialStore,
            OAuthState, StoredCredentials,
        },
        streamable_http_client::{InsufficientScopeError, StreamableHttpClientTransportConfig},
    },
};
use serde_json::{Value, json};
use tokio::sync::watch;

const REDIRECT_URL: &str = "http://127.0.0.1:1/callback"; // nothing listens: the redirect to it is read, not followed

/// What `fixtures/mcp-clients/typescript.mjs` does with a scenario.
pub(super) async fn rmcp_client(server: &str, lifecycle: ClientLifecycleMode, steps: &[Value]) -> Value {
    let memory = Memory::default();
    let http = AuthClient::new(
        reqwest::Client::builder().no_proxy().build().unwrap(),
        authorized(server, memory.clone()).await.unwrap(),
    );
    let transport =
        StreamableHttpClientTransport::with_client(http.clone(), StreamableHttpClientTransportConfig::with_uri(server));
    let progress = watch::Sender::new(0);
    let client = Watching(progress.clone()).serve_with_lifecycle(transport, lifecycle).await.unwrap();
    let session = Session { client, http, memory, progress };

    let mut facts = Vec::new();
    for step in steps {
        let mut came = session.perform(step).await;
        came["scope"] = json!(session.memory.scope());
        came["token"] = json!(session.memory.issued());
        facts.push(came);
    }
    let protocol = session.client.peer_info().unwrap().protocol_version.to_string();
    session.client.cancel().await.unwrap();
    json!({ "protocol": protocol, "steps": facts, "credentials": session.memory.credentials() })
}

/// Asks without a token, and does what the challenge says.
async fn authorized(server: &str, memory: Memory) -> Result<AuthorizationManager, AuthError> {
    let asked = reqwest::Client::builder().no_proxy().build().unwrap().get(server).answer().await;
    let mut manager = AuthorizationManager::new(server).await?;
    manager.set_credential_store(memory);
    let mut oauth = OAuthState::Unauthorized(manager);
    let request = AuthorizationRequest::new(REDIRECT_URL)
        .with_client_name("rmcp")
        .with_challenge(asked.header("www-authenticate"))
        .with_initial_scope_selection();
    oauth.start_authorization(request).await?;
    let callback = follow_redirects(&oauth.get_authorization_url().await?, REDIRECT_URL).await;
    oauth.handle_callback_url(&callback).await?;
    Ok(oauth.into_authorization_manager().unwrap())
}

struct Session {
    client: RunningService<RoleClient, Watching>,
    http: AuthClient<reqwest::Client>,
    memory: Memory,
    progress: watch::Sender<usize>,
}

impl Session {
    async fn perform(&self, step: &Value) -> Value {
        let came = match step["do"].as_str().unwrap() {
            "list" => self.client.list_all_tools().await.map(|tools| {
                let names: Vec<_> = tools.into_iter().map(|tool| tool.name).collect();
                json!({ "tools": names })
            }),
            "call" => self.call(step).await.map(|text| json!({ "text": text })),
            "stream" => self.stream(step).await,
            "expire" => {
                until(self.memory.expiry() + 1).await;
                Ok(json!({}))
            }
            other => panic!("there is no step {other}"),
        };
        came.unwrap_or_else(|error| json!({ "error": error.to_string() }))
    }

    /// rmcp tells which scope is missing; asking for it and trying again is left to its users.
    async fn call(&self, step: &Value) -> Result<Value, ServiceError> {
        match self.call_once(step).await {
            Err(ServiceError::TransportSend(error)) => {
                let Some(scope) = missing_scope(error.error.as_ref()) else {
                    return Err(ServiceError::TransportSend(error));
                };
                self.step_up(&scope).await;
                self.call_once(step).await
            }
            other => other,
        }
    }

    async fn call_once(&self, step: &Value) -> Result<Value, ServiceError> {
        let arguments = step["arguments"].as_object().unwrap().clone();
        let call = CallToolRequestParams::new(step["tool"].as_str().unwrap().to_owned()).with_arguments(arguments);
        let result = self.client.call_tool(call).await?;
        Ok(serde_json::to_value(result).unwrap()["content"][0]["text"].clone())
    }

    async fn step_up(&self, scope: &str) {
        let manager = self.http.auth_manager.lock().await;
        let url = manager.request_scope_upgrade(scope).await.unwrap();
        let callback = follow_redirects(&url, REDIRECT_URL).await;
        let answer = AuthorizationCallback::from_redirect_url(&callback);
        let AuthorizationCallback { code, csrf_token, issuer, .. } =
            answer.unwrap_or_else(|error| panic!("{url} led to {callback}: {error}"));
        manager.exchange_code_for_token_with_issuer(&code, &csrf_token, issuer.as_deref()).await.unwrap();
    }

    async fn stream(&self, step: &Value) -> Result<Value, ServiceError> {
        let mut progress = self.progress.subscribe();
        let mut called = std::pin::pin!(self.call(step));
        let meanwhile = async {
            progress.changed().await.unwrap();
            self.call(&step["meanwhile"]).await
        };
        tokio::select! {
            text = &mut called => Ok(json!({ "text": text?, "answered_meanwhile": false })),
            other = meanwhile => {
                other?;
                Ok(json!({ "text": called.await?, "answered_meanwhile": true }))
            }
        }
    }
}

fn missing_scope(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let insufficient = causes.find_map(|error| error.downcast_ref::<InsufficientScopeError>())?;
    insufficient.get_required_scope().map(str::to_owned)
}

/// Counts the progress notifications.
struct Watching(watch::Sender<usize>);

impl ClientHandler for Watching {
    async fn on_progress(&self, _: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// All that was ever stored; the last one counts.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<(StoredCredentials, u64)>>>);

impl Memory {
    fn issued(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn scope(&self) -> String {
        self.0.lock().unwrap().last().unwrap().0.granted_scopes.join(" ")
    }

    /// Seconds since the epoch.
    fn expiry(&self) -> u64 {
        self.0.lock().unwrap().last().unwrap().1
    }

    fn credentials(&self) -> Vec<Value> {
        let all = self.0.lock().unwrap();
        let tokens = all.iter().map(|(stored, _)| serde_json::to_value(&stored.token_response).unwrap());
        tokens.flat_map(|token| [token["access_token"].clone(), token["refresh_token"].clone()]).collect()
    }
}

#[async_trait]
impl CredentialStore for Memory {
    async fn load(&self) -> Result<Option<StoredCredentials>, AuthError> {
        Ok(self.0.lock().unwrap().last().map(|(stored, _)| stored.clone()))
    }

    async fn save(&self, credentials: StoredCredentials) -> Result<(), AuthError> {
        let token = serde_json::to_value(&credentials.token_response).unwrap();
        let expiry = now() + token["expires_in"].as_u64().unwrap();
        self.0.lock().unwrap().push((credentials, expiry));
        Ok(())
    }

    async fn clear(&self) -> Result<(), AuthError> {
        self.0.lock().unwrap().clear();
        Ok(())
    }
}

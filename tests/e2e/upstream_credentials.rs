//! What the upstream gets in place of the agent's token, beyond a JWT that we sign as we always do (`token_swap`): the
//! authorization server's JWT, a token it gives in exchange, a secret in a header; and our own JWT with claims of the
//! deployment's and other algorithms.

use e2e::{Answer, AnswerExt, FormRequest, Given, World, decode_jwt, now, until};
use futures_util::future::join_all;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use serde_json::{Value, json};

/// A gateway whose route has this credential.
async fn with_credential(credential: Value) -> World {
    changed(credential, |_| {}).await
}

async fn changed(credential: Value, change: impl FnOnce(&mut Given)) -> World {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"] = credential;
    change(&mut given);
    given.start().await
}

fn exchange() -> Value {
    json!({ "kind": "exchange", "resource": "https://upstream.internal/mcp", "scopes": ["mcp:read"] })
}

async fn status(world: &World, token: &str) -> u16 {
    world.get("/mcp").bearer_auth(token).answer().await.status.as_u16()
}

// --- the authorization server's JWT -----------------------------------------------------------------------------------

async fn with_phantom_tokens() -> World {
    changed(json!({ "kind": "jwt" }), |given| {
        given.config["authorization_servers"]["main"]["introspection"] = json!({ "response": "jwt" });
    })
    .await
}

#[tokio::test]
async fn the_jwt_of_the_authorization_server_goes_to_the_upstream_as_it_is() {
    let world = with_phantom_tokens().await;
    let token = world.authorization_server.issue(json!({ "sub": "alice", "tenant": "t-1" }));

    for _ in 0..2 {
        assert_eq!(status(&world, &token).await, 200);
    }

    let received = world.upstream.received();
    let (header, claims) = decode_jwt(received[0].jwt());
    assert_eq!(header["kid"], world.authorization_server.key().jwk()["kid"]);
    assert_eq!((&claims["sub"], &claims["tenant"]), (&json!("alice"), &json!("t-1")));
    assert_eq!(received[0].jwt(), received[1].jwt());
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn a_jwt_in_place_of_a_token_is_verified_before_it_goes_anywhere() {
    let world = with_phantom_tokens().await;
    let server = &world.authorization_server;
    let jwt = server.jwt(&json!({}));
    for (name, body) in [
        ("no signature", jwt.unsigned()),
        ("a mac with the public key", jwt.authenticate(server.key().public_pem())),
        ("a foreign key", jwt.sign(&e2e::SigningKey::new())),
        ("another issuer", jwt.clone().claim("iss", "https://elsewhere.example").sign(&server.key())),
        ("another kind", jwt.clone().header("typ", "token-introspection+jwt").sign(&server.key())),
        ("no end", jwt.clone().claim("exp", Value::Null).sign(&server.key())),
    ] {
        let token = server.issue(json!({}));
        server.answer(&token, Answer::content(200, "application/jwt", body));

        assert_eq!(status(&world, &token).await, 503, "{name}");
    }
    let expired = server.issue(json!({ "exp": now() - 3600 }));
    assert_ne!(status(&world, &expired).await, 200);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_jwt_for_another_resource_does_not_pass() {
    let world = with_phantom_tokens().await;
    let token = world.authorization_server.issue(json!({ "aud": "https://elsewhere.example" }));

    assert_eq!(status(&world, &token).await, 401);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_jwt_in_a_member_of_a_json_answer_is_one_too() {
    let world = changed(json!({ "kind": "jwt" }), |given| {
        given.config["authorization_servers"]["main"]["introspection"] = json!({ "response": "jwt" });
        given.config["authorization_servers"]["main"]["vendor"] = json!("keycloak");
    })
    .await;
    let server = &world.authorization_server;
    let jwt = server.jwt(&json!({ "typ": "Bearer", "azp": "agent" })).header("typ", "JWT").sign(&server.key());
    let token = server.issue(json!({}));
    server.answer(&token, Answer::json(200, &json!({ "active": true, "jwt": jwt })));

    assert_eq!(status(&world, &token).await, 200);

    assert_eq!(world.upstream.only_request().jwt(), jwt);
}

// --- exchange ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_exchanged_token_goes_to_the_upstream_and_is_exchanged_once() {
    let world = with_credential(exchange()).await;
    let token = world.valid_token();

    for _ in 0..3 {
        assert_eq!(status(&world, &token).await, 200);
    }

    let received = world.upstream.received();
    assert!(received.iter().all(|request| request.jwt().starts_with("exchanged-")), "{received:#?}");
    assert_eq!(received[0].jwt(), received[2].jwt());
    let exchanges = world.authorization_server.exchanges();
    assert_eq!(exchanges.len(), 1);
    assert_eq!(exchanges[0].field("subject_token"), [token]);
    assert_eq!(exchanges[0].field("resource"), ["https://upstream.internal/mcp"]);
    assert_eq!(exchanges[0].field("scope"), ["mcp:read"]);
}

#[tokio::test]
async fn forty_requests_at_once_make_one_exchange() {
    let world = with_credential(exchange()).await;
    let token = world.valid_token();

    for status in join_all((0..40).map(|_| status(&world, &token))).await {
        assert_eq!(status, 200);
    }

    assert_eq!(world.authorization_server.exchanges().len(), 1);
}

#[tokio::test]
async fn what_differs_between_routes_is_exchanged_for_each() {
    let world = changed(exchange(), |given| {
        given.add_route("other", "/other")["credential"] = json!({ "kind": "exchange", "audience": "other" });
        given.add_route("same", "/same")["credential"] = exchange();
    })
    .await;
    let resources: Vec<_> = ["/mcp", "/other", "/same"].iter().map(|path| world.url(path)).collect();
    let token = world.authorization_server.issue(json!({ "aud": resources }));

    for path in ["/mcp", "/other", "/same", "/other"] {
        world.get(path).bearer_auth(&token).answer().await.assert_status(200);
    }

    let audiences: Vec<_> =
        world.authorization_server.exchanges().iter().map(|form| form.field("audience").concat()).collect();
    assert!(audiences.contains(&"other".to_owned()), "{audiences:?}");
    let received = world.upstream.received();
    assert_ne!(received[0].jwt(), received[1].jwt());
    assert_eq!(received[1].jwt(), received[3].jwt());
}

#[tokio::test]
async fn two_agents_never_share_an_exchanged_token() {
    let world = with_credential(exchange()).await;
    let (alice, bob) = (world.valid_token(), world.valid_token());

    assert_eq!((status(&world, &alice).await, status(&world, &bob).await), (200, 200));

    let received = world.upstream.received();
    assert_ne!(received[0].jwt(), received[1].jwt());
}

#[tokio::test]
async fn an_exchanged_token_is_exchanged_again_before_it_expires() {
    let world = with_credential(exchange()).await;
    world.authorization_server.claim_in_exchanges(&json!({ "expires_in": 3 }));
    let token = world.valid_token();
    assert_eq!(status(&world, &token).await, 200);

    until(now() + 4).await;
    assert_eq!(status(&world, &token).await, 200);

    assert_eq!(world.authorization_server.exchanges().len(), 2);
    let received = world.upstream.received();
    assert_ne!(received[0].jwt(), received[1].jwt());
    assert_eq!(world.authorization_server.introspections(&token), 1);
}

#[tokio::test]
async fn an_exchange_that_brings_more_or_something_else_than_was_asked_for_is_502() {
    for (name, members) in [
        ("a further scope", json!({ "scope": "mcp:read mcp:write" })),
        ("another type", json!({ "issued_token_type": "urn:ietf:params:oauth:token-type:refresh_token" })),
        ("a token that is no access token", json!({ "token_type": "N_A" })),
        ("a bound token", json!({ "token_type": "DPoP" })),
        ("no token", json!({ "access_token": null })),
        ("a token that is no credential", json!({ "access_token": "two words\r\nx-injected: 1" })),
    ] {
        let world = with_credential(exchange()).await;
        world.authorization_server.claim_in_exchanges(&members);
        let token = world.valid_token();

        assert_eq!(status(&world, &token).await, 502, "{name}");
        assert!(world.upstream.received().is_empty(), "{name}");
        world.gateway.logged(&["audit", "exchange_refused", "status=502"]).await;
    }
}

#[tokio::test]
async fn an_exchanged_jwt_for_another_audience_is_502() {
    let world = with_credential(json!({ "kind": "exchange", "audience": "https://upstream.internal/mcp" })).await;
    let server = &world.authorization_server;
    for (audience, expected) in [
        (json!("https://upstream.internal/mcp"), 200),
        (json!(["https://upstream.internal/mcp", "https://everything.internal"]), 502),
        (json!("https://everything.internal"), 502),
    ] {
        let exchanged = server.jwt(&json!({ "aud": audience })).sign(&server.key());
        server.claim_in_exchanges(&json!({ "access_token": exchanged }));
        let token = world.valid_token();

        assert_eq!(status(&world, &token).await, expected, "{audience}");
    }
}

#[tokio::test]
async fn a_refusal_of_an_exchange_has_the_status_of_whoever_is_at_fault() {
    let error = |status, error: &str| Answer::json(status, &json!({ "error": error, "error_description": "a\r\nb" }));
    for (name, answer, expected, reason) in [
        ("the subject token is over", error(400, "invalid_grant"), 401, "inactive_token"),
        ("the target is not allowed", error(400, "invalid_target"), 502, "exchange_refused"),
        ("the scope is not allowed", error(400, "invalid_scope"), 502, "exchange_refused"),
        ("the grant is not allowed", error(400, "unauthorized_client"), 502, "exchange_refused"),
        ("we are not known", error(401, "invalid_client"), 503, "introspection_unavailable"),
        ("it is busy", error(429, "slow_down"), 503, "introspection_unavailable"),
        ("it is broken", error(500, "server_error"), 503, "introspection_unavailable"),
        ("it is away", Answer::status(503), 503, "introspection_unavailable"),
        ("it talks nonsense", Answer::content(200, "text/html", "<html>"), 503, "introspection_unavailable"),
        ("it redirects", Answer::Redirect("/introspect".to_owned()), 503, "introspection_unavailable"),
    ] {
        let world = with_credential(exchange()).await;
        let token = world.valid_token();
        world.authorization_server.answer_exchanges(Some(answer));
        let during = world.get("/mcp").bearer_auth(&token).answer().await;

        assert_eq!((during.status.as_u16(), during.json()["reason"].as_str()), (expected, Some(reason)), "{name}");
        assert!(world.upstream.received().is_empty(), "{name}");

        // Nothing of a failure is remembered.
        world.authorization_server.answer_exchanges(None);
        if expected == 503 {
            assert_eq!(status(&world, &token).await, 200, "after {name}");
        }
    }
}

#[tokio::test]
async fn a_refresh_token_that_comes_with_an_exchange_goes_nowhere() {
    let world = with_credential(exchange()).await;
    world.credentials.agent("refresh-of-the-exchange");
    world.authorization_server.claim_in_exchanges(&json!({ "refresh_token": "refresh-of-the-exchange" }));
    let token = world.valid_token();

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    assert!(!answer.assert_status(200).body.contains("refresh-of-the-exchange"));
}

#[tokio::test]
async fn the_authorization_server_learns_who_acts() {
    let mut given = Given::new().await;
    let actor = given.directory().join("actor");
    std::fs::write(&actor, "token-of-the-gateway\n").unwrap();
    given.credentials.gateway("token-of-the-gateway");
    let mut credential = exchange();
    credential["actor"] = json!({ "token": { "file": actor }, "type": "jwt" });
    given.config["routes"][0]["credential"] = credential;
    let world = given.start().await;
    let token = world.valid_token();

    assert_eq!(status(&world, &token).await, 200);

    let exchanges = world.authorization_server.exchanges();
    assert_eq!(exchanges[0].field("actor_token"), ["token-of-the-gateway"]);
    assert_eq!(exchanges[0].field("actor_token_type"), ["urn:ietf:params:oauth:token-type:jwt"]);
}

// --- on behalf of -----------------------------------------------------------------------------------------------------

async fn on_behalf_of() -> World {
    let credential = json!({ "kind": "on_behalf_of", "scopes": ["api://upstream/.default"] });
    changed(credential, |given| {
        given.config["routes"][0]["accepts"] = json!(["jwt"]);
        given.config["authorization_servers"]["main"]["vendor"] = json!("entra");
    })
    .await
}

#[tokio::test]
async fn on_behalf_of_sends_the_jwt_as_an_assertion() {
    let world = on_behalf_of().await;
    world.authorization_server.claim_in_exchanges(&json!({ "scope": "api://upstream/Tools.Call" }));
    let token = world.authorization_server.issue_jwt(&json!({}));

    assert_eq!(status(&world, &token).await, 200);

    let exchanges = world.authorization_server.exchanges();
    let [form] = &exchanges[..] else { panic!("{exchanges:#?}") };
    let field = |name: &str| FormRequest::field(form, name).concat();
    assert_eq!(field("grant_type"), "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(field("requested_token_use"), "on_behalf_of");
    assert_eq!((field("assertion"), field("scope")), (token, "api://upstream/.default".to_owned()));
    assert!(world.upstream.only_request().jwt().starts_with("exchanged-"));
}

#[tokio::test]
async fn what_entra_wants_of_the_person_is_passed_on_as_a_challenge() {
    let world = on_behalf_of().await;
    let claims = r#"{"access_token":{"capolids":{"essential":true,"values":["c1"]}}}"#;
    let refusal = json!({
        "error": "interaction_required",
        "error_description": "AADSTS50079: the person must enrol.\r\nTrace ID: 1\r\nTimestamp: 2",
        "claims": claims,
    });
    world.authorization_server.answer_exchanges(Some(Answer::json(400, &refusal)));
    let token = world.authorization_server.issue_jwt(&json!({}));

    let answer = world.get("/mcp").bearer_auth(&token).answer().await;

    answer.assert_status(401).assert_challenge_error("insufficient_claims");
    let challenge = answer.challenge();
    let passed_on = decode_jwt(&format!("{}.e30", challenge.get("claims").unwrap())).0;
    assert_eq!(passed_on, serde_json::from_str::<Value>(claims).unwrap());
    assert!(world.upstream.received().is_empty());
}

// --- a secret in a header ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_secret_goes_in_the_header_that_is_named_and_the_agents_own_is_dropped() {
    for (header, prefix, sent) in
        [("X-Api-Key", json!(null), "legacy-secret"), ("Authorization", json!("Token "), "Token legacy-secret")]
    {
        let mut given = Given::new().await;
        let secret = given.directory().join("legacy");
        std::fs::write(&secret, "legacy-secret\n").unwrap();
        given.credentials.gateway("legacy-secret");
        let mut credential = json!({ "kind": "header", "name": header, "secret": { "file": secret } });
        if !prefix.is_null() {
            credential["prefix"] = prefix;
        }
        given.config["routes"][0]["credential"] = credential;
        let world = given.start().await;
        let token = world.valid_token();

        let request = world.get("/mcp").bearer_auth(&token).header("x-api-key", "the-agents-own");
        request.answer().await.assert_status(200);

        assert_eq!(world.upstream.only_request().header(header), sent);
    }
}

#[tokio::test]
async fn a_secret_for_the_upstream_that_changes_is_used_at_once() {
    let mut given = Given::new().await;
    let secret = given.directory().join("legacy");
    std::fs::write(&secret, "secret-one").unwrap();
    given.config["routes"][0]["credential"] =
        json!({ "kind": "header", "name": "X-Api-Key", "secret": { "file": secret } });
    let world = given.start().await;
    let token = world.valid_token();
    assert_eq!(status(&world, &token).await, 200);

    std::fs::write(&secret, "the-second-secret").unwrap();
    assert_eq!(status(&world, &token).await, 200);

    let received = world.upstream.received();
    assert_eq!((received[0].header("x-api-key"), received[1].header("x-api-key")), ("secret-one", "the-second-secret"));
}

// --- our own JWT ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn claims_of_the_authorization_servers_answer_become_claims_of_our_jwt() {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"]["claims"] =
        json!({ "department": "department", "tenant": "org.tenant", "groups": "groups", "absent": "nowhere" });
    let world = given.start().await;
    let token = world.authorization_server.issue(
        json!({ "department": "é\"\r\n", "org": { "tenant": 7, "secret": "x" }, "groups": ["a", "b"], "email": "x@y" }),
    );

    assert_eq!(status(&world, &token).await, 200);

    let (_, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!((&claims["department"], &claims["tenant"]), (&json!("é\"\r\n"), &json!(7)));
    assert_eq!(claims["groups"], json!(["a", "b"]));
    for absent in ["absent", "email", "org"] {
        assert_eq!(claims.get(absent), None, "{claims}");
    }
}

#[tokio::test]
async fn our_jwt_verifies_with_what_we_publish_whatever_the_algorithm() {
    for algorithm in ["ES256", "EdDSA", "RS256", "PS256"] {
        let mut given = Given::new().await;
        given.config["signing"]["algorithm"] = json!(algorithm);
        let world = given.start().await;
        let token = world.valid_token();
        assert_eq!(status(&world, &token).await, 200);

        let keys: JwkSet = serde_json::from_str(&world.get("/.well-known/jwks.json").answer().await.body).unwrap();
        let request = world.upstream.only_request();
        let header = decode_header(request.jwt()).unwrap();
        let key = keys.find(header.kid.as_deref().unwrap()).unwrap();
        let mut validation = Validation::new(header.alg);
        validation.set_audience(&["https://upstream.internal/mcp"]);
        decode::<Value>(request.jwt(), &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
        assert_eq!(format!("{:?}", header.alg), algorithm);
    }
}

#[tokio::test]
async fn a_route_may_have_jwts_of_a_shorter_life() {
    let mut given = Given::new().await;
    given.config["routes"][0]["credential"]["lifetime"] = json!("30s");
    let world = given.start().await;
    let token = world.valid_token();

    assert_eq!(status(&world, &token).await, 200);

    let (_, claims) = decode_jwt(world.upstream.only_request().jwt());
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 30);
}

//! TLS and HTTP/2 to upstreams.

use bytes::Bytes;
use e2e::{AnswerExt, Certificates, Given, Handshake, Response, Upstream, World, within};
use futures_util::StreamExt as _;
use http::Version;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What an https server offers by ALPN.
const BOTH: &[&str] = &["h2", "http/1.1"];

/// A gateway before an upstream that shows a certificate for these hosts, and is configured with `more`.
async fn given(hosts: &[&str], protocols: &[&str], more: impl FnOnce(&Certificates) -> Value) -> (Given, Certificates) {
    let mut given = Given::new().await;
    let certificates = Certificates::new(given.directory());
    let identity = certificates.server_for("upstream", hosts);
    given.upstream = Upstream::start_over_tls(identity.for_server(None), protocols).await;
    configure(&mut given, more(&certificates));
    (given, certificates)
}

fn configure(given: &mut Given, more: Value) {
    given.config["upstreams"]["upstream"] = more;
    given.config["upstreams"]["upstream"]["endpoints"] = json!([format!("https://{}", given.upstream.address())]);
}

async fn ask(world: &World) -> Response {
    world.get("/mcp").bearer_auth(world.valid_token()).answer().await
}

#[track_caller]
fn assert_unreachable(answer: &Response, world: &World) {
    assert_eq!(answer.assert_status(502).json()["reason"], "upstream_unavailable");
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn an_upstream_is_believed_when_an_authority_that_we_trust_vouches_for_it() {
    let (given, _) = given(&["127.0.0.1"], BOTH, |certificates| json!({ "tls": { "ca": certificates.ca() } })).await;
    let world = given.start().await;

    ask(&world).await.assert_status(200);

    assert_eq!(world.upstream.only_request().version, Version::HTTP_11);
    assert_eq!(world.upstream.handshakes(), [Handshake { server_name: None, has_client_certificate: false }]);
}

#[tokio::test]
async fn an_upstream_of_another_authority_is_not_believed() {
    let (given, _) = given(&["127.0.0.1"], BOTH, |certificates| {
        let folder = certificates.ca().parent().unwrap().join("stranger");
        std::fs::create_dir(&folder).unwrap();
        json!({ "tls": { "ca": Certificates::new(&folder).ca() } })
    })
    .await;
    let world = given.start().await;

    assert_unreachable(&ask(&world).await, &world);
    world.gateway.logged(&["upstream_unavailable", "Tls"]).await;
}

#[tokio::test]
async fn an_upstream_that_only_the_test_knows_is_not_believed_by_the_system() {
    let (given, _) = given(&["127.0.0.1"], BOTH, |_| json!({})).await;
    let world = given.start().await;

    assert_unreachable(&ask(&world).await, &world);
}

#[tokio::test]
async fn a_certificate_must_be_for_the_name_that_was_asked_for() {
    let (mut given, certificates) = given(&["users.internal"], BOTH, |_| json!({})).await;
    configure(&mut given, json!({ "tls": { "ca": certificates.ca() } }));
    let world = given.start().await;
    assert_unreachable(&ask(&world).await, &world);

    let name = "users.internal";
    let (given, _) =
        self::given(&[name], BOTH, |certificates| json!({ "tls": { "ca": certificates.ca(), "server_name": name } }))
            .await;
    let world = given.start().await;
    ask(&world).await.assert_status(200);
    let handshake = Handshake { server_name: Some(name.to_owned()), has_client_certificate: false };
    assert_eq!(world.upstream.handshakes(), [handshake]);
    // The name is for TLS alone.
    assert_eq!(world.upstream.only_request().header("host"), world.upstream.address().to_string());
}

#[tokio::test]
async fn an_upstream_that_wants_to_know_who_we_are_is_shown_our_certificate() {
    let (mut given, certificates) = given(&["127.0.0.1"], BOTH, |_| json!({})).await;
    let tls = certificates.server_for("upstream", &["127.0.0.1"]).for_server(Some(&certificates.ca()));
    given.upstream = Upstream::start_over_tls(tls, BOTH).await;
    let own = certificates.client("phantomgate");
    let tls = json!({ "ca": certificates.ca(), "certificate": own.certificate, "private_key": own.private_key });
    configure(&mut given, json!({ "tls": tls }));
    let world = given.start().await;

    ask(&world).await.assert_status(200);

    assert_eq!(world.upstream.handshakes(), [Handshake { server_name: None, has_client_certificate: true }]);
}

#[tokio::test]
async fn an_upstream_that_is_not_shown_what_it_wants_is_unavailable() {
    let (mut given, certificates) = given(&["127.0.0.1"], BOTH, |_| json!({})).await;
    let tls = certificates.server_for("upstream", &["127.0.0.1"]).for_server(Some(&certificates.ca()));
    given.upstream = Upstream::start_over_tls(tls, BOTH).await;
    configure(&mut given, json!({ "tls": { "ca": certificates.ca() } }));
    let world = given.start().await;

    assert_unreachable(&ask(&world).await, &world);
}

#[tokio::test]
async fn another_authority_counts_as_soon_as_the_file_says_so() {
    let (mut given, certificates) = given(&["127.0.0.1"], BOTH, |_| json!({})).await;
    let ca = given.directory().join("trusted.pem");
    let folder = given.directory().join("stranger");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(Certificates::new(&folder).ca(), &ca).unwrap();
    configure(&mut given, json!({ "tls": { "ca": ca } }));
    let world = given.start().await;
    assert_unreachable(&ask(&world).await, &world);

    std::fs::copy(certificates.ca(), &ca).unwrap();

    within("the file to be read again", async { while ask(&world).await.status != 200 {} }).await;

    // And what is not trusted any more gets no request, not even on a connection that stands.
    std::fs::copy(folder.join("ca.pem"), &ca).unwrap();
    within("the file to be read again", async { while ask(&world).await.status == 200 {} }).await;
}

// --- HTTP/2 ---------------------------------------------------------------------------------------------------------

/// An upstream to which HTTP/2 is spoken in this way.
async fn over_http_2(way: &str) -> Given {
    let mut given = match way {
        "cleartext" => {
            let mut given = Given::new().await;
            given.config["upstreams"]["upstream"]["protocol"] = json!("http2");
            given
        }
        protocol => {
            let more =
                |certificates: &Certificates| json!({ "protocol": protocol, "tls": { "ca": certificates.ca() } });
            self::given(&["127.0.0.1"], BOTH, more).await.0
        }
    };
    given.config["routes"][0]["mcp"] = json!({ "tools": { "echo": "allow" }, "methods": { "ping": "allow" } });
    given
}

const WAYS: [&str; 3] = ["cleartext", "http2", "auto"];

#[tokio::test]
async fn http_2_is_spoken_to_upstreams_that_do() {
    for way in WAYS {
        let world = over_http_2(way).await.start().await;
        let token = world.valid_token();

        let get = world.get("/mcp").bearer_auth(&token).header("x-own", "yes").answer().await;
        let call = world.call(&token, "tools/call", &json!({ "name": "echo" })).answer().await;

        get.assert_status(200);
        call.assert_status(200);
        let received = world.upstream.received();
        assert!(received.iter().all(|request| request.version == Version::HTTP_2), "{way}: {received:#?}");
        assert_eq!(received[0].header("x-own"), "yes");
        assert!(received[0].target.ends_with(&format!("{}/mcp", world.upstream.address())), "{way}: {received:#?}");
        assert!(received[1].body().contains("tools/call"), "{way}");
        assert!(received[1].jwt().starts_with("ey"), "{way}");
    }
}

#[tokio::test]
async fn auto_takes_http_1_where_there_is_nothing_else() {
    for protocols in [&["http/1.1"][..], &[]] {
        let more = |certificates: &Certificates| json!({ "protocol": "auto", "tls": { "ca": certificates.ca() } });
        let world = given(&["127.0.0.1"], protocols, more).await.0.start().await;

        ask(&world).await.assert_status(200);

        assert_eq!(world.upstream.only_request().version, Version::HTTP_11);
    }
}

#[tokio::test]
async fn an_upstream_without_http_2_is_unavailable_where_nothing_else_is_wanted() {
    let more = |certificates: &Certificates| json!({ "protocol": "http2", "tls": { "ca": certificates.ca() } });
    let world = given(&["127.0.0.1"], &["http/1.1"], more).await.0.start().await;

    assert_unreachable(&ask(&world).await, &world);
}

#[tokio::test]
async fn many_requests_share_a_connection_over_http_2() {
    let world = over_http_2("http2").await.start().await;
    let token = world.valid_token();
    ask(&world).await.assert_status(200);

    // One after the other: those that look for a connection at the same instant may each make one.
    let release = world.upstream.hold();
    let mut answers = Vec::new();
    for number in 2..22 {
        answers.push(tokio::spawn(world.get("/mcp").bearer_auth(&token).answer()));
        world.upstream.receives(number).await;
    }
    release.send(true).unwrap();
    for answer in answers {
        answer.await.unwrap().assert_status(200);
    }

    assert_eq!(world.upstream.handshakes().len(), 1, "{:?}", world.upstream.handshakes());
}

#[tokio::test]
async fn lists_are_filtered_over_http_2() {
    let list = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo"},{"name":"drop"}]}}"#;
    for way in WAYS {
        let world = over_http_2(way).await.start().await;
        world.upstream.answer_with("application/json", list);

        let answer = world.call(&world.valid_token(), "tools/list", &json!({})).answer().await;

        let tools = answer.assert_status(200).json()["result"]["tools"].clone();
        assert_eq!(tools, json!([{ "name": "echo" }]), "{way}");
    }
}

#[tokio::test]
async fn events_pass_one_by_one_over_http_2_and_end_with_their_token() {
    for way in WAYS {
        let world = over_http_2(way).await.start().await;
        let token = world.valid_token();
        let events = world.upstream.stream_next_answer();
        let request = world.call(&token, "tools/call", &json!({ "name": "echo" }));
        let mut body = within("the stream", request.send()).await.unwrap().bytes_stream();
        for data in ["one", "two"] {
            events.send(data).await;
            let event = within("an event", body.next()).await.unwrap().unwrap();
            assert_eq!(event, format!("data: {data}\n\n"), "{way}");
        }

        world.revoke(json!({ "token": token })).await;

        let last = within("the end of the stream", body.next()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&last).contains("inactive_token"), "{way}: {last:?}");
        while let Some(rest) = within("the end of the stream", body.next()).await {
            assert_eq!(rest.unwrap(), "", "{way}");
        }
        events.cancelled().await;
        // The connection goes on.
        world.get("/mcp").bearer_auth(world.valid_token()).answer().await.assert_status(200);
    }
}

#[tokio::test]
async fn an_upstream_learns_over_http_2_that_the_client_left() {
    let world = over_http_2("auto").await.start().await;
    let events = world.upstream.stream_next_answer();
    let response = world.get("/mcp").bearer_auth(world.valid_token()).send().await.unwrap();

    drop(response);

    events.cancelled().await;
}

#[tokio::test]
async fn a_large_body_passes_to_an_http_2_upstream_as_it_comes() {
    let mut given = over_http_2("auto").await;
    given.add_public_route("plain", "/plain");
    let world = given.start().await;
    let (pieces, body) = mpsc::channel::<Result<Bytes, std::convert::Infallible>>(1);
    let request = world.post("/plain").body(reqwest::Body::wrap_stream(ReceiverStream::new(body)));
    let answer = tokio::spawn(request.answer());

    pieces.send(Ok(Bytes::from_static(b"first"))).await.unwrap();
    let received = world.upstream.receives(1).await;
    received.body_contains("first").await;
    for _ in 0..64 {
        pieces.send(Ok(Bytes::from(vec![b'x'; 64 * 1024]))).await.unwrap();
    }
    drop(pieces);

    let answer = answer.await.unwrap();
    answer.assert_status(200);
    assert_eq!(received.body().len(), 5 + 64 * 64 * 1024);
    let method = answer.json()["method"].clone();
    assert_eq!(method, "POST");
}

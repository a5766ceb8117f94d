//! What is running, as programs of the operator read it.

use e2e::{AnswerExt, Given, World, now};
use serde_json::{Value, json};

async fn get(world: &World, path: &str) -> Value {
    world.admin(path).answer().await.assert_status(200).json()
}

#[tokio::test]
async fn it_tells_what_runs_and_since_when() {
    let before = now();
    let world = World::new().await;

    let status = get(&world, "/v1/status").await;

    let started_at = status["started_at"].as_u64().unwrap();
    assert!((before..=now()).contains(&started_at), "{status}");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["stopping"], false);
}

#[tokio::test]
async fn it_tells_the_routes_and_nothing_secret_of_them() {
    let mut given = Given::new().await;
    given.add_public_route("public", "/public");
    given.config["routes"][1]["match"] =
        json!({ "host": "*.example.com", "path": "/", "exact": true, "methods": ["GET"] });
    given.config["routes"][1]["rewrite"] = json!({ "path": "/public" });
    let world = given.start().await;

    let routes = get(&world, "/v1/routes").await;

    assert_eq!(routes["routes"].as_array().unwrap().len(), 2, "{routes}");
    let [route, public] = [0, 1].map(|index| &routes["routes"][index]);
    assert_eq!(
        (&route["name"], &route["path"], &route["upstream"]),
        (&json!("mcp"), &json!("/mcp"), &json!("upstream"))
    );
    assert_eq!(route["protection"]["scopes"], json!(["mcp:read"]));
    assert_eq!(route["protection"]["resource"], world.url("/mcp"));
    assert_eq!(route["protection"]["credential"], "signed");
    assert_eq!((&route["exact"], &route["methods"], &route["rewrite"]), (&json!(false), &Value::Null, &Value::Null));
    assert_eq!((&public["name"], &public["protection"]), (&json!("public"), &Value::Null));
    assert_eq!(
        (&public["host"], &public["path"], &public["exact"]),
        (&json!("*.example.com"), &json!("/"), &json!(true))
    );
    assert_eq!((&public["methods"], &public["rewrite"]), (&json!(["GET", "HEAD"]), &json!("/public")));
    assert_eq!(world.credentials.any_in(&routes.to_string()), None);
}

#[tokio::test]
async fn it_tells_what_the_cache_holds_and_how_often_that_helped() {
    let mut given = Given::new().await;
    given.config["authorization_servers"]["main"]["cache"] = json!({ "max_entries": 1000 });
    let world = given.start().await;
    let (good, bad) = (world.valid_token(), world.authorization_server.unknown_token());
    assert_eq!(get(&world, "/v1/cache").await["authorization_servers"][0]["hit_ratio"], Value::Null);
    for token in [&good, &good, &good, &bad, &bad] {
        world.get("/mcp").bearer_auth(token).answer().await;
    }

    let cache = &get(&world, "/v1/cache").await["authorization_servers"][0];

    assert_eq!(cache["name"], "main");
    assert_eq!((&cache["entries"], &cache["capacity"]), (&json!(1), &json!(1000)));
    assert_eq!((&cache["inactive_entries"], &cache["inactive_capacity"]), (&json!(1), &json!(100)));
    let lookups = json!({ "hit": 2, "miss": 2, "coalesced": 0, "negative": 1, "stale": 0, "refused": 0 });
    assert_eq!((&cache["lookups"], &cache["hit_ratio"]), (&lookups, &json!(0.6)));
}

//! The scheduled tasks.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn tasks_do_what_is_due_and_nothing_twice() {
    let world = World::new().await;
    let (one, other) = tokio::join!(world.invoke(json!({"task": "publish"})), world.invoke(json!({"task": "publish"})));
    let done = |answer: &serde_json::Value| -> Vec<String> {
        let done = answer["done"].as_array().unwrap_or_else(|| panic!("{answer}"));
        done.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    let put = [done(&one), done(&other)].concat();
    for name in [
        "server-anchor.pem",
        "root.pem",
        "bundles/system.pem",
        "bundles/system.json",
        "crl/root.1.crl",
        "crl/system.1.crl",
    ] {
        assert_eq!(put.iter().filter(|put| *put == name).count(), 1, "{name} once: {one} {other}");
    }
    let crl = world.s3.get_object().bucket(&world.bucket).key("crl/system.1.crl").send().await.unwrap();
    assert_eq!(crl.content_type(), Some("application/pkix-crl"));
    let number: u64 = crl.metadata().unwrap()["crl-number"].parse().unwrap();
    assert!(number > 1_700_000_000, "{number}");
    // The store's list takes the place of an older one, and not of a newer one.
    let der = crl.body.collect().await.unwrap().into_bytes();
    for (noted, put) in [(number - 1, &["crl/system.1.crl"][..]), (number + 1, &[])] {
        let notes = [("crl-number".to_owned(), noted.to_string())].into();
        let there = world.s3.put_object().bucket(&world.bucket).key("crl/system.1.crl").body(der.clone().into());
        there.set_metadata(Some(notes)).send().await.unwrap();
        assert_eq!(done(&world.invoke(json!({"task": "publish"})).await), put, "{noted}");
        let again = world.s3.head_object().bucket(&world.bucket).key("crl/system.1.crl").send().await.unwrap();
        assert_eq!(again.metadata().unwrap()["crl-number"], number.max(noted).to_string());
    }
    for task in ["rotate-cas", "sweep", "warn-expiry", "count-quotas", "key-policies", "purge-tenants"] {
        let answer = world.invoke(json!({ "task": task })).await;
        assert!(answer["task"] == task && answer["unfinished"] == false, "{answer}");
    }
    let unknown = world.invoke(json!({"task": "dance"})).await;
    let all = "rotate-cas, publish, sweep, warn-expiry, count-quotas, key-policies, purge-tenants";
    assert!(unknown["errorMessage"].as_str().unwrap().contains(all), "{unknown}");
    assert_eq!(unknown["errorType"], "Rotate", "{unknown}");
}

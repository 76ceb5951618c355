//! Prints what an update and a query cost, and checks that they stay within reach of what development needs.

mod support;

use candid::Encode;
use std::time::Instant;
use support::Setting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_and_queries_are_fast_enough_to_develop_with() {
    let s = Setting::new().await;
    let id = s.install().await;
    let none = Encode!().expect("encodes");
    let n = 100u32;

    let start = Instant::now();
    for _ in 0..n {
        s.agent
            .update(&id, "inc")
            .with_arg(none.clone())
            .call_and_wait()
            .await
            .expect("answered");
    }
    let update = start.elapsed() / n;

    let start = Instant::now();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (agent, none) = (s.agent.clone(), none.clone());
            tokio::spawn(async move {
                for _ in 0..50 {
                    agent
                        .update(&id, "inc")
                        .with_arg(none.clone())
                        .call_and_wait()
                        .await
                        .expect("answered");
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("no panic");
    }
    let updates_per_second = 400.0 / start.elapsed().as_secs_f64();

    let start = Instant::now();
    for _ in 0..n {
        s.agent
            .query(&id, "count")
            .with_arg(none.clone())
            .call()
            .await
            .expect("answered");
    }
    let query = start.elapsed() / n;

    println!(
        "update {update:?}, 8 clients {updates_per_second:.0} updates/s, verified query {query:?}"
    );
    assert_eq!(
        s.query::<_, (u64,)>(id, "count", ()).await,
        (u64::from(n) + 400,)
    );
    assert!(update.as_millis() < 250, "an update takes {update:?}");
}

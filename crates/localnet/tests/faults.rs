//! Faults beside those of a single call (`network.rs`), and a network that is held so that a run can be repeated.

mod support;

use emc_localnet::Network;
use std::time::Duration;
use support::Setting;

fn waiting(s: &Setting) -> usize {
    let (_, answer) = s.control("GET", "/_/waiting", "");
    answer["waiting"].as_array().expect("a list").len()
}

/// Returns once so many users' requests have arrived.
async fn arrived(s: &Setting, number: u64) {
    for _ in 0..500 {
        if s.control("GET", "/_/waiting", "").1["arrived"] == number {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the requests did not arrive");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_inside_the_callers_message() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    s.fault(r#"{"kind":"full_queue","method":"inc","skip":1}"#);
    let call = async || {
        let arguments = (b, "inc".to_string());
        let (outcome,): (String,) = s.update(a, "call_unbounded", arguments).await;
        outcome
    };
    assert_eq!(call().await, "ok");
    let refused = call().await;
    assert_ne!(refused, "ok");
    assert_eq!(call().await, "ok");
    assert_eq!(s.query::<_, (u64,)>(b, "count", ()).await, (2,));
    let (_, list) = s.control("GET", "/_/faults", "");
    assert_eq!(
        (&list[0]["fired"], &list[0]["count"]),
        (&1.into(), &0.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_arrives_after_its_delay() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    s.fault(r#"{"kind":"delay_reply","method":"inc","delay_s":50}"#);
    let call = s.update::<_, (String,)>(a, "call_unbounded", (b, "inc".to_string()));
    let watch = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let counted = s.query::<_, (u64,)>(b, "count", ()).await.0;
        let open = waiting(&s);
        s.advance(51);
        (counted, open)
    };
    let ((outcome,), seen) = tokio::join!(call, watch);
    assert_eq!((outcome.as_str(), seen), ("ok", (1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_network_runs_only_when_told_and_the_same_requests_in_the_same_order() {
    let mut runs = Vec::new();
    for overtake in [false, false, true, true] {
        let network = Network::builder().seed(11).start().expect("it starts");
        let s = Setting::on(network).await;
        let id = s.install().await;
        let before = s.control("GET", "/_/waiting", "").1["arrived"].as_u64();
        let before = before.expect("a number");
        if overtake {
            s.fault(r#"{"kind":"overtake","count":1000}"#);
        }
        s.control("POST", "/_/hold", r#"{"held":true}"#);
        let time = async || s.query::<_, (u64,)>(id, "time", ()).await.0;
        let held_at = time().await;
        let marks = async |n: u64| {
            let _: () = s.update(id, "mark", (format!("{n}"),)).await;
        };
        let send = async {
            tokio::join!(
                marks(0),
                async {
                    arrived(&s, before + 1).await;
                    marks(1).await;
                },
                async {
                    arrived(&s, before + 2).await;
                    marks(2).await;
                },
                async {
                    arrived(&s, before + 3).await;
                    marks(3).await;
                },
            );
        };
        let drive = async {
            arrived(&s, before + 4).await;
            assert_eq!(waiting(&s), 4);
            let (trace,): (Vec<String>,) = s.query(id, "trace", ()).await;
            assert!(trace.is_empty(), "nothing runs by itself");
            assert!(time().await - held_at < 1_000, "time stands");
            s.control("POST", "/_/tick", "{}");
        };
        tokio::join!(send, drive);
        assert_eq!(waiting(&s), 0);
        let (trace,): (Vec<String>,) = s.query(id, "trace", ()).await;
        runs.push(trace);
        s.advance(7);
        assert!(time().await - held_at < 7_000_010_000);
        s.control("POST", "/_/hold", r#"{"held":false}"#);
        let _: () = s.update(id, "mark", ("free",)).await;
    }
    assert_eq!(runs[0], ["0", "1", "2", "3"]);
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2], "overtaken");
    let mut sorted = runs[2].clone();
    sorted.sort();
    assert_eq!(sorted, runs[0]);
}

//! Messages are atomic, awaits are commit points, messages interleave, upgrades are transactions.

mod support;

use candid::Principal;
use emc_localnet::Network;
use support::Setting;

#[tokio::test]
async fn an_unmodified_agent_creates_installs_updates_and_queries() {
    let s = Setting::new().await;
    let id = s.install().await;
    assert_eq!(s.update::<_, (u64,)>(id, "inc", ()).await, (1,));
    assert_eq!(s.query::<_, (u64,)>(id, "count", ()).await, (1,));
    assert_eq!(s.query::<_, (u64,)>(id, "inc_in_query", ()).await, (2,));
    assert_eq!(
        s.query::<_, (u64,)>(id, "count", ()).await,
        (1,),
        "a query changes nothing"
    );
    // A query called as an update changes nothing either.
    assert_eq!(s.update::<_, (u64,)>(id, "inc_in_query", ()).await, (2,));
    assert_eq!(s.query::<_, (u64,)>(id, "count", ()).await, (1,));
    let controllers = s
        .agent
        .read_state_canister_controllers(id)
        .await
        .expect("shown");
    assert_eq!(controllers, [s.agent.get_principal().expect("an identity")]);
    let missing = s.try_update::<_, ()>(id, "no_such", ()).await.unwrap_err();
    assert!(
        missing.contains("IC0536") && missing.contains("has no update method 'no_such'"),
        "{missing}"
    );
    let nobody = Principal::from_slice(&[0x80, 0, 0, 0, 0, 0x10, 9, 9, 1, 1]);
    let missing = s.try_query::<_, ()>(nobody, "count", ()).await.unwrap_err();
    assert!(missing.contains("IC0301"), "{missing}");
}

async fn a_trap_undoes_everything(s: Setting) {
    let id = s.install().await;
    s.update::<_, (u64,)>(id, "inc", ()).await;
    s.update::<_, ()>(id, "put", (1u64, 1u64)).await;
    let before = s.state(id).await;
    let certified: (Option<Vec<u8>>,) = s.query(id, "certificate", ()).await;
    let error = s
        .try_update::<_, ()>(id, "mess_up_and_trap", ())
        .await
        .unwrap_err();
    assert!(
        error.contains("IC0503")
            && error.contains("Canister called `ic0.trap` with message: 'boom'"),
        "{error}"
    );
    s.control("POST", "/_/tick", "");
    assert_eq!(s.state(id).await, before);
    let contains = |bytes: &Option<Vec<u8>>, n: u8| {
        bytes
            .as_ref()
            .is_some_and(|b| b.windows(32).any(|w| w == [n; 32]))
    };
    assert!(contains(&certified.0, 1));
    let (certified,): (Option<Vec<u8>>,) = s.query(id, "certificate", ()).await;
    assert!(contains(&certified, 1) && !contains(&certified, 2));
    // And the canister goes on as if nothing had been.
    assert_eq!(s.update::<_, (u64,)>(id, "inc", ()).await, (2,));
    assert_eq!(
        s.update::<_, (u64,)>(id, "grow_and_touch", (8u64 << 20,))
            .await,
        (3 * (8 << 20),)
    );
}

#[tokio::test]
async fn a_trap_undoes_heap_stable_memory_growth_timer_certified_data_and_calls() {
    a_trap_undoes_everything(Setting::new().await).await;
}

#[tokio::test]
async fn a_trap_undoes_everything_where_pages_are_compared() {
    let network = Network::builder()
        .compare_pages(true)
        .start()
        .expect("starts");
    a_trap_undoes_everything(Setting::on(network).await).await;
}

#[tokio::test]
async fn what_is_before_an_await_stays_and_what_is_after_is_undone_by_a_trap() {
    let s = Setting::new().await;
    let id = s.install().await;
    let error = s
        .try_update::<_, ()>(id, "add_await_add_trap", ())
        .await
        .unwrap_err();
    assert!(error.contains("late"), "{error}");
    assert_eq!(s.query::<_, (u64,)>(id, "count", ()).await, (2,));
}

#[tokio::test]
async fn messages_interleave_across_awaits_and_keep_their_order_within_a_pair() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    s.update::<_, ()>(b, "have_two_leave_marks", (a, 30u64))
        .await;
    s.control("POST", "/_/tick", "");
    let (trace,): (Vec<String>,) = s.query(a, "trace", ()).await;
    assert_eq!(trace.len(), 60);
    let changes = trace.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(changes > 10, "two callers alternate: {trace:?}");

    s.update::<_, ()>(a, "send_in_order", (b, 50u64)).await;
    s.control("POST", "/_/tick", "");
    let (trace,): (Vec<String>,) = s.query(b, "trace", ()).await;
    assert_eq!(
        trace,
        (0..50).map(|i: u32| i.to_string()).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn at_most_500_calls_are_open_between_a_pair_and_all_are_answered() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    assert_eq!(
        s.update::<_, (u64,)>(a, "open_many", (b, 600u64)).await,
        (500,)
    );
    s.control("POST", "/_/tick", "");
    assert_eq!(s.query::<_, (u64,)>(b, "count", ()).await, (500,));
    assert_eq!(
        s.update::<_, (u64,)>(a, "open_many", (b, 10u64)).await,
        (10,)
    );
}

#[tokio::test]
async fn a_failed_upgrade_leaves_nothing_of_pre_upgrade_behind() {
    let s = Setting::new().await;
    let id = s.install().await;
    s.update::<_, (u64,)>(id, "inc", ()).await;
    s.update::<_, ()>(id, "start_ticking", (1u64,)).await;
    let before = s.state(id).await;
    let error = s.upgrade(id, true).await.unwrap_err();
    assert!(error.contains("post_upgrade fails as told"), "{error}");
    let after = s.state(id).await;
    assert_eq!(
        (after.0, after.3, after.4),
        (before.0, before.3, before.4),
        "no marker in stable memory"
    );
    s.advance(2);
    assert!(
        s.state(id).await.1 > after.1,
        "the old code's timer goes on"
    );

    s.upgrade(id, false).await.expect("upgraded");
    let upgraded = s.state(id).await;
    assert_eq!(
        (upgraded.0, upgraded.1, upgraded.3),
        (before.0, 0, before.3 + 1)
    );
    s.advance(5);
    assert_eq!(s.state(id).await.1, 0, "timers do not survive an upgrade");
}

#[tokio::test]
async fn too_many_instructions_end_a_message_and_the_counters_count() {
    let s = Setting::new().await;
    let id = s.install().await;
    let error = s
        .try_query::<_, ()>(id, "spin_in_query", ())
        .await
        .unwrap_err();
    assert!(error.contains("IC0522"), "{error}");
    let (a, b, c, d): (u64, u64, u64, u64) = s.update(id, "instructions", (100_000u64,)).await;
    assert!(a > 300_000 && b >= a && c < a && d > b, "{a} {b} {c} {d}");
    let (_, log) = s.control("GET", "/_/log", "");
    let logged = log
        .as_array()
        .expect("a list")
        .iter()
        .find(|e| e["method"] == "instructions" && e["kind"] == "update");
    assert!(
        logged.expect("logged")["instructions"]
            .as_u64()
            .expect("a number")
            >= a
    );
}

#[tokio::test]
async fn composite_queries_call_queries_of_other_canisters() {
    let s = Setting::new().await;
    let (a, b, c) = (s.install().await, s.install().await, s.install().await);
    s.update::<_, (u64,)>(b, "inc", ()).await;
    s.update::<_, (u64,)>(b, "inc", ()).await;
    s.update::<_, (u64,)>(c, "inc", ()).await;
    assert_eq!(
        s.query::<_, (Vec<u64>,)>(a, "counts_of", (vec![b, c, b],))
            .await,
        (vec![2, 1, 2],)
    );
    let error = s
        .try_update::<_, ()>(a, "counts_of", (vec![b],))
        .await
        .unwrap_err();
    assert!(error.contains("IC0527"), "{error}");
}

#[tokio::test]
async fn inspect_message_refuses_before_the_message_runs() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    let error = s.try_update::<_, ()>(a, "guarded", ()).await.unwrap_err();
    assert!(
        error.contains("IC0406") && error.contains("rejected the message"),
        "{error}"
    );
    // It is a filter for users only.
    assert_eq!(
        s.update::<_, (String,)>(b, "call_unbounded", (a, "guarded".to_string()))
            .await
            .0,
        "ok"
    );
}

#[tokio::test]
async fn cycles_move_with_calls_and_come_back_where_not_accepted() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    let (refunded, before, after): (u128, u128, u128) =
        s.update(a, "pay", (b, 1_000u128, 300u128)).await;
    assert_eq!((refunded, before - after), (700, 300));
}

//! A canister that the tests of emc-localnet install: each method makes one behaviour of the network visible.
#![cfg(target_family = "wasm")]
#![allow(missing_docs, reason = "the methods' names say what they do")]

use candid::Principal;
use ic_cdk::api;
use ic_cdk::call::Call;
use ic_cdk::{init, inspect_message, post_upgrade, pre_upgrade, query, update};
use ic_stable_structures::memory_manager::{MemoryId, MemoryManager, VirtualMemory};
use ic_stable_structures::{DefaultMemoryImpl, StableBTreeMap};
use std::cell::{Cell, RefCell};
use std::time::Duration;

type Memory = VirtualMemory<DefaultMemoryImpl>;

thread_local! {
    static MEMORY: RefCell<MemoryManager<DefaultMemoryImpl>> =
        RefCell::new(MemoryManager::init(DefaultMemoryImpl::default()));
    static MAP: RefCell<StableBTreeMap<u64, u64, Memory>> =
        RefCell::new(StableBTreeMap::init(MEMORY.with_borrow(|m| m.get(MemoryId::new(0)))));
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static TICKS: Cell<u64> = const { Cell::new(0) };
    static CLEANED: Cell<u64> = const { Cell::new(0) };
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static BIG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const UPGRADED: u64 = 999;

#[init]
fn init() {
    api::certified_data_set([1u8; 32]);
}

#[pre_upgrade]
fn before() {
    MAP.with_borrow_mut(|m| m.insert(UPGRADED, COUNT.get()));
}

/// Fails where told so, after it has written.
#[post_upgrade]
fn after(fail: Option<bool>) {
    COUNT.set(MAP.with_borrow(|m| m.get(&UPGRADED)).unwrap_or(0));
    if fail == Some(true) {
        MAP.with_borrow_mut(|m| m.insert(UPGRADED + 1, 1));
        api::trap("post_upgrade fails as told");
    }
}

#[inspect_message]
fn inspect() {
    if api::msg_method_name() != "guarded" {
        api::accept_message();
    }
}

#[update]
fn guarded() {}

#[update]
fn inc() -> u64 {
    COUNT.set(COUNT.get() + 1);
    COUNT.get()
}

#[query]
fn count() -> u64 {
    COUNT.get()
}

/// (count, ticks, cleanups, entries of the stable map, stable pages)
#[query]
fn state() -> (u64, u64, u64, u64, u64) {
    (
        COUNT.get(),
        TICKS.get(),
        CLEANED.get(),
        MAP.with_borrow(|m| m.len()),
        ic_cdk::stable::stable_size(),
    )
}

#[query]
fn inc_in_query() -> u64 {
    inc()
}

#[update]
fn put(key: u64, value: u64) {
    MAP.with_borrow_mut(|m| m.insert(key, value));
}

/// Touches all that a message can touch, then traps.
#[update]
fn mess_up_and_trap() {
    COUNT.set(COUNT.get() + 100);
    MAP.with_borrow_mut(|m| m.insert(12345, 1));
    ic_cdk::stable::stable_grow(10).expect("room");
    BIG.with_borrow_mut(|b| b.resize(8 << 20, 1));
    api::certified_data_set([2u8; 32]);
    api::global_timer_set(api::time() + 1);
    let call = Call::unbounded_wait(api::canister_self(), "inc");
    call.oneway().expect("sent");
    api::trap("boom");
}

#[update]
fn grow_and_touch(bytes: u64) -> u64 {
    BIG.with_borrow_mut(|b| {
        b.resize(bytes as usize, 3);
        b.iter().map(|x| u64::from(*x)).sum()
    })
}

/// What was counted before the await stays, what comes after is undone.
#[update]
async fn add_await_add_trap() {
    inc();
    let _ = Call::unbounded_wait(api::canister_self(), "inc").await;
    COUNT.set(COUNT.get() + 1000);
    api::trap("late");
}

/// Counts when it is dropped, which happens in the cleanup callback when the message traps after its await.
struct CountsDrop;

impl Drop for CountsDrop {
    fn drop(&mut self) {
        CLEANED.set(CLEANED.get() + 1);
    }
}

#[update]
async fn hold_guard_and_call(callee: Principal, method: String) -> String {
    let _guard = CountsDrop;
    outcome(Call::unbounded_wait(callee, &method).await)
}

fn outcome<T>(result: Result<T, ic_cdk::call::CallFailed>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(ic_cdk::call::CallFailed::CallRejected(r)) => {
            format!("{}: {}", r.raw_reject_code(), r.reject_message())
        }
        Err(other) => format!("not sent: {other}"),
    }
}

#[update]
async fn call_unbounded(callee: Principal, method: String) -> String {
    outcome(Call::unbounded_wait(callee, &method).await)
}

#[update]
async fn call_bounded(callee: Principal, method: String, seconds: u32) -> String {
    outcome(
        Call::bounded_wait(callee, &method)
            .change_timeout(seconds)
            .await,
    )
}

/// Leaves a mark, waits for a call to itself, and again.
#[update]
async fn leave_marks(name: String, times: u64) {
    for _ in 0..times {
        TRACE.with_borrow_mut(|t| t.push(name.clone()));
        Call::unbounded_wait(api::canister_self(), "nothing")
            .await
            .expect("answered");
    }
}

/// Has another canister leave two names' marks at the same time.
#[update]
fn have_two_leave_marks(callee: Principal, times: u64) {
    for name in ["x", "y"] {
        Call::unbounded_wait(callee, "leave_marks")
            .with_args(&(name, times))
            .oneway()
            .expect("sent");
    }
}

#[update]
fn nothing() {}

#[query]
fn trace() -> Vec<String> {
    TRACE.with_borrow(Clone::clone)
}

/// Sends calls whose order the callee records.
#[update]
async fn send_in_order(callee: Principal, times: u64) {
    let calls = (0..times).map(|i| {
        let name = format!("{i}");
        async move {
            Call::unbounded_wait(callee, "mark")
                .with_arg(name)
                .await
                .map(|_| ())
        }
    });
    for sent in calls.map(|c| Box::pin(c)).collect::<Vec<_>>() {
        ic_cdk::futures::spawn(async move {
            let _ = sent.await;
        });
    }
}

#[update]
fn mark(name: String) {
    TRACE.with_borrow_mut(|t| t.push(name));
}

/// Tries to have that many calls open at once; how many were sent.
#[update]
fn open_many(callee: Principal, times: u64) -> u64 {
    (0..times)
        .filter(|_| Call::unbounded_wait(callee, "inc").oneway().is_ok())
        .count() as u64
}

#[update]
fn start_ticking(seconds: u64) {
    ic_cdk_timers::set_timer_interval(Duration::from_secs(seconds), async || {
        TICKS.set(TICKS.get() + 1)
    });
}

#[query(composite = true)]
async fn counts_of(others: Vec<Principal>) -> Vec<u64> {
    let mut counts = Vec::new();
    for other in others {
        let reply = Call::bounded_wait(other, "count").await.expect("answered");
        counts.push(reply.candid().expect("a number"));
    }
    counts
}

#[update]
fn accept_some(most: u128) -> u128 {
    api::msg_cycles_accept(most)
}

/// Sends cycles along; (refunded, own balance before, own balance after).
#[update]
async fn pay(callee: Principal, amount: u128, most: u128) -> (u128, u128, u128) {
    let before = api::canister_cycle_balance();
    Call::unbounded_wait(callee, "accept_some")
        .with_arg(most)
        .with_cycles(amount)
        .await
        .expect("answered");
    (
        api::msg_cycles_refunded(),
        before,
        api::canister_cycle_balance(),
    )
}

#[update]
async fn random() -> Vec<u8> {
    let reply = Call::unbounded_wait(Principal::management_canister(), "raw_rand")
        .await
        .expect("answered");
    reply.candid().expect("bytes")
}

/// Instructions of a loop of that many rounds, by both counters, before and after an await.
#[update]
async fn instructions(rounds: u64) -> (u64, u64, u64, u64) {
    let mut x = 1u64;
    for i in 0..rounds {
        x = std::hint::black_box(x.wrapping_mul(31).wrapping_add(i));
    }
    let (a, b) = (api::performance_counter(0), api::performance_counter(1));
    Call::unbounded_wait(api::canister_self(), "nothing")
        .await
        .expect("answered");
    (
        a,
        b,
        api::performance_counter(0),
        api::performance_counter(1),
    )
}

#[update]
fn spin() {
    loop {
        std::hint::black_box(());
    }
}

#[query]
fn spin_in_query() {
    spin();
}

#[query]
fn certificate() -> Option<Vec<u8>> {
    api::data_certificate()
}

#[query]
fn time() -> u64 {
    api::time()
}

#[query]
fn variables() -> Vec<(String, String)> {
    (0..api::env_var_count())
        .map(|i| {
            let name = api::env_var_name(i);
            let value = api::env_var_value(&name);
            (name, value)
        })
        .collect()
}

#[update]
fn print(line: String) {
    api::debug_print(line);
}

#[derive(candid::CandidType, serde::Deserialize)]
struct HttpRequest {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

#[derive(candid::CandidType, serde::Deserialize)]
struct HttpResponse {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    upgrade: Option<bool>,
}

#[query]
fn http_request(request: HttpRequest) -> HttpResponse {
    HttpResponse {
        status_code: 203,
        headers: vec![("x-from".into(), "canister".into())],
        body: format!("{} {}", request.method, request.url).into_bytes(),
        upgrade: Some(request.method == "POST"),
    }
}

#[update]
fn http_request_update(request: HttpRequest) -> HttpResponse {
    let count = inc();
    HttpResponse {
        status_code: 201,
        headers: Vec::new(),
        body: format!("{count} {}", String::from_utf8_lossy(&request.body)).into_bytes(),
        upgrade: None,
    }
}

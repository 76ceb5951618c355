//! The network around the messages: time, faults, stopping, management, the HTTP interface and its refusals.

mod support;

use candid::{Decode, Encode, Principal};
use ic_agent::Agent;
use ic_management_canister_types as types;
use ic_utils::interfaces::management_canister::builders::CanisterInstallMode;
use std::time::{Duration, SystemTime};
use support::{Setting, agent, http, module};

const RUNNING: &str = "Running";

async fn run_status(s: &Setting, id: Principal) -> String {
    format!("{:?}", s.status(id).await.status)
}

#[tokio::test]
async fn advancing_time_moves_canister_time_and_fires_timers() {
    let s = Setting::new().await;
    let id = s.install().await;
    s.update::<_, ()>(id, "start_ticking", (3600u64,)).await;
    let (before,): (u64,) = s.query(id, "time", ()).await;
    assert_eq!(s.state(id).await.1, 0);
    s.advance(3601);
    assert_eq!(s.state(id).await.1, 1);
    s.advance(3600);
    assert_eq!(s.state(id).await.1, 2);
    let (after,): (u64,) = s.query(id, "time", ()).await;
    assert!(after - before >= 7201 * 1_000_000_000);
}

#[tokio::test]
async fn a_bounded_wait_ends_at_its_deadline_and_a_late_answer_is_dropped() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    s.fault(r#"{"kind":"delay","method":"inc","delay_s":1000}"#);
    let call = s.update::<_, (String,)>(a, "call_bounded", (b, "inc".to_string(), 20u32));
    let travel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        s.advance(21);
    };
    let ((outcome,), ()) = tokio::join!(call, travel);
    assert!(outcome.starts_with("6: "), "SYS_UNKNOWN: {outcome}");
    s.advance(2000);
    assert_eq!(
        s.query::<_, (u64,)>(b, "count", ()).await,
        (0,),
        "its deadline passed before it was delivered"
    );
    assert_eq!(
        s.update::<_, (String,)>(a, "call_bounded", (b, "inc".to_string(), 20u32))
            .await
            .0,
        "ok"
    );
}

#[tokio::test]
async fn a_stopped_canister_takes_a_file_as_its_stable_memory() {
    let s = Setting::new().await;
    let id = s.install().await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), vec![1u8; 900 << 16]).expect("written");
    let path = file.path().to_str().expect("text");
    let body = format!(r#"{{"canister":"{id}","file":"{path}"}}"#);
    let load = |body: &str| s.control("POST", "/_/stable_memory", body);
    let (status, why) = load(&body);
    assert_eq!(status, 400, "it runs: {why}");
    s.management().stop_canister(&id).await.expect("stopped");
    assert_eq!(load(&body), (200, serde_json::json!({ "pages": 900 })));
    std::fs::write(file.path(), [1u8; 100]).expect("written");
    assert_eq!(load(&body).0, 400, "not a whole page");
    s.upgrade(id, false).await.expect("upgraded");
    s.management().start_canister(&id).await.expect("started");
    assert!(s.state(id).await.4 >= 900, "{:?}", s.state(id).await);
    let (_, log) = s.control("GET", "/_/log", "");
    let queries = log.as_array().expect("a list").iter();
    let queries: Vec<_> = queries.filter(|e| e["kind"] == "query").collect();
    assert!(!queries.is_empty() && queries.iter().all(|e| e["method"] == "state"));
}

#[tokio::test]
async fn each_fault_strikes_as_described() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    let call = async |method: &str| {
        s.update::<_, (String,)>(a, method, (b, "inc".to_string()))
            .await
            .0
    };
    let count = async || s.query::<_, (u64,)>(b, "count", ()).await.0;

    s.fault(&format!(
        r#"{{"kind":"reject","caller":"{a}","callee":"{b}","method":"inc","skip":1}}"#
    ));
    assert_eq!(call("call_unbounded").await, "ok");
    assert!(call("call_unbounded").await.starts_with("2: "));
    assert_eq!(
        (call("call_unbounded").await.as_str(), count().await),
        ("ok", 2)
    );

    s.fault(r#"{"kind":"trap_callee","method":"inc"}"#);
    assert!(call("call_unbounded").await.starts_with("5: "));
    assert_eq!(count().await, 2);

    s.fault(r#"{"kind":"lose_reply","method":"inc"}"#);
    assert!(call("call_unbounded").await.starts_with("6: "));
    assert_eq!(count().await, 3);

    s.fault(r#"{"kind":"trap_callback","method":"inc"}"#);
    let error = s
        .try_update::<_, (String,)>(a, "hold_guard_and_call", (b, "inc".to_string()))
        .await
        .unwrap_err();
    assert!(error.contains("injected fault"), "{error}");
    assert_eq!(
        (count().await, s.state(a).await.2),
        (4, 1),
        "the callee committed, the caller cleaned up"
    );

    s.fault(&format!(
        r#"{{"kind":"trap_callee","callee":"{b}","method":"inc"}}"#
    ));
    assert!(
        s.try_update::<_, (u64,)>(b, "inc", ())
            .await
            .unwrap_err()
            .contains("injected fault")
    );
    assert_eq!(count().await, 4, "on a user's request too");

    let (_, list) = s.control("GET", "/_/faults", "");
    let fired: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| f["fired"].as_u64())
        .collect();
    assert_eq!(fired, [Some(1); 5]);
    s.control("DELETE", "/_/faults", "");
    assert_eq!(s.control("GET", "/_/faults", "").1, serde_json::json!([]));
    assert_eq!(
        s.control("POST", "/_/faults", r#"{"kind":"meteor"}"#).0,
        400
    );
}

#[tokio::test]
async fn a_canister_with_open_calls_is_stopping_until_they_are_answered() {
    let s = Setting::new().await;
    let (a, b) = (s.install().await, s.install().await);
    s.fault(r#"{"kind":"delay","method":"inc","delay_s":100}"#);
    let management = s.management();
    let open = s.update::<_, (String,)>(a, "call_unbounded", (b, "inc".to_string()));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        management.stop_canister(&a).await.expect("stopped");
    };
    let watch = async {
        tokio::time::sleep(Duration::from_millis(800)).await;
        let stopping = run_status(&s, a).await;
        let refused = s.try_update::<_, (u64,)>(a, "inc", ()).await.unwrap_err();
        s.advance(101);
        (stopping, refused)
    };
    let ((answer,), (), (stopping, refused)) = tokio::join!(open, stop, watch);
    assert_eq!((answer.as_str(), stopping.as_str()), ("ok", "Stopping"));
    assert!(refused.contains("IC0509"), "{refused}");
    assert_eq!(run_status(&s, a).await, "Stopped");
    assert!(
        s.try_update::<_, (u64,)>(a, "inc", ())
            .await
            .unwrap_err()
            .contains("IC0508")
    );
    management.start_canister(&a).await.expect("started");
    assert_eq!(run_status(&s, a).await, RUNNING);
    assert_eq!(s.update::<_, (u64,)>(a, "inc", ()).await, (1,));
}

#[tokio::test]
async fn gzipped_and_chunked_modules_install_and_only_controllers_may() {
    let s = Setting::new().await;
    let id = s.create().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, module()).expect("packs");
    let packed = packed.finish().expect("packs");
    let management = s.management();
    management
        .install_code(&id, &packed)
        .with_mode(CanisterInstallMode::Install)
        .await
        .expect("installed");
    assert_eq!(s.update::<_, (u64,)>(id, "inc", ()).await, (1,));

    let mut hashes = Vec::new();
    for chunk in module().chunks(1 << 20) {
        let args = types::UploadChunkArgs {
            canister_id: id,
            chunk: chunk.to_vec(),
        };
        let (hash,): (types::ChunkHash,) = s
            .manage(id, "upload_chunk", (args,))
            .await
            .expect("uploaded");
        hashes.push(hash);
    }
    let whole = sha2::Digest::finalize(sha2::Digest::chain_update(
        <sha2::Sha256 as sha2::Digest>::new(),
        module(),
    ));
    let args = types::InstallChunkedCodeArgs {
        mode: types::CanisterInstallMode::Reinstall,
        target_canister: id,
        store_canister: None,
        chunk_hashes_list: hashes,
        wasm_module_hash: whole.to_vec(),
        arg: Encode!().expect("encodes"),
        sender_canister_version: None,
    };
    s.manage::<_, ()>(id, "install_chunked_code", (args,))
        .await
        .expect("installed");
    assert_eq!(
        s.query::<_, (u64,)>(id, "count", ()).await,
        (0,),
        "reinstalled"
    );
    assert_eq!(
        s.agent
            .read_state_canister_module_hash(id)
            .await
            .expect("shown"),
        whole.to_vec()
    );

    let stranger = agent(&s.network, 2).await;
    let refused = ic_utils::interfaces::ManagementCanister::create(&stranger)
        .install_code(&id, module())
        .with_mode(CanisterInstallMode::Reinstall)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("Only the controllers of the canister"),
        "{refused}"
    );
    let invalid = management
        .install_code(&id, b"\0asm\x01\0\0\0\xff")
        .with_mode(CanisterInstallMode::Reinstall)
        .await;
    assert!(invalid.unwrap_err().to_string().contains("not valid"));
    assert_eq!(s.query::<_, (u64,)>(id, "count", ()).await, (0,));
}

#[tokio::test]
async fn expired_tampered_and_foreign_requests_are_refused() {
    let s = Setting::new().await;
    let id = s.install().await;
    let past = time::OffsetDateTime::from(SystemTime::now() - Duration::from_secs(60));
    let expired = s
        .agent
        .update(&id, "inc")
        .with_arg(Encode!().expect("encodes"))
        .expire_at(past)
        .call_and_wait()
        .await;
    assert!(format!("{:?}", expired.unwrap_err()).contains("Invalid request expiry"));

    let signed = s
        .agent
        .update(&id, "inc")
        .with_arg(Encode!().expect("encodes"))
        .sign()
        .expect("signed");
    let path = format!("/api/v3/canister/{id}/call");
    let mut broken = signed.signed_update.clone();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let (status, _, body) = http(&s.network, "POST", &path, &[], &broken);
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    for junk in [
        &b""[..],
        b"\xff\xff",
        &[0x9f; 5000],
        &[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(http(&s.network, "POST", &path, &[], junk).0, 400);
    }
    assert_eq!(s.query::<_, (u64,)>(id, "count", ()).await, (0,));
    let (status, _, _) = http(&s.network, "POST", &path, &[], &signed.signed_update);
    assert_eq!(status, 200);
    let (status, _, _) = http(&s.network, "POST", &path, &[], &signed.signed_update);
    assert_eq!(
        (status, s.query::<_, (u64,)>(id, "count", ()).await),
        (200, (1,)),
        "the same request runs once"
    );

    // Another user may not read the answer; another root key does not verify.
    let stranger = agent(&s.network, 2).await;
    let refused = stranger
        .request_status_raw(&signed.request_id, id)
        .await
        .unwrap_err();
    assert!(format!("{refused:?}").contains("403"), "{refused:?}");
    let other = emc_localnet::Network::builder()
        .seed(99)
        .start()
        .expect("starts");
    let fooled = Agent::builder()
        .with_url(s.network.url())
        .build()
        .expect("an agent");
    fooled.set_root_key(other.root_key().to_vec());
    assert!(
        fooled
            .update(&id, "inc")
            .with_arg(Encode!().expect("encodes"))
            .call_and_wait()
            .await
            .is_err()
    );
}

#[tokio::test]
async fn settings_are_reported_back_and_variables_reach_the_canister() {
    let s = Setting::new().await;
    let id = s.install().await;
    let settings = types::CanisterSettings {
        freezing_threshold: Some(candid::Nat::from(1234u32)),
        environment_variables: Some(vec![types::EnvironmentVariable {
            name: "HELLO".into(),
            value: "world".into(),
        }]),
        ..Default::default()
    };
    let args = types::UpdateSettingsArgs {
        canister_id: id,
        settings,
        sender_canister_version: None,
    };
    s.manage::<_, ()>(id, "update_settings", (args,))
        .await
        .expect("set");
    let status = s.status(id).await;
    assert_eq!(
        status.settings.freezing_threshold,
        candid::Nat::from(1234u32)
    );
    let (variables,): (Vec<(String, String)>,) = s.query(id, "variables", ()).await;
    assert_eq!(variables, [("HELLO".to_string(), "world".to_string())]);
    s.update::<_, ()>(id, "print", ("a line".to_string(),))
        .await;
    let bytes = s
        .agent
        .query(&Principal::management_canister(), "fetch_canister_logs")
        .with_effective_canister_id(id)
        .with_arg(Encode!(&types::CanisterIdRecord { canister_id: id }).expect("encodes"))
        .call()
        .await
        .expect("logs");
    let logs = Decode!(&bytes, types::FetchCanisterLogsResult).expect("decodes");
    assert_eq!(logs.canister_log_records[0].content, b"a line");
}

#[tokio::test]
async fn the_gateway_passes_pages_on_and_follows_upgrades_to_updates() {
    let s = Setting::new().await;
    let id = s.install().await;
    let host = format!("{id}.localhost:1234");
    let (status, head, body) = http(&s.network, "GET", "/metrics?x=1", &[("host", &host)], b"");
    assert_eq!((status, &body[..]), (203, &b"GET /metrics?x=1"[..]));
    assert!(head.contains("x-from: canister"));
    let (status, _, body) = http(
        &s.network,
        "POST",
        &format!("/a?canisterId={id}"),
        &[],
        b"hello",
    );
    assert_eq!((status, &body[..]), (201, &b"1 hello"[..]));
    assert_eq!(http(&s.network, "GET", "/", &[], b"").0, 404);
}

#[tokio::test]
async fn random_numbers_differ_from_call_to_call_and_repeat_with_the_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let s = Setting::new().await;
        let id = s.install().await;
        let (a,): (Vec<u8>,) = s.update(id, "random", ()).await;
        let (b,): (Vec<u8>,) = s.update(id, "random", ()).await;
        assert!(a.len() == 32 && a != b);
        runs.push((a, b));
    }
    assert_eq!(runs[0], runs[1]);
}

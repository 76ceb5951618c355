//! Installing and upgrading: settings, initial balances, and what survives.

use crate::world::*;
use candid::{CandidType, Decode, Deserialize, Encode, Principal};
use emc_ledger::{
    config::{Config, ConfigError, DeploymentBalance, InitArgs, LedgerArgs, UpgradeArgs},
    lifecycle,
    rate_limit::RateLimit,
    state::Ledger,
    tokens::Tokens,
};
use ic_http_types::HttpRequest;
use ic_stable_structures::{DefaultMemoryImpl, Memory};
use icrc_ledger_types::icrc1::{account::Account, transfer::TransferArg};

fn refused(args: InitArgs) -> ConfigError {
    lifecycle::create(
        DefaultMemoryImpl::default(),
        args,
        MINTER.principal(),
        START,
    )
    .err()
    .expect("these settings are bad")
}

#[test]
fn initial_balances_are_mint_blocks() {
    let world = World::new();
    assert_eq!(world.ledger.log_length(), 2);
    assert_eq!(world.ledger.supply(), Tokens(1_500));
    assert_eq!((world.balance(ALICE), world.balance(BOB)), (1_000, 500));
}

#[test]
fn initial_balances_cannot_pass_the_cap_nor_be_the_minters() {
    let cap = InitArgs {
        max_supply: Some(Tokens(10)),
        initial_balances: vec![(ALICE.account(), Tokens(6)), (BOB.account(), Tokens(5))],
        ..settings()
    };
    assert_eq!(
        refused(cap),
        ConfigError::InitialBalancesPassCap(Tokens(10))
    );
    let minter = InitArgs {
        initial_balances: vec![(MINTER.account(), Tokens(6))],
        ..settings()
    };
    assert_eq!(refused(minter), ConfigError::InitialBalanceOfMinter);
}

#[test]
fn canisters_of_the_deployment_get_balances_by_their_names() {
    let named = |canister: &str, subaccount: usize| InitArgs {
        initial_balances: vec![(ALICE.account(), Tokens(6))],
        deployment_balances: Some(vec![DeploymentBalance {
            canister: canister.into(),
            subaccount: Some(vec![7; subaccount].into()),
            amount: Tokens(5),
        }]),
        ..settings()
    };
    let find = |name: &str| (name == "bob").then(|| BOB.principal());
    let mut args = named("bob", 32);
    args.resolve(find).expect("it is known");
    let world = World::with(args);
    let of_bob = Account {
        owner: BOB.principal(),
        subaccount: Some([7; 32]),
    };
    assert_eq!(world.ledger.balance(&of_bob), Tokens(5));
    assert_eq!(world.ledger.supply(), Tokens(11));
    let unknown = ConfigError::UnknownCanister("carol".into());
    assert_eq!(named("carol", 32).resolve(find), Err(unknown));
    let short = ConfigError::BadSubaccount("bob".into());
    assert_eq!(named("bob", 31).resolve(find), Err(short));
}

#[test]
fn settings_out_of_bounds_are_refused_with_a_reason() {
    let bad = |change: fn(&mut InitArgs)| {
        let mut args = settings();
        change(&mut args);
        refused(args)
    };
    assert_eq!(
        bad(|args| args.max_memo_length = Some(31)),
        ConfigError::BadMemoLimit
    );
    assert_eq!(
        bad(|args| args.token_name = Some(String::new())),
        ConfigError::BadText("name")
    );
    assert_eq!(
        bad(|args| args.token_symbol = Some("x".repeat(65))),
        ConfigError::BadText("symbol")
    );
    assert_eq!(
        bad(|args| args.logo = Some("http://x".into())),
        ConfigError::BadLogo
    );
    assert_eq!(
        bad(|args| args.max_supply = Some(Tokens(1 << 64))),
        ConfigError::CapTooLarge
    );
    let many = |args: &mut InitArgs| args.exempt_principals = Some(vec![ALICE.principal(); 101]);
    assert_eq!(bad(many), ConfigError::TooManyExempt);
}

#[test]
fn the_cap_is_a_thousand_million_emc_by_default() {
    let world = World::with(settings());
    assert_eq!(
        world.ledger.config().max_supply,
        Tokens(1_000_000_000 * 100_000_000)
    );
}

#[test]
fn everything_survives_an_upgrade() {
    let mut world = World::new();
    world
        .approve(ALICE, allow(BOB, 100u8))
        .expect("Alice pays the fee");
    let timed = TransferArg {
        created_at_time: Some(START),
        ..send(BOB, 7u8)
    };
    world
        .transfer(ALICE, timed.clone())
        .expect("Alice has enough");
    let (tip, blocks) = (world.ledger.tip(), world.blocks());
    world.upgrade();
    assert_eq!((world.ledger.tip(), world.blocks()), (tip, blocks));
    assert_eq!((world.balance(ALICE), world.balance(BOB)), (973, 507));
    assert_eq!(world.ledger.supply(), Tokens(1_480));
    assert_eq!(
        world.allowance(ALICE.account(), BOB.account()).amount,
        Tokens(100)
    );
    assert!(
        world.transfer(ALICE, timed).is_err(),
        "it is still a duplicate"
    );
    assert_eq!(world.transfer(ALICE, send(BOB, 1u8)), Ok(4));
}

#[test]
fn an_upgrade_changes_every_setting() {
    let mut world = World::new();
    let args = UpgradeArgs {
        minting_account: Some(CAROL.account()),
        max_supply: Some(Tokens(2_000)),
        transfer_fee: Some(Tokens(3)),
        token_name: Some("Name".into()),
        token_symbol: Some("SYM".into()),
        logo: Some("data:image/svg+xml;base64,PHN2Zy8+".into()),
        max_memo_length: Some(80),
        rate_limit: Some(RateLimit {
            burst: 5,
            per_minute: 6,
        }),
        exempt_principals: Some(vec![ALICE.principal()]),
        index_principal: Some(BOB.principal()),
        total_rate_limit: Some(RateLimit {
            burst: 7,
            per_minute: 8,
        }),
    };
    world
        .ledger
        .reconfigure(args)
        .expect("all settings are good");
    world.upgrade();
    let expected = Config {
        minting_account: CAROL.account(),
        max_supply: Tokens(2_000),
        transfer_fee: Tokens(3),
        token_name: "Name".into(),
        token_symbol: "SYM".into(),
        logo: Some("data:image/svg+xml;base64,PHN2Zy8+".into()),
        max_memo_length: 80,
        rate_limit: RateLimit {
            burst: 5,
            per_minute: 6,
        },
        exempt_principals: vec![ALICE.principal()],
        index_principal: Some(BOB.principal()),
        total_rate_limit: Some(RateLimit {
            burst: 7,
            per_minute: 8,
        }),
    };
    assert_eq!(world.ledger.config(), &expected);
    world
        .ledger
        .reconfigure(UpgradeArgs::default())
        .expect("nothing changes");
    assert_eq!(world.ledger.config(), &expected);
    let no_logo = UpgradeArgs {
        logo: Some(String::new()),
        ..UpgradeArgs::default()
    };
    world
        .ledger
        .reconfigure(no_logo)
        .expect("an empty logo takes it away");
    assert_eq!(world.ledger.config().logo, None);
    let no_index = UpgradeArgs {
        index_principal: Some(Principal::management_canister()),
        ..UpgradeArgs::default()
    };
    world
        .ledger
        .reconfigure(no_index)
        .expect("the management canister takes the index away");
    assert_eq!(world.ledger.config().index_principal, None);
}

#[test]
fn an_upgrade_that_contradicts_the_ledger_changes_nothing() {
    let mut world = World::new();
    let before = world.ledger.config().clone();
    let cap = |cap| UpgradeArgs {
        max_supply: Some(Tokens(cap)),
        transfer_fee: Some(Tokens(77)),
        ..UpgradeArgs::default()
    };
    let minter = UpgradeArgs {
        minting_account: Some(ALICE.account()),
        ..UpgradeArgs::default()
    };
    for (args, error) in [
        (
            cap(1_499),
            ConfigError::CapBelowSupply {
                supply: Tokens(1_500),
            },
        ),
        (
            cap(before.max_supply.0 + 1),
            ConfigError::CapRaised {
                now: before.max_supply,
            },
        ),
        (minter, ConfigError::MinterHasBalance(Tokens(1_000))),
    ] {
        assert_eq!(world.ledger.reconfigure(args), Err(error));
        assert_eq!(world.ledger.config(), &before);
    }
}

#[test]
fn the_wrong_arguments_are_refused_with_a_message() {
    let upgrade = || LedgerArgs::Upgrade(None);
    let error = lifecycle::install(
        DefaultMemoryImpl::default(),
        upgrade(),
        MINTER.principal(),
        START,
    )
    .err();
    let message = error.expect("a new ledger needs settings").to_string();
    assert!(
        message.contains("variant { Init = record { ... } }"),
        "{message}"
    );

    let world = World::new();
    let init = LedgerArgs::Init(Box::new(settings()));
    let error = lifecycle::upgrade(world.memory.clone(), Some(init), START).err();
    let message = error.expect("there are balances already").to_string();
    assert!(
        message.contains("variant { Upgrade = opt record { ... } }"),
        "{message}"
    );

    for args in [None, Some(upgrade())] {
        let ledger = lifecycle::upgrade(world.memory.clone(), args, START);
        assert_eq!(ledger.expect("nothing to refuse").supply(), Tokens(1_500));
    }
    let fee = UpgradeArgs {
        transfer_fee: Some(Tokens(4)),
        ..UpgradeArgs::default()
    };
    let args = LedgerArgs::Upgrade(Some(Box::new(fee)));
    let ledger = lifecycle::upgrade(world.memory.clone(), Some(args), START);
    assert_eq!(ledger.expect("a good fee").config().transfer_fee, Tokens(4));
}

#[test]
fn memory_of_an_unknown_layout_is_left_alone() {
    let memory = DefaultMemoryImpl::default();
    let error = Ledger::open(memory)
        .err()
        .expect("there is no ledger in it");
    assert_eq!(error, ConfigError::UnknownLayout { found: 0, known: 1 });

    // The header's cell is the first thing after the memory manager's page; 8 bytes of its own, then the version.
    let world = World::new();
    world.memory.write(65_536 + 8, &[2, 0]);
    let error = Ledger::open(world.memory.clone())
        .err()
        .expect("it is newer");
    assert_eq!(error, ConfigError::UnknownLayout { found: 2, known: 1 });
}

#[test]
fn settings_written_by_an_older_version_without_a_later_optional_one_are_read() {
    /// The settings as they would be with one more optional field.
    #[derive(CandidType, Deserialize)]
    struct Later {
        max_supply: Tokens,
        token_name: String,
        added_later: Option<u64>,
    }
    let world = World::new();
    let bytes = Encode!(world.ledger.config()).expect("settings encode");
    let later = Decode!(&bytes, Later).expect("a later version reads them");
    assert_eq!(later.max_supply, world.ledger.config().max_supply);
    assert_eq!(
        (later.token_name.as_str(), later.added_later),
        ("EMC", None)
    );
}

#[test]
fn the_arguments_are_one_variant() {
    let text = r#"(variant { Init = record {
        minting_account = opt record { owner = principal "aaaaa-aa"; subaccount = null };
        initial_balances = vec { record { record { owner = principal "2vxsx-fae" }; 5 : nat } };
        transfer_fee = opt (10_000 : nat);
    } })"#;
    let args = candid_parser::parse_idl_args(text).expect("this is Candid");
    let did = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../candid/ledger.did");
    let (types, (env, _)) =
        candid_parser::utils::instantiate_candid(candid_parser::utils::CandidSource::File(&did))
            .expect("the did file is good");
    let bytes = args
        .to_bytes_with_types(&env, &types)
        .expect("it is what the did file asks for");
    let LedgerArgs::Init(args) = Decode!(&bytes, LedgerArgs).expect("the code reads it") else {
        panic!("it says Init");
    };
    assert_eq!(args.initial_balances[0].1, Tokens(5));
    assert_eq!(args.transfer_fee, Some(Tokens(10_000)));
    assert_eq!(args.rate_limit, None);
    // No argument at all is how an upgrade without changes is called.
    let nothing = Decode!(&Encode!().expect("nothing encodes"), Option<LedgerArgs>);
    assert!(
        nothing
            .expect("an absent optional argument is null")
            .is_none()
    );
}

#[test]
fn metrics_and_logs_are_served_over_http() {
    let mut world = World::new();
    world.ledger.events().note(START, "installed");
    let get = |url: &str| {
        let request = HttpRequest {
            method: "GET".into(),
            url: url.into(),
            headers: vec![],
            body: Default::default(),
        };
        let answer = emc_ledger::http::answer(&world.ledger, &request, Default::default(), START);
        (
            answer.status_code,
            String::from_utf8(answer.body.into_vec()).expect("text"),
        )
    };
    let (status, metrics) = get("/metrics?x=1");
    assert_eq!(status, 200);
    assert!(metrics.contains("\nledger_supply_e8s 1500 "), "{metrics}");
    assert!(metrics.contains("\nledger_accounts 2 "), "{metrics}");
    assert_eq!(get("/logs"), (200, format!("{START} installed\n")));
    assert_eq!(get("/elsewhere").0, 404);
}

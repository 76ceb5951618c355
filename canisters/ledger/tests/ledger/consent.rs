//! ICRC-21: the messages are those of the working group's examples, filled in.

use crate::world::*;
use candid::{CandidType, Encode, Nat, Principal};
use emc_ledger::{config::InitArgs, consent, tokens::Tokens};
use icrc_ledger_types::{
    icrc1::{
        account::Account,
        transfer::{Memo, TransferArg},
    },
    icrc2::{approve::ApproveArgs, transfer_from::TransferFromArgs},
    icrc21::{
        errors::Icrc21Error,
        requests::{
            ConsentMessageMetadata, ConsentMessageRequest, ConsentMessageSpec, DisplayMessageType,
        },
        responses::{ConsentInfo, ConsentMessage},
    },
};
use std::{fs, path::Path};

const FROM: Caller = ALICE;
const MEMO: &str = "Rent, May";
const AMOUNT: u64 = 123_450_000;
const EXISTING: u64 = 70_000_000;
const END: u64 = START + HOUR;

fn world() -> World {
    World::with(InitArgs {
        token_name: Some("Edge Matrix".into()),
        initial_balances: vec![(FROM.account(), Tokens(1_000))],
        ..settings()
    })
}

fn request<T: CandidType>(
    method: &str,
    arg: &T,
    device: Option<DisplayMessageType>,
    offset: Option<i16>,
) -> ConsentMessageRequest {
    ConsentMessageRequest {
        method: method.to_string(),
        arg: Encode!(arg).expect("it encodes"),
        user_preferences: ConsentMessageSpec {
            metadata: ConsentMessageMetadata {
                language: "de".to_string(),
                utc_offset_minutes: offset,
            },
            device_spec: device,
        },
    }
}

fn ask(
    world: &World,
    caller: Principal,
    request: &ConsentMessageRequest,
) -> Result<ConsentInfo, Icrc21Error> {
    consent::message(&world.ledger, caller, request, world.now)
}

/// The call that a template is for: it has the values for which there is a place.
fn call(method: &str, template: &str, device: DisplayMessageType) -> ConsentMessageRequest {
    let memo = template
        .contains("{{memo}}")
        .then(|| Memo::from(MEMO.as_bytes().to_vec()));
    let device = Some(device);
    match method {
        "icrc1_transfer" => {
            let arg = TransferArg {
                memo,
                fee: Some(10u8.into()),
                ..send(BOB.subaccount(3), AMOUNT)
            };
            request(method, &arg, device, None)
        }
        "icrc2_transfer_from" => {
            let arg = TransferFromArgs {
                memo,
                ..spend(FROM.account(), BOB.subaccount(3), AMOUNT)
            };
            request(method, &arg, device, None)
        }
        "icrc2_approve" => {
            let arg = ApproveArgs {
                memo,
                expires_at: template.contains("{{expiration}}").then_some(END),
                ..allow(BOB.subaccount(3), AMOUNT)
            };
            request(method, &arg, device, None)
        }
        other => panic!("there are no calls of {other}"),
    }
}

/// Puts text where a template has places.
fn filled(template: &str, expiration: &str) -> String {
    let bob = BOB.subaccount(3).to_string();
    [
        ("name", "Edge Matrix"),
        ("symbol", "EMC"),
        ("from", &FROM.account().to_string()),
        ("to", &bob),
        ("spender", &bob),
        ("amount", "1.2345"),
        ("requested_allowance", "1.2345"),
        ("existing_allowance", "0.7"),
        ("fees", "0.0000001"),
        ("approval_fee", "0.0000001 EMC"),
        ("expiration", expiration),
        ("memo", MEMO),
    ]
    .into_iter()
    .fold(template.to_string(), |text, (place, value)| {
        text.replace(&format!("{{{{{place}}}}}"), value)
    })
}

/// Numbers stand in the JSON templates as text.
fn filled_json(template: &str) -> serde_json::Value {
    let numbers = [
        ("decimals", 8),
        ("amount", AMOUNT),
        ("requested_allowance", AMOUNT),
        ("existing_allowance", EXISTING),
        ("fees", 10),
        ("expiration", END / SECOND),
    ];
    let text = numbers
        .into_iter()
        .fold(template.to_string(), |text, (place, value)| {
            text.replace(&format!("\"{{{{{place}}}}}\""), &value.to_string())
        });
    serde_json::from_str(&filled(&text, "")).expect("a template is JSON")
}

#[test]
fn messages_are_those_of_the_working_groups_examples() {
    let examples =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/icrc21-examples/en_US");
    let mut compared = 0;
    for (folder, method, signer) in [
        ("icrc1_transfer/anonymous", "icrc1_transfer", None),
        ("icrc1_transfer/authenticated", "icrc1_transfer", Some(FROM)),
        ("icrc2_approve/anonymous", "icrc2_approve", None),
        ("icrc2_approve/authenticated", "icrc2_approve", Some(FROM)),
        ("icrc2_transfer_from/anonymous", "icrc2_transfer_from", None),
        (
            "icrc2_transfer_from/anonymous",
            "icrc2_transfer_from",
            Some(BOB),
        ),
    ] {
        let caller = signer.map_or(Principal::anonymous(), Caller::principal);
        for file in fs::read_dir(examples.join(folder)).expect("the examples are there") {
            let path = file.expect("the folder can be read").path();
            let template = fs::read_to_string(&path).expect("a template is text");
            let template = template.trim_end();
            let mut world = world();
            if template.contains("{{existing_allowance}}") {
                let existing = world.approve(FROM, allow(BOB.subaccount(3), EXISTING));
                existing.expect("the fee is there");
            }
            let name = path.display();
            let markdown = path.extension().is_some_and(|end| end == "md");
            if markdown {
                let asked = call(method, template, DisplayMessageType::GenericDisplay);
                let info = ask(&world, caller, &asked).expect("the call is good");
                // Two of the examples have an older title.
                let template = template.replace("# Authorize withdrawals", "# Approve spending");
                let expected = filled(&template, "Wed, 18 Nov 2026 12:06:40 +0000");
                let message = ConsentMessage::GenericDisplayMessage(expected);
                assert_eq!(info.consent_message, message, "{name}");
            } else {
                let asked = call(method, template, DisplayMessageType::FieldsDisplay);
                let info = ask(&world, caller, &asked).expect("the call is good");
                let ConsentMessage::FieldsDisplayMessage(fields) = info.consent_message else {
                    panic!("{name}: fields were asked for");
                };
                let fields = serde_json::to_value(fields).expect("fields are JSON");
                assert_eq!(fields, filled_json(template), "{name}");
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 4 + 4 + 8 + 16 + 4 + 4);
}

#[test]
fn english_is_spoken_and_times_are_the_users() {
    let world = world();
    let lasting = allow(BOB, 5u8);
    let ending = ApproveArgs {
        expires_at: Some(END),
        ..lasting.clone()
    };
    let generic = || Some(DisplayMessageType::GenericDisplay);
    let fields = || Some(DisplayMessageType::FieldsDisplay);
    let offset = |arg: &ApproveArgs, device, offset| {
        let asked = request("icrc2_approve", arg, device, offset);
        let info = ask(&world, ALICE.principal(), &asked).expect("the call is good");
        assert_eq!(info.metadata.language, "en");
        (info.metadata.utc_offset_minutes, info.consent_message)
    };
    assert_eq!(offset(&lasting, generic(), Some(60)).0, None);
    assert_eq!(offset(&ending, fields(), Some(60)).0, None);
    assert_eq!(offset(&ending, None, None).0, Some(0));
    let (shown, message) = offset(&ending, generic(), Some(-330));
    assert_eq!(shown, Some(-330));
    let ConsentMessage::GenericDisplayMessage(text) = message else {
        panic!("the generic display was asked for");
    };
    assert!(text.contains("Wed, 18 Nov 2026 06:36:40 -0530"), "{text}");
}

#[test]
fn what_would_be_refused_is_not_shown() {
    let world = world();
    let reason = |request: ConsentMessageRequest| match ask(&world, ALICE.principal(), &request) {
        Err(Icrc21Error::UnsupportedCanisterCall(info)) => info.description,
        other => panic!("expected a refusal, got {other:?}"),
    };
    let transfer = |arg: TransferArg| request("icrc1_transfer", &arg, None, None);
    let good = || send(BOB, 5u8);
    let unknown = request("icrc1_balance_of", &BOB.account(), None, None);
    assert!(reason(unknown).contains("icrc2_transfer_from"));
    let wrong = request("icrc1_transfer", &5u8, None, None);
    assert!(reason(wrong).contains("cannot be read"));
    let fee = TransferArg {
        fee: Some(11u8.into()),
        ..good()
    };
    assert!(reason(transfer(fee)).contains("the fee is 10"));
    let memo = TransferArg {
        memo: Some(Memo::from(vec![0; 65])),
        ..good()
    };
    assert!(reason(transfer(memo)).contains("65 bytes"));
    let past = ApproveArgs {
        expires_at: Some(world.now),
        ..allow(BOB, 5u8)
    };
    let past = request("icrc2_approve", &past, None, None);
    assert!(reason(past).contains("in the past"));
}

#[test]
fn mints_and_burns_are_shown_without_a_fee() {
    let world = world();
    let shown = |caller: Caller, to: Account| {
        let asked = request("icrc1_transfer", &send(to, 5u8), None, None);
        match ask(&world, caller.principal(), &asked)
            .expect("the call is good")
            .consent_message
        {
            ConsentMessage::GenericDisplayMessage(text) => text,
            other => panic!("the generic display is the one where none is named: {other:?}"),
        }
    };
    assert!(shown(MINTER, BOB.account()).contains("**Fees:** `0 EMC`"));
    assert!(shown(ALICE, MINTER.account()).contains("**Fees:** `0 EMC`"));
    assert!(shown(ALICE, BOB.account()).contains("**Fees:** `0.0000001 EMC`"));
}

#[test]
fn an_approval_of_everything_is_shown_on_every_display() {
    let world = world();
    for device in [
        DisplayMessageType::GenericDisplay,
        DisplayMessageType::FieldsDisplay,
    ] {
        let everything = allow(BOB, Nat::from(u128::MAX));
        let asked = request("icrc2_approve", &everything, Some(device), None);
        let info = ask(&world, ALICE.principal(), &asked).expect("the call is good");
        let text = format!("{info:?}");
        assert!(
            text.contains("3402823669209384634633746074317.68211455 EMC"),
            "{text}"
        );
    }
}

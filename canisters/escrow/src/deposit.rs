//! Deposits: by ICRC-2, which pulls what the caller has approved, and by a sweep of what was transferred to a
//! beneficiary's own subaccount. Both are journalled transfers to the escrow's default account; what arrives there is
//! credited in the message that ends the journal entry.

use crate::movement::{Movement, Source};
use crate::state::State;
use crate::stored;
use candid::Principal;
use emc_journal::{Account, Entry, Operation, Outcome};
use emc_protocol::account::deposit_subaccount;
use emc_protocol::{ApiError, DepositArgs, ErrorDetail, Seconds, Timestamp, Tokens, error::code};
use minicbor::{Decode, Encode};

/// What a journal entry of the escrow is for.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq)]
pub enum Purpose {
    /// A deposit by ICRC-2.
    #[n(0)]
    Deposit {
        /// Who gave the tokens.
        #[cbor(n(0), with = "stored::principal")]
        payer: Principal,
        /// Whose account is credited.
        #[cbor(n(1), with = "stored::principal")]
        beneficiary: Principal,
    },
    /// A sweep of a beneficiary's subaccount.
    #[n(1)]
    Sweep {
        /// Whose account is credited.
        #[cbor(n(0), with = "stored::principal")]
        beneficiary: Principal,
    },
    /// A withdrawal.
    #[n(2)]
    Withdrawal {
        /// From what.
        #[n(0)]
        source: Source,
    },
}

impl Purpose {
    /// What only one call at a time may be in flight for: an account and a direction.
    pub fn lane(&self) -> (Principal, u8) {
        match self {
            Self::Deposit { payer, .. } => (*payer, 0),
            Self::Sweep { beneficiary } => (*beneficiary, 1),
            Self::Withdrawal { source } => match source {
                Source::Available(principal) => (*principal, 2),
                Source::Treasury => (Principal::management_canister(), 3),
            },
        }
    }
}

/// Checks a deposit before the ledger's fee is asked for; the subaccount and the beneficiary.
///
/// # Errors
/// What is wrong with it.
pub fn check(
    state: &State,
    caller: Principal,
    args: &DepositArgs,
) -> Result<(Option<[u8; 32]>, Principal), ApiError> {
    let subaccount = read_subaccount(
        "from_subaccount",
        args.from_subaccount.as_deref().map(|s| &s[..]),
    )?;
    let beneficiary = args.beneficiary.unwrap_or(caller);
    check_beneficiary(beneficiary)?;
    check_amount(state, args.amount)?;
    check_lane(state, (caller, 0))?;
    Ok((subaccount, beneficiary))
}

/// Opens the journal entry of a deposit; its number.
///
/// # Errors
/// What is wrong with it; nothing has changed then.
pub fn begin(
    state: &mut State,
    now: Timestamp,
    caller: Principal,
    args: &DepositArgs,
    fee: Tokens,
) -> Result<u64, ApiError> {
    let (subaccount, beneficiary) = check(state, caller, args)?;
    let operation = Operation::TransferFrom {
        spender_subaccount: None,
        from: Account {
            owner: caller,
            subaccount,
        },
        to: own_account(state),
        amount: args.amount.0,
        fee: fee.0,
    };
    let purpose = Purpose::Deposit {
        payer: caller,
        beneficiary,
    };
    Ok(open(state, now, operation, purpose))
}

/// Checks a beneficiary before its subaccount's balance is asked for.
///
/// # Errors
/// Nobody can spend from that account, or a sweep is under way.
pub fn check_sweep(state: &State, beneficiary: Principal) -> Result<(), ApiError> {
    check_beneficiary(beneficiary)?;
    check_lane(state, (beneficiary, 1))
}

/// Opens the journal entry that sweeps a subaccount with this balance; its number.
///
/// # Errors
/// There is too little in it, or a sweep is under way.
pub fn begin_sweep(
    state: &mut State,
    now: Timestamp,
    beneficiary: Principal,
    balance: Tokens,
    fee: Tokens,
) -> Result<u64, ApiError> {
    check_sweep(state, beneficiary)?;
    let amount = balance.checked_sub(fee).unwrap_or_default();
    let least = state.config().settings.minimum_transfer;
    if amount < least || amount.is_zero() {
        let message = format!(
            "The deposit account holds {balance} EMC; at least {least} EMC beside the ledger's fee of {fee} EMC are needed: transfer more to it first."
        );
        return Err(ApiError::new(code::INSUFFICIENT_FUNDS, message).with(
            ErrorDetail::InsufficientFunds {
                available: balance,
                needed: least.checked_add(fee).unwrap_or(least),
            },
        ));
    }
    let operation = Operation::Transfer {
        from_subaccount: Some(deposit_subaccount(beneficiary)),
        to: own_account(state),
        amount: amount.0,
        fee: fee.0,
    };
    Ok(open(state, now, operation, Purpose::Sweep { beneficiary }))
}

/// Opens a journal entry and notes that its lane is taken.
pub(crate) fn open(
    state: &mut State,
    now: Timestamp,
    operation: Operation,
    purpose: Purpose,
) -> u64 {
    let entry = state
        .journal
        .open(operation, stored::encode(&purpose), now.0);
    state.in_flight.insert(purpose.lane(), entry);
    entry
}

/// Settles the books when a journal entry has ended. Called once for each entry, in the message that ends it.
pub fn ended(state: &mut State, now: Timestamp, entry: &Entry, outcome: &Outcome) {
    let purpose: Purpose =
        minicbor::decode(&entry.purpose).expect("a purpose is what this canister wrote");
    let done = matches!(outcome, Outcome::Done { .. });
    let booked = match purpose {
        Purpose::Deposit { beneficiary, .. } | Purpose::Sweep { beneficiary } if done => {
            let amount = Tokens(entry.operation.amount());
            state
                .books
                .apply(&Movement::deposit(now, beneficiary, amount))
        }
        Purpose::Deposit { .. } | Purpose::Sweep { .. } => Ok(()),
        Purpose::Withdrawal { source } => match state.books.leaving(entry.id) {
            Some((_, amount)) if done => {
                let movement = Movement::withdraw_done(now, entry.id, amount);
                state.books.apply(&movement)
            }
            Some((_, amount)) => {
                let movement = Movement::withdraw_not_done(now, source, entry.id, amount);
                state.books.apply(&movement)
            }
            None => Ok(()),
        },
    };
    // A failure here would be a bug; trapping keeps the entry in the journal instead of losing what it moved.
    booked.expect("what came in or was set aside can be booked");
    if state.in_flight.get(&purpose.lane()) == Some(entry.id) {
        state.in_flight.remove(&purpose.lane());
    }
}

/// The escrow's default account in the ledger.
pub(crate) fn own_account(state: &State) -> Account {
    Account {
        owner: state.config().escrow,
        subaccount: None,
    }
}

pub(crate) fn read_subaccount(
    field: &str,
    bytes: Option<&[u8]>,
) -> Result<Option<[u8; 32]>, ApiError> {
    bytes
        .map(|bytes| {
            bytes
                .try_into()
                .map_err(|_| ApiError::invalid(field, "32 bytes"))
        })
        .transpose()
}

pub(crate) fn check_amount(state: &State, amount: Tokens) -> Result<(), ApiError> {
    let least = state.config().settings.minimum_transfer;
    if amount < least || amount.is_zero() {
        let expected = format!("at least {least} EMC ({} e8s)", least.0);
        return Err(ApiError::invalid("amount", expected));
    }
    // The ledger's supply is far below; beyond, fee and amount could not be added up.
    if amount.0 > u128::from(u64::MAX) {
        return Err(ApiError::invalid("amount", "less than the ledger's supply"));
    }
    Ok(())
}

pub(crate) fn check_lane(state: &State, lane: (Principal, u8)) -> Result<(), ApiError> {
    let Some(entry) = state.in_flight.get(&lane) else {
        return Ok(());
    };
    let message = format!(
        "A ledger call for this account is under way (journal entry {entry}): wait until it has ended."
    );
    Err(
        ApiError::new(code::IN_FLIGHT, message).with(ErrorDetail::RetryAfter {
            seconds: Seconds(5),
        }),
    )
}

fn check_beneficiary(beneficiary: Principal) -> Result<(), ApiError> {
    if beneficiary == Principal::anonymous() || beneficiary == Principal::management_canister() {
        return Err(ApiError::invalid("beneficiary", "somebody who can sign"));
    }
    Ok(())
}

//! Stake: in through the ledger, allotted per node and escrow. What an escrow may slash is only what is allotted to it.
//! The way out is in [`crate::unbonding`].

use crate::feed;
use crate::keys::Subject;
use crate::postings::{Account, transfer};
use crate::purpose::Purpose;
use crate::records::{EscrowRecord, NodeRecord, Standing};
use crate::state::State;
use candid::Principal;
use emc_journal::{Account as LedgerAccount, Entry, Operation};
use emc_protocol::node::StakeArgs;
use emc_protocol::{ApiError, Tokens, error::code};

/// Most escrows that one node has stake in.
pub const ALLOTMENTS: usize = 16;

/// Checks everything about a stake that can be known before the ledger is asked.
///
/// # Errors
/// `not_found`, `forbidden`, `invalid`, `limit`, `in_flight`.
pub fn check_stake(state: &State, caller: Principal, args: &StakeArgs) -> Result<(), ApiError> {
    owned(state, caller, args.node)?;
    if args.amount.is_zero() || args.amount > emc_supply() {
        return Err(ApiError::invalid(
            "amount",
            "above zero and at most the supply of EMC",
        ));
    }
    if args.escrow == Principal::anonymous() {
        return Err(ApiError::invalid(
            "escrow",
            "the escrow canister's principal",
        ));
    }
    subaccount(args)?;
    if let Some(entry) = state.staking.get(&caller) {
        return Err(in_flight(entry));
    }
    let here = (args.node, args.escrow);
    if !state.allotments.contains_key(&here) && allotments(state, args.node).len() >= ALLOTMENTS {
        return Err(ApiError::limit(
            "allotments",
            ALLOTMENTS as u64 + 1,
            ALLOTMENTS as u64,
        ));
    }
    Ok(())
}

/// Opens the ledger call of a stake. Nothing is booked before it is done.
///
/// # Errors
/// As [`check_stake`].
pub fn begin_stake(
    state: &mut State,
    now: u64,
    caller: Principal,
    me: Principal,
    args: &StakeArgs,
    fee: u128,
) -> Result<u64, ApiError> {
    check_stake(state, caller, args)?;
    let operation = Operation::TransferFrom {
        spender_subaccount: None,
        from: LedgerAccount {
            owner: caller,
            subaccount: subaccount(args)?,
        },
        to: LedgerAccount {
            owner: me,
            subaccount: None,
        },
        amount: args.amount.0,
        fee,
    };
    let purpose = Purpose::Stake {
        owner: caller,
        node: args.node,
        escrow: args.escrow,
    };
    let entry = state.journal.open(operation, purpose.encode(), now);
    state.staking.insert(caller, entry);
    Ok(entry)
}

/// Books what the ledger call of a stake has led to.
pub fn staked(
    state: &mut State,
    entry: &Entry,
    done: bool,
    whose: (Principal, Principal, Principal),
) {
    let (owner, node, escrow) = whose;
    state.staking.remove(&owner);
    if !done {
        return;
    }
    transfer(
        state,
        Account::Outside,
        Account::Allotted { node, escrow },
        entry.operation.amount(),
    )
    .expect("the sum of all stake stays below the supply of the token");
    if !state.escrows.contains_key(&escrow) {
        state.escrows.insert(escrow, EscrowRecord::default());
    }
    back_to_work(state, node);
    feed::announce(state, Subject::Node(node));
}

/// A node that had taken out all its stake comes back by staking again.
fn back_to_work(state: &mut State, node: Principal) {
    if let Some(mut record) = state.nodes.get(&node)
        && record.standing == Standing::Exited
    {
        record.standing = Standing::Active;
        state.nodes.insert(node, record);
    }
}

/// A node's stake, by escrow.
pub fn allotments(state: &State, node: Principal) -> Vec<(Principal, u128)> {
    let first = (node, Principal::from_slice(&[]));
    let from_here = state.allotments.range(first..);
    from_here
        .map(|entry| (*entry.key(), entry.value()))
        .take_while(|((of, _), _)| *of == node)
        .map(|((_, escrow), amount)| (escrow, amount))
        .collect()
}

/// A node that has no stake left anywhere has exited; a jailed one stays jailed.
pub fn note_exit(state: &mut State, node: Principal) {
    if !allotments(state, node).is_empty() {
        return;
    }
    if let Some(mut record) = state.nodes.get(&node)
        && record.standing != Standing::Jailed
    {
        record.standing = Standing::Exited;
        state.nodes.insert(node, record);
    }
}

/// The node, if the caller owns it.
///
/// # Errors
/// `not_found`, `forbidden`.
pub fn owned(state: &State, caller: Principal, node: Principal) -> Result<NodeRecord, ApiError> {
    let record = state.nodes.get(&node).ok_or_else(|| {
        ApiError::new(
            code::NOT_FOUND,
            "There is no such node: it has to register first.",
        )
    })?;
    if record.owner != caller {
        return Err(ApiError::new(
            code::FORBIDDEN,
            format!("Only the node's owner may do this: {}.", record.owner),
        ));
    }
    Ok(record)
}

fn subaccount(args: &StakeArgs) -> Result<Option<[u8; 32]>, ApiError> {
    let Some(bytes) = &args.from_subaccount else {
        return Ok(None);
    };
    let bytes: Result<[u8; 32], _> = bytes.as_slice().try_into();
    bytes
        .map(Some)
        .map_err(|_| ApiError::invalid("from_subaccount", "32 bytes long"))
}

/// No amount is above the token's cap.
pub fn emc_supply() -> Tokens {
    Tokens::emc(1_000_000_000)
}

/// The error for a call that waits for another one's ledger call.
pub fn in_flight(entry: u64) -> ApiError {
    ApiError::new(
        code::IN_FLIGHT,
        format!(
            "Entry {entry} of the journal is still waiting for the ledger: look again in a while."
        ),
    )
}

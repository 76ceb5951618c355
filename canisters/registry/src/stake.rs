//! Stake: in through the ledger, allotted per node and escrow, out through unbonding and the ledger again.
//!
//! What an escrow may slash is only what is allotted to it. An unbonding's clock starts at once; when escrows hold bonds
//! against an allotment, `unbonding_starts` is where their acknowledgement will count.

use crate::feed;
use crate::keys::Subject;
use crate::postings::{Account, Imbalance, transfer};
use crate::records::{NodeRecord, Standing, UnbondingRecord};
use crate::state::State;
use candid::Principal;
use emc_journal::{Account as LedgerAccount, Entry, Operation, Outcome, cbor};
use emc_protocol::node::{StakeArgs, UnstakeArgs};
use emc_protocol::{ApiError, ErrorDetail, Timestamp, Tokens, error::code};
use minicbor::{Decode, Encode};

/// Most escrows that one node has stake in.
pub const ALLOTMENTS: usize = 16;
/// Most unbondings of one node at a time.
pub const UNBONDINGS: usize = 32;

/// What a ledger call is for.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stake comes in.
    #[n(0)]
    Stake {
        /// Whose node.
        #[cbor(n(0), with = "cbor::principal")]
        owner: Principal,
        /// The node.
        #[cbor(n(1), with = "cbor::principal")]
        node: Principal,
        /// The escrow it is allotted to.
        #[cbor(n(2), with = "cbor::principal")]
        escrow: Principal,
    },
    /// What has unbonded goes out.
    #[n(1)]
    Withdraw {
        /// The node.
        #[cbor(n(0), with = "cbor::principal")]
        node: Principal,
        /// The unbonding's number.
        #[n(1)]
        id: u64,
    },
}

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
    let entry = state.journal.open(operation, encode(&purpose), now);
    state.staking.insert(caller, entry);
    Ok(entry)
}

/// Takes stake out of an allotment; it waits from now on.
///
/// # Errors
/// `not_found`, `forbidden`, `invalid`, `insufficient_funds`, `limit`.
pub fn unstake(
    state: &mut State,
    now: u64,
    caller: Principal,
    args: &UnstakeArgs,
) -> Result<(), ApiError> {
    let (node, escrow) = (args.node, args.escrow);
    let mut record = owned(state, caller, node)?;
    if args.amount.is_zero() {
        return Err(ApiError::invalid("amount", "above zero"));
    }
    let available = state.allotments.get(&(node, escrow)).unwrap_or_default();
    if available < args.amount.0 {
        return Err(ApiError::new(
            code::INSUFFICIENT_FUNDS,
            format!(
                "Only {} EMC of the node's stake is allotted to that escrow.",
                Tokens(available)
            ),
        )
        .with(ErrorDetail::InsufficientFunds {
            available: Tokens(available),
            needed: args.amount,
        }));
    }
    if unbondings(state, node).len() >= UNBONDINGS {
        return Err(ApiError::limit(
            "unbonding",
            UNBONDINGS as u64 + 1,
            UNBONDINGS as u64,
        ));
    }
    let id = state.totals.get().unbondings + 1;
    let waiting = UnbondingRecord {
        escrow,
        amount: 0,
        ready: unbonding_starts(state, now),
        entry: None,
    };
    state.unbonding.insert((node, id), waiting);
    let moved = transfer(
        state,
        Account::Allotted { node, escrow },
        Account::Unbonding { node, id },
        args.amount.0,
    );
    if let Err(imbalance) = moved {
        state.unbonding.remove(&(node, id));
        return Err(cannot_be(imbalance));
    }
    state.change_totals(|totals| totals.unbondings = id);
    if allotments(state, node).is_empty() && record.standing != Standing::Jailed {
        record.standing = Standing::Exited;
        state.nodes.insert(node, record);
    }
    feed::announce(state, Subject::Node(node));
    Ok(())
}

/// When an unbonding that begins now can be withdrawn. Escrows hold no bonds yet, so nobody has to acknowledge first.
fn unbonding_starts(state: &State, now: u64) -> u64 {
    let wait = state.config.get().unbonding;
    now.saturating_add(wait.saturating_mul(1_000_000_000))
}

/// Opens the ledger call that pays an unbonding out to the node's owner: the named one, else the oldest that is ready.
///
/// # Errors
/// `not_found`, `forbidden`, `in_flight`, `wrong_state` with the time to wait, `invalid` where the fee takes it all.
pub fn begin_withdrawal(
    state: &mut State,
    now: u64,
    caller: Principal,
    node: Principal,
    id: Option<u64>,
    fee: u128,
) -> Result<u64, ApiError> {
    let record = owned(state, caller, node)?;
    let (id, mut waiting) = choose(state, now, node, id)?;
    if let Some(entry) = waiting.entry {
        return Err(in_flight(entry));
    }
    if now < waiting.ready {
        let seconds = Timestamp(waiting.ready).since(Timestamp(now));
        return Err(ApiError::new(
            code::WRONG_STATE,
            format!("Unbonding {id} can be withdrawn in {} s.", seconds.0 + 1),
        )
        .with(ErrorDetail::RetryAfter { seconds }));
    }
    let Some(arrives) = waiting.amount.checked_sub(fee).filter(|rest| *rest > 0) else {
        return Err(ApiError::invalid(
            "id",
            format!("an unbonding above the ledger's fee of {} EMC", Tokens(fee)),
        ));
    };
    let operation = Operation::Transfer {
        from_subaccount: None,
        to: LedgerAccount {
            owner: record.owner,
            subaccount: None,
        },
        amount: arrives,
        fee,
    };
    let amount = waiting.amount;
    let entry = state
        .journal
        .open(operation, encode(&Purpose::Withdraw { node, id }), now);
    waiting.entry = Some(entry);
    state.unbonding.insert((node, id), waiting);
    transfer(
        state,
        Account::Unbonding { node, id },
        Account::Leaving { entry },
        amount,
    )
    .expect("the unbonding holds exactly this amount, and the entry is new");
    Ok(entry)
}

fn choose(
    state: &State,
    now: u64,
    node: Principal,
    id: Option<u64>,
) -> Result<(u64, UnbondingRecord), ApiError> {
    let nothing = |what| ApiError::new(code::NOT_FOUND, what);
    if let Some(id) = id {
        let found = state.unbonding.get(&(node, id)).map(|record| (id, record));
        return found.ok_or_else(|| nothing("This node has no unbonding of that number."));
    }
    let all = unbondings(state, node);
    let free = || all.iter().filter(|(_, record)| record.entry.is_none());
    let ready = free().find(|(_, record)| record.ready <= now);
    let next = ready
        .or_else(|| free().min_by_key(|(_, record)| record.ready))
        .or(all.first());
    next.cloned()
        .ok_or_else(|| nothing("Nothing of this node's stake is unbonding: `unstake` first."))
}

/// Books what a ledger call has led to; in the message that ends it.
pub fn ended(state: &mut State, entry: &Entry, outcome: &Outcome) {
    let purpose: Purpose =
        minicbor::decode(&entry.purpose).expect("the journal holds what `encode` wrote");
    let done = matches!(outcome, Outcome::Done { .. });
    match purpose {
        Purpose::Stake {
            owner,
            node,
            escrow,
        } => {
            state.staking.remove(&owner);
            if done {
                let amount = entry.operation.amount();
                transfer(
                    state,
                    Account::Outside,
                    Account::Allotted { node, escrow },
                    amount,
                )
                .expect("the sum of all stake stays below the supply of the token");
                back_to_work(state, node);
                feed::announce(state, Subject::Node(node));
            }
        }
        Purpose::Withdraw { node, id } => {
            let leaving = Account::Leaving { entry: entry.id };
            let amount = state.leaving.get(&entry.id).unwrap_or_default();
            let to = if done {
                Account::Outside
            } else {
                Account::Unbonding { node, id }
            };
            transfer(state, leaving, to, amount).expect("the entry holds exactly this amount");
            if done {
                state.unbonding.remove(&(node, id));
            } else if let Some(mut waiting) = state.unbonding.get(&(node, id)) {
                waiting.entry = None;
                state.unbonding.insert((node, id), waiting);
            }
        }
    }
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

/// A node's unbondings, oldest first.
pub fn unbondings(state: &State, node: Principal) -> Vec<(u64, UnbondingRecord)> {
    let of_node = state.unbonding.range((node, 0)..=(node, u64::MAX));
    of_node
        .map(|entry| (entry.key().1, entry.value()))
        .collect()
}

/// The node, if the caller owns it.
fn owned(state: &State, caller: Principal, node: Principal) -> Result<NodeRecord, ApiError> {
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
fn emc_supply() -> Tokens {
    Tokens::emc(1_000_000_000)
}

fn in_flight(entry: u64) -> ApiError {
    ApiError::new(
        code::IN_FLIGHT,
        format!(
            "Entry {entry} of the journal is still waiting for the ledger: look again in a while."
        ),
    )
}

fn cannot_be(imbalance: Imbalance) -> ApiError {
    ApiError::new(
        code::INVALID,
        format!("This cannot be booked: {imbalance}."),
    )
}

fn encode(purpose: &Purpose) -> Vec<u8> {
    minicbor::to_vec(purpose).expect("writing to memory cannot fail")
}

//! Upgrades while several callers write as fast as they are answered: every call's outcome is known, what was answered
//! is in the log once, what was refused is not in it at all, and no token is lost or made.

use crate::block_log::check_all;
use crate::deployed::Deployed;
use anyhow::{Result, bail, ensure};
use candid::{CandidType, Encode, Nat, Principal};
use emc_client::{Account, BlockLog};
use emc_devnet::Person;
use emc_protocol::Tokens;
use ic_agent::{Agent, AgentError};
use icrc_ledger_types::icrc::generic_value::ICRC3Value;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg, TransferError};
use icrc_ledger_types::icrc2::approve::{ApproveArgs, ApproveError};
use icrc_ledger_types::icrc2::transfer_from::{TransferFromArgs, TransferFromError};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const CALLERS: usize = 6;
const UPGRADES: u32 = 6;
const FEE: u64 = 10;

/// What is known of a call, by the number in its memo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The ledger answered with this block.
    Done(u64),
    /// The ledger answered with a refusal.
    Refused,
    /// The network said that the canister was stopped, so that the call did not run.
    Stopped,
}

struct Caller {
    number: usize,
    agent: Agent,
    ledger: Principal,
    everybody: Vec<Account>,
}

impl Caller {
    /// Makes one call; whether it was done follows from the answer in every case.
    async fn call<A, E>(&self, method: &str, arg: A) -> Result<Outcome>
    where
        A: CandidType,
        E: CandidType + DeserializeOwned + Debug,
    {
        let update = self.agent.update(&self.ledger, method);
        match update.with_arg(Encode!(&arg)?).call_and_wait().await {
            Ok(reply) => match candid::decode_one::<Result<Nat, E>>(&reply)? {
                Ok(block) => Ok(Outcome::Done(u64::try_from(block.0)?)),
                Err(_) => Ok(Outcome::Refused),
            },
            Err(
                AgentError::CertifiedReject { reject, .. }
                | AgentError::UncertifiedReject { reject, .. },
            ) => {
                let code = reject.error_code.unwrap_or_default();
                // The codes of a canister that is stopped or stopping.
                ensure!(
                    ["IC0508", "IC0509"].contains(&code.as_str()),
                    "{code}: {}",
                    reject.reject_message
                );
                Ok(Outcome::Stopped)
            }
            Err(error) => bail!("the outcome of {method} is not known: {error}"),
        }
    }

    /// Writes until it is told to stop; the outcome of every call.
    async fn write(
        self,
        stop: Arc<AtomicBool>,
        done: Arc<AtomicU32>,
    ) -> Result<BTreeMap<u64, Outcome>> {
        let mut outcomes = BTreeMap::new();
        for n in 0u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let number = (self.number as u64) << 32 | n;
            let memo = Some(Memo::from(number.to_be_bytes().to_vec()));
            let next =
                |step: u64| self.everybody[(self.number + (n * step) as usize + 1) % CALLERS];
            let (from_subaccount, fee, created_at_time) =
                (None, None, Some(emc_client::ledger::now()));
            let amount = Nat::from(n % 50 + 1);
            let outcome = match n % 4 {
                0 => {
                    let arg = ApproveArgs {
                        from_subaccount,
                        spender: self.everybody[(self.number + 1) % CALLERS],
                        amount: Nat::from(1_000u32),
                        expected_allowance: None,
                        expires_at: None,
                        fee,
                        memo,
                        created_at_time,
                    };
                    self.call::<_, ApproveError>("icrc2_approve", arg).await?
                }
                1 => {
                    let arg = TransferFromArgs {
                        spender_subaccount: None,
                        from: self.everybody[(self.number + CALLERS - 1) % CALLERS],
                        to: next(3),
                        amount,
                        fee,
                        memo,
                        created_at_time,
                    };
                    self.call::<_, TransferFromError>("icrc2_transfer_from", arg)
                        .await?
                }
                _ => {
                    let arg = TransferArg {
                        from_subaccount,
                        to: next(5),
                        fee,
                        created_at_time,
                        memo,
                        amount,
                    };
                    self.call::<_, TransferError>("icrc1_transfer", arg).await?
                }
            };
            outcomes.insert(number, outcome);
            if matches!(outcome, Outcome::Done(_)) {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(outcomes)
    }
}

/// The number in a block's memo, where it has one of ours.
fn number_of(block: &ICRC3Value) -> Option<u64> {
    let ICRC3Value::Map(block) = block else {
        return None;
    };
    let ICRC3Value::Map(tx) = block.get("tx")? else {
        return None;
    };
    match tx.get("memo")? {
        ICRC3Value::Blob(memo) => Some(u64::from_be_bytes(memo.as_slice().try_into().ok()?)),
        _ => None,
    }
}

/// Waits until so many more calls were done.
async fn until_more(done: &AtomicU32, more: u32) -> Result<()> {
    let wanted = done.load(Ordering::Relaxed) + more;
    let enough = async || Ok((done.load(Ordering::Relaxed) >= wanted).then_some(()));
    emc_devnet::market::until(Duration::from_secs(60), "the traffic to go on", enough).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upgrades_in_traffic_lose_nothing() -> Result<()> {
    let deployed = Deployed::with_fee(241, FEE).await?;
    let people: Vec<Person> = (0..CALLERS)
        .map(|n| deployed.person(&format!("caller {n}")))
        .collect();
    let everybody: Vec<Account> = people
        .iter()
        .map(|person| person.principal().into())
        .collect();
    let bank = deployed.ledger(&deployed.bank);
    for person in &people {
        bank.transfer(person.principal(), Tokens(1_000_000)).await?;
    }
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let traffic: Vec<_> = people
        .iter()
        .enumerate()
        .map(|(number, person)| {
            let caller = Caller {
                number,
                agent: deployed.client(person).agent().clone(),
                ledger: deployed.id,
                everybody: everybody.clone(),
            };
            tokio::spawn(caller.write(stop.clone(), done.clone()))
        })
        .collect();

    for _ in 0..UPGRADES {
        until_more(&done, 30).await?;
        deployed.upgrade().await?;
    }
    until_more(&done, 30).await?;
    stop.store(true, Ordering::Relaxed);
    let mut outcomes = BTreeMap::new();
    for caller in traffic {
        outcomes.extend(caller.await??);
    }

    let ledger = deployed.ledger(&deployed.bank);
    let log = BlockLog::fetch(&ledger).await?;
    let mut blocks = BTreeMap::new();
    for (index, block) in (0u64..).zip(&log.blocks) {
        if let Some(number) = number_of(block) {
            let before = blocks.insert(number, index);
            ensure!(
                before.is_none(),
                "call {number:x} is in blocks {before:?} and {index}"
            );
        }
    }
    for (number, outcome) in &outcomes {
        let expected = match outcome {
            Outcome::Done(block) => Some(*block),
            Outcome::Refused | Outcome::Stopped => None,
        };
        let found = blocks.remove(number);
        ensure!(
            found == expected,
            "call {number:x} was {outcome:?} and is in block {found:?}"
        );
    }
    ensure!(
        blocks.is_empty(),
        "blocks that nobody asked for: {blocks:?}"
    );
    check_all(&ledger).await?;

    let count =
        |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|outcome| wanted(outcome)).count();
    let (done, stopped) = (
        count(|outcome| matches!(outcome, Outcome::Done(_))),
        count(|outcome| *outcome == Outcome::Stopped),
    );
    println!(
        "{done} calls done, {stopped} met a stopped ledger, of {}",
        outcomes.len()
    );
    ensure!(done > 30 * UPGRADES as usize, "only {done} calls were done");
    ensure!(stopped > 0, "no call met an upgrade");
    Ok(())
}

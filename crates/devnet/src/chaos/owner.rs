//! The owner of an honest node: takes its earnings out, puts more stake behind it, takes that out again.

use super::calls::{Answer, Call};
use super::plan::Dice;
use super::requester::approve;
use super::stage::Moment;
use anyhow::Result;
use candid::Principal;
use emc_client::{Error, Escrow};
use emc_protocol::Tokens;
use emc_protocol::account::WithdrawArgs;
use emc_protocol::node::{StakeArgs, UnstakeArgs};
use std::collections::VecDeque;

/// The least that is worth a withdrawal: what the escrow pays out at least.
const LEAST: u128 = 10_000;

/// An owner.
pub struct Owner {
    me: Principal,
    node: Principal,
    escrow: Escrow,
    next: VecDeque<Call>,
    /// What it has staked beyond what the node needs.
    extra: u128,
}

impl Owner {
    /// The owner of a node.
    pub fn new(me: Principal, node: Principal, escrow: Escrow) -> Self {
        Self {
            me,
            node,
            escrow,
            next: VecDeque::new(),
            extra: 0,
        }
    }

    /// Learns what became of its call.
    pub fn heard(&mut self, call: Call, answer: &Result<Answer, Error>) {
        match (call, answer) {
            // Where the outcome is not known yet, nothing is counted: it stays staked.
            (Call::Stake(args), Ok(_)) => self.extra += args.amount.0,
            (Call::Unstake(args), Err(_)) => self.extra += args.amount.0,
            _ => {}
        }
    }

    /// What it does now, if anything.
    ///
    /// # Errors
    /// If the escrow does not tell its balance though it runs.
    pub async fn turn(&mut self, moment: &Moment, dice: &mut Dice) -> Result<Option<Call>> {
        if let Some(call) = self.next.pop_front() {
            return Ok(Some(call));
        }
        if moment.closing || dice.percent(40) {
            return Ok(None);
        }
        let (node, escrow) = (self.node, moment.ids.escrow);
        let amount = Tokens(dice.between(100_000_000, 500_000_000).into());
        Ok(Some(match dice.between(0, 3) {
            0 => {
                self.next.push_back(Call::Stake(StakeArgs {
                    node,
                    escrow,
                    amount,
                    from_subaccount: None,
                }));
                approve(moment.now, moment.ids.registry, amount, dice)
            }
            1 => {
                let amount = Tokens(amount.0.min(self.extra));
                if amount.is_zero() {
                    return Ok(None);
                }
                self.extra -= amount.0;
                Call::Unstake(UnstakeArgs {
                    node,
                    escrow,
                    amount,
                })
            }
            2 => Call::WithdrawUnbonded(node),
            _ if moment.escrow_is_stopped => return Ok(None),
            _ => {
                let held = self.escrow.account(self.me).await?.available;
                if held.0 < LEAST {
                    return Ok(None);
                }
                Call::Withdraw(WithdrawArgs {
                    amount: held,
                    to: None,
                })
            }
        }))
    }

    /// Whether something has to follow.
    pub fn is_busy(&self) -> bool {
        !self.next.is_empty()
    }
}

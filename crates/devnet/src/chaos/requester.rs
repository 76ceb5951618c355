//! Requesters: they ask, at every assurance; and by habit they cancel, ask twice, or move money in and out.

use super::calls::{self, Answer, Call};
use super::plan::{Dice, Habit};
use super::stage::Moment;
use anyhow::Result;
use candid::{Nat, Principal};
use emc_client::Error;
use emc_protocol::account::{DepositArgs, WithdrawArgs, deposit_subaccount};
use emc_protocol::job::{ChatMessage, ChatRole, IfUnserved};
use emc_protocol::{
    Assurance, ByteBuf, JobId, JobInput, ModelRef, Parameters, SubmitJob, Timestamp, Tokens,
};
use icrc_ledger_types::icrc1::account::Account;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg};
use icrc_ledger_types::icrc2::approve::ApproveArgs;
use std::collections::{BTreeMap, VecDeque};

/// The most a job may cost, checking included.
const MAX_PRICE: Tokens = Tokens(2_000_000);
/// How often one who repeats sends the same submission.
const TIMES: usize = 3;

/// A requester.
pub struct Requester {
    me: Principal,
    habit: Habit,
    model: ModelRef,
    /// Calls that follow from one that was begun: a deposit from its approval.
    next: VecDeque<Call>,
    /// The job that each request key was answered with.
    answered: BTreeMap<Vec<u8>, JobId>,
    /// Jobs that it may still cancel.
    mine: Vec<JobId>,
    asked: u64,
    wrong: Option<String>,
}

/// A transfer that the ledger tells from every other, and knows again.
fn transfer(now: Timestamp, to: Account, amount: Tokens, dice: &mut Dice) -> Call {
    Call::Transfer(TransferArg {
        from_subaccount: None,
        to,
        fee: None,
        created_at_time: Some(now.0),
        memo: Some(Memo::from(dice.bytes().to_vec())),
        amount: Nat::from(amount.0),
    })
}

/// An approval, in the same way.
pub fn approve(now: Timestamp, spender: Principal, amount: Tokens, dice: &mut Dice) -> Call {
    Call::Approve(ApproveArgs {
        from_subaccount: None,
        spender: spender.into(),
        amount: Nat::from(amount.0),
        expected_allowance: None,
        expires_at: None,
        fee: None,
        memo: Some(Memo::from(dice.bytes().to_vec())),
        created_at_time: Some(now.0),
    })
}

impl Requester {
    /// Somebody with a habit.
    pub fn new(me: Principal, habit: Habit, model: ModelRef) -> Self {
        Self {
            me,
            habit,
            model,
            next: VecDeque::new(),
            answered: BTreeMap::new(),
            mine: vec![],
            asked: 0,
            wrong: None,
        }
    }

    /// What it does now, if anything.
    ///
    /// # Errors
    /// None of its own.
    pub async fn turn(&mut self, moment: &Moment, dice: &mut Dice) -> Result<Option<Call>> {
        if let Some(call) = self.next.pop_front() {
            return Ok(Some(call));
        }
        if moment.closing {
            return Ok(None);
        }
        match self.habit {
            Habit::Cancelling if !self.mine.is_empty() && dice.percent(25) => {
                let at = dice.between(0, self.mine.len() as u64 - 1) as usize;
                return Ok(Some(Call::Cancel(self.mine.swap_remove(at))));
            }
            Habit::Moving if dice.percent(65) => return Ok(Some(self.money(moment, dice))),
            _ if dice.percent(8) => return Ok(Some(self.money(moment, dice))),
            _ => {}
        }
        let job = Call::Submit(Box::new(self.job(dice)));
        if self.habit == Habit::Repeating {
            self.next.extend(vec![job.clone(); TIMES - 1]);
        }
        Ok(Some(job))
    }

    fn job(&mut self, dice: &mut Dice) -> SubmitJob {
        self.asked += 1;
        let assurance = match dice.between(0, 99) {
            0..=39 => Assurance::None,
            40..=69 => Assurance::Sampled,
            _ => Assurance::Always,
        };
        let messages = vec![ChatMessage {
            role: ChatRole::User,
            content: format!("Question {} of {}.", self.asked, self.me),
        }];
        SubmitJob {
            model: self.model.clone(),
            input: JobInput::Chat { messages },
            parameters: Parameters::greedy(16),
            max_price: MAX_PRICE,
            deadline: None,
            if_unserved: Some(IfUnserved::Queue),
            request_key: Some(ByteBuf::from(dice.bytes().to_vec())),
            seed: None,
            salt: None,
            visibility: None,
            assurance: Some(assurance),
            payer: None,
            notify: None,
        }
    }

    /// The first call of a movement of money; the others follow.
    fn money(&mut self, moment: &Moment, dice: &mut Dice) -> Call {
        let amount = Tokens(dice.between(1_000_000, 30_000_000).into());
        let escrow = moment.ids.escrow;
        match dice.between(0, 2) {
            0 => {
                self.next.push_back(Call::Deposit(DepositArgs {
                    amount,
                    beneficiary: None,
                    from_subaccount: None,
                }));
                approve(moment.now, escrow, amount, dice)
            }
            1 => {
                self.next.push_back(Call::Notify(self.me));
                let to = Account {
                    owner: escrow,
                    subaccount: Some(deposit_subaccount(self.me)),
                };
                transfer(moment.now, to, amount, dice)
            }
            _ => Call::Withdraw(WithdrawArgs { amount, to: None }),
        }
    }

    /// Learns what became of its call.
    pub fn heard(&mut self, call: Call, answer: &Result<Answer, Error>) {
        let Call::Submit(job) = call else { return };
        let key = job.request_key.map(ByteBuf::into_vec).unwrap_or_default();
        match answer {
            Ok(Answer::Job(reply)) => {
                let known = self.answered.insert(key, reply.job_id);
                if known.is_none() {
                    self.mine.push(reply.job_id);
                }
                let as_it_should = match known {
                    Some(before) => reply.repeated && before == reply.job_id,
                    None => !reply.repeated,
                };
                if !as_it_should {
                    self.wrong = Some(format!("a repeated submission led to {reply:?}"));
                }
            }
            // The first of a series was refused: the others would be a new request.
            Err(error) if calls::is_refusal(error) => self.next.clear(),
            _ => {}
        }
    }

    /// Whether something has to follow.
    pub fn is_busy(&self) -> bool {
        !self.next.is_empty()
    }

    /// What it was told and should not have been.
    pub fn complaint(&self) -> Option<&str> {
        self.wrong.as_deref()
    }
}

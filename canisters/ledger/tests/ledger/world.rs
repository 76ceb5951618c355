//! A ledger under test, with a clock and callers of its own.

use candid::{Nat, Principal};
use emc_ledger::{
    allowance::{self, Allowance},
    approve::approve,
    blocks::get_blocks,
    config::InitArgs,
    lifecycle,
    rate_limit::RateLimit,
    state::Ledger,
    tokens::Tokens,
    transfer::{transfer, transfer_from},
};
use ic_stable_structures::DefaultMemoryImpl;
use icrc_ledger_types::{
    icrc::generic_value::ICRC3Value,
    icrc1::{
        account::Account,
        transfer::{TransferArg, TransferError},
    },
    icrc2::{
        approve::{ApproveArgs, ApproveError},
        transfer_from::{TransferFromArgs, TransferFromError},
    },
    icrc3::blocks::GetBlocksRequest,
};

/// 2026-11-22, in nanoseconds.
pub const START: u64 = 1_795_000_000_000_000_000;
pub const SECOND: u64 = 1_000_000_000;
pub const HOUR: u64 = 3_600 * SECOND;

pub const MINTER: Caller = Caller(0);
pub const ALICE: Caller = Caller(1);
pub const BOB: Caller = Caller(2);
pub const CAROL: Caller = Caller(3);

/// Somebody who calls the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller(pub u8);

impl Caller {
    pub fn principal(self) -> Principal {
        Principal::from_slice(&[self.0 + 1; 29])
    }

    pub fn account(self) -> Account {
        self.principal().into()
    }

    pub fn subaccount(self, number: u8) -> Account {
        Account {
            owner: self.principal(),
            subaccount: Some([number; 32]),
        }
    }
}

pub struct World {
    pub memory: DefaultMemoryImpl,
    pub ledger: Ledger,
    pub now: u64,
}

/// The settings of a ledger with a fee of 10, without a limit per caller.
pub fn settings() -> InitArgs {
    InitArgs {
        minting_account: None,
        initial_balances: vec![],
        deployment_balances: None,
        max_supply: None,
        transfer_fee: Some(Tokens(10)),
        token_name: None,
        token_symbol: None,
        logo: None,
        max_memo_length: None,
        rate_limit: Some(RateLimit {
            burst: 0,
            per_minute: 0,
        }),
        exempt_principals: None,
        index_principal: None,
        total_rate_limit: None,
    }
}

impl World {
    /// A ledger with a fee of 10, in which Alice holds 1,000 and Bob 500.
    pub fn new() -> Self {
        Self::with(InitArgs {
            initial_balances: vec![
                (ALICE.account(), Tokens(1_000)),
                (BOB.account(), Tokens(500)),
            ],
            ..settings()
        })
    }

    pub fn with(args: InitArgs) -> Self {
        let memory = DefaultMemoryImpl::default();
        let ledger = lifecycle::create(memory.clone(), args, MINTER.principal(), START)
            .expect("the settings are good");
        Self {
            memory,
            ledger,
            now: START,
        }
    }

    pub fn balance(&self, account: impl Into<Account>) -> u128 {
        self.ledger.balance(&account.into()).0
    }

    pub fn allowance(&self, from: Account, spender: Account) -> Allowance {
        allowance::current(&self.ledger, &from, &spender, self.now)
    }

    pub fn transfer(&mut self, caller: Caller, arg: TransferArg) -> Result<u64, TransferError> {
        transfer(&mut self.ledger, caller.principal(), arg, self.now)
    }

    pub fn transfer_from(
        &mut self,
        caller: Caller,
        arg: TransferFromArgs,
    ) -> Result<u64, TransferFromError> {
        transfer_from(&mut self.ledger, caller.principal(), arg, self.now)
    }

    pub fn approve(&mut self, caller: Caller, arg: ApproveArgs) -> Result<u64, ApproveError> {
        approve(&mut self.ledger, caller.principal(), arg, self.now)
    }

    /// What an upgrade does: everything but stable memory is gone.
    pub fn upgrade(&mut self) {
        self.ledger = Ledger::open(self.memory.clone()).expect("the layout is known");
    }

    /// The values of all blocks, fetched as clients do.
    pub fn blocks(&self) -> Vec<ICRC3Value> {
        let mut blocks = vec![];
        while (blocks.len() as u64) < self.ledger.log_length() {
            let range = GetBlocksRequest {
                start: Nat::from(blocks.len()),
                length: Nat::from(u64::MAX),
            };
            let answer = get_blocks(&self.ledger, &[range]);
            assert!(
                !answer.blocks.is_empty(),
                "every answer brings the reader on"
            );
            blocks.extend(answer.blocks.into_iter().map(|block| block.block));
        }
        blocks
    }
}

/// A transfer without anything optional.
pub fn send(to: impl Into<Account>, amount: impl Into<Nat>) -> TransferArg {
    TransferArg {
        from_subaccount: None,
        to: to.into(),
        fee: None,
        created_at_time: None,
        memo: None,
        amount: amount.into(),
    }
}

/// A transfer by a spender without anything optional.
pub fn spend(
    from: impl Into<Account>,
    to: impl Into<Account>,
    amount: impl Into<Nat>,
) -> TransferFromArgs {
    TransferFromArgs {
        spender_subaccount: None,
        from: from.into(),
        to: to.into(),
        amount: amount.into(),
        fee: None,
        memo: None,
        created_at_time: None,
    }
}

/// An approval without anything optional.
pub fn allow(spender: impl Into<Account>, amount: impl Into<Nat>) -> ApproveArgs {
    ApproveArgs {
        from_subaccount: None,
        spender: spender.into(),
        amount: amount.into(),
        expected_allowance: None,
        expires_at: None,
        fee: None,
        memo: None,
        created_at_time: None,
    }
}

/// More than 128 bits can hold.
pub fn beyond_u128() -> Nat {
    Nat::from(u128::MAX) + Nat::from(1u8)
}

impl From<Caller> for Account {
    fn from(caller: Caller) -> Self {
        caller.account()
    }
}

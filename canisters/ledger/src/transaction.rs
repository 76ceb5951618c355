//! What a caller asked for, as it is kept in a block: the `tx` of an ICRC-3 block.
//!
//! The hash of the transaction is its identity for deduplication. It covers exactly what the caller passed: an absent
//! subaccount and one of 32 zeros, or an absent fee and one named explicitly, make different transactions.

use crate::tokens::Tokens;
use icrc_ledger_types::icrc1::account::Account;

/// One of the four things that a block can record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// New tokens from the minting account.
    Mint {
        /// Who receives them.
        to: Account,
        /// How many.
        amount: Tokens,
    },
    /// Tokens destroyed by a transfer to the minting account.
    Burn {
        /// Whose tokens.
        from: Account,
        /// Who did it on their behalf.
        spender: Option<Account>,
        /// How many.
        amount: Tokens,
    },
    /// Tokens moved between two ordinary accounts.
    Transfer {
        /// Who pays.
        from: Account,
        /// Who receives.
        to: Account,
        /// Who did it on the payer's behalf.
        spender: Option<Account>,
        /// How many arrive.
        amount: Tokens,
        /// The fee, where the caller named it.
        fee: Option<Tokens>,
    },
    /// The right given to a spender.
    Approve {
        /// Whose tokens may be spent.
        from: Account,
        /// Who may spend them.
        spender: Account,
        /// How many at most, fees included; it replaces what was allowed before.
        amount: Tokens,
        /// What the caller thought was allowed before.
        expected_allowance: Option<Tokens>,
        /// When the right ends, in nanoseconds since 1970.
        expires_at: Option<u64>,
        /// The fee, where the caller named it.
        fee: Option<Tokens>,
    },
}

/// An operation with what the caller said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What is done.
    pub operation: Operation,
    /// The caller's own bytes.
    pub memo: Option<Vec<u8>>,
    /// When the caller made the request, in nanoseconds since 1970; present means "do not do this twice".
    pub created_at_time: Option<u64>,
}

impl Operation {
    /// The name of the operation in the block (`tx.op`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mint { .. } => "mint",
            Self::Burn { .. } => "burn",
            Self::Transfer { .. } => "xfer",
            Self::Approve { .. } => "approve",
        }
    }

    /// The fee that the caller named.
    pub fn named_fee(&self) -> Option<Tokens> {
        match self {
            Self::Transfer { fee, .. } | Self::Approve { fee, .. } => *fee,
            Self::Mint { .. } | Self::Burn { .. } => None,
        }
    }

    /// Whether operations of this kind ever cost a fee.
    pub fn has_fee(&self) -> bool {
        matches!(self, Self::Transfer { .. } | Self::Approve { .. })
    }

    /// The fields of the block's `tx`, in no order; `name` is a field as well, and so are memo and time.
    pub fn fields(&self) -> Fields<'_> {
        match self {
            Self::Mint { to, amount } => Fields {
                to: Some(to),
                amount: *amount,
                ..Fields::new()
            },
            Self::Burn {
                from,
                spender,
                amount,
            } => Fields {
                from: Some(from),
                spender: spender.as_ref(),
                amount: *amount,
                ..Fields::new()
            },
            Self::Transfer {
                from,
                to,
                spender,
                amount,
                fee,
            } => Fields {
                from: Some(from),
                to: Some(to),
                spender: spender.as_ref(),
                amount: *amount,
                fee: *fee,
                ..Fields::new()
            },
            Self::Approve {
                from,
                spender,
                amount,
                expected_allowance,
                expires_at,
                fee,
            } => Fields {
                from: Some(from),
                spender: Some(spender),
                amount: *amount,
                fee: *fee,
                expected_allowance: *expected_allowance,
                expires_at: *expires_at,
                ..Fields::new()
            },
        }
    }
}

/// An operation seen as the optional fields that a block's `tx` can have; hashing, storing and showing share it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// `tx.from`
    pub from: Option<&'a Account>,
    /// `tx.to`
    pub to: Option<&'a Account>,
    /// `tx.spender`
    pub spender: Option<&'a Account>,
    /// `tx.amt`
    pub amount: Tokens,
    /// `tx.fee`
    pub fee: Option<Tokens>,
    /// `tx.expected_allowance`
    pub expected_allowance: Option<Tokens>,
    /// `tx.expires_at`
    pub expires_at: Option<u64>,
}

impl Fields<'_> {
    fn new() -> Self {
        Self {
            from: None,
            to: None,
            spender: None,
            amount: Tokens::ZERO,
            fee: None,
            expected_allowance: None,
            expires_at: None,
        }
    }
}

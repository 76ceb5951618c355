//! The EMC token: ICRC-1, ICRC-2 and ICRC-3 calls. Transfers and approvals carry a time and a memo, so that the ledger
//! itself recognises a repetition; `Duplicate` is then the success that it is.

use crate::outcome::Repeat;
use crate::{Client, Error, LedgerError, reply};
use candid::{Nat, Principal};
use emc_protocol::{Timestamp, Tokens};
use icrc_ledger_types::icrc::generic_metadata_value::MetadataValue;
use icrc_ledger_types::icrc1::account::Account;
use icrc_ledger_types::icrc1::transfer::{Memo, TransferArg, TransferError};
use icrc_ledger_types::icrc2::allowance::{Allowance, AllowanceArgs};
use icrc_ledger_types::icrc2::approve::{ApproveArgs, ApproveError};
use icrc_ledger_types::icrc2::transfer_from::{TransferFromArgs, TransferFromError};
use icrc_ledger_types::icrc3::blocks::{
    GetBlocksRequest, GetBlocksResult, ICRC3DataCertificate, SupportedBlockType,
};
use rand::RngCore;
use std::time::{SystemTime, UNIX_EPOCH};

/// An ICRC ledger.
///
/// ```no_run
/// # async fn example(client: emc_client::Client, ledger: emc_client::Principal) -> Result<(), emc_client::Error> {
/// use emc_client::protocol::Tokens;
/// let ledger = client.ledger(ledger);
/// let bob: emc_client::Account = "aaaaa-aa".parse().expect("a principal is an account");
/// let block = ledger.transfer(bob, Tokens::emc(5)).await?;
/// println!("block {block}, {} EMC left", ledger.balance(client.principal()).await?);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Ledger {
    client: Client,
    id: Principal,
}

/// The amount as the ledger's types want it.
pub fn nat(amount: Tokens) -> Nat {
    Nat::from(amount.0)
}

impl Ledger {
    pub(crate) fn new(client: Client, id: Principal) -> Self {
        Self { client, id }
    }

    /// The canister.
    pub fn id(&self) -> Principal {
        self.id
    }

    /// The connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What an account holds.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_balance_of(&self, account: Account) -> Result<Tokens, Error> {
        self.client
            .query(self.id, "icrc1_balance_of", (account,))
            .await
    }

    /// What an account holds; a principal is its default account.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn balance(&self, account: impl Into<Account>) -> Result<Tokens, Error> {
        self.icrc1_balance_of(account.into()).await
    }

    /// The fee of a transfer or an approval.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_fee(&self) -> Result<Tokens, Error> {
        self.client.query(self.id, "icrc1_fee", ()).await
    }

    /// All tokens that exist.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_total_supply(&self) -> Result<Tokens, Error> {
        self.client.query(self.id, "icrc1_total_supply", ()).await
    }

    /// Name, symbol, decimals, fee and more.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_metadata(&self) -> Result<Vec<(String, MetadataValue)>, Error> {
        self.client.query(self.id, "icrc1_metadata", ()).await
    }

    /// The token's symbol.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_symbol(&self) -> Result<String, Error> {
        self.client.query(self.id, "icrc1_symbol", ()).await
    }

    /// Decimal places.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_decimals(&self) -> Result<u8, Error> {
        self.client.query(self.id, "icrc1_decimals", ()).await
    }

    /// The account that mints and burns, where there is one.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc1_minting_account(&self) -> Result<Option<Account>, Error> {
        self.client
            .query(self.id, "icrc1_minting_account", ())
            .await
    }

    /// What a spender may still take from an account.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc2_allowance(
        &self,
        account: impl Into<Account>,
        spender: impl Into<Account>,
    ) -> Result<Allowance, Error> {
        let args = AllowanceArgs {
            account: account.into(),
            spender: spender.into(),
        };
        self.client.query(self.id, "icrc2_allowance", (args,)).await
    }

    /// Blocks of the log.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc3_get_blocks(
        &self,
        start: u64,
        length: u64,
    ) -> Result<GetBlocksResult, Error> {
        let request = GetBlocksRequest {
            start: start.into(),
            length: length.into(),
        };
        self.client
            .query(self.id, "icrc3_get_blocks", (vec![request],))
            .await
    }

    /// The certificate of the log's tip; null while there is no block.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc3_get_tip_certificate(&self) -> Result<Option<ICRC3DataCertificate>, Error> {
        self.client
            .query(self.id, "icrc3_get_tip_certificate", ())
            .await
    }

    /// The kinds of blocks that the log may hold.
    ///
    /// # Errors
    /// Those of a query, see [`Error`].
    pub async fn icrc3_supported_block_types(&self) -> Result<Vec<SupportedBlockType>, Error> {
        self.client
            .query(self.id, "icrc3_supported_block_types", ())
            .await
    }

    /// Sends `amount` to an account, from the caller's default one; answers with the block.
    ///
    /// # Errors
    /// [`Error::Ledger`] where the ledger refuses; else as [`Error`] says.
    pub async fn transfer(&self, to: impl Into<Account>, amount: Tokens) -> Result<u64, Error> {
        self.icrc1_transfer(TransferArg {
            from_subaccount: None,
            to: to.into(),
            fee: None,
            created_at_time: None,
            memo: None,
            amount: nat(amount),
        })
        .await
    }

    /// Transfers; answers with the block. Where `created_at_time` or `memo` is absent it is filled in, and `Duplicate`
    /// is success: give both yourself to make a transfer repeatable by your own program.
    ///
    /// # Errors
    /// [`Error::Ledger`] where the ledger refuses; else as [`Error`] says.
    pub async fn icrc1_transfer(&self, arg: TransferArg) -> Result<u64, Error> {
        let memo = arg.memo.clone().unwrap_or_else(random_memo);
        let own_time = arg.created_at_time.is_none();
        let mut time = arg.created_at_time.unwrap_or_else(now);
        let mut corrected = false;
        loop {
            let arg = TransferArg {
                created_at_time: Some(time),
                memo: Some(memo.clone()),
                ..arg.clone()
            };
            let error = match self.send("icrc1_transfer", arg).await? {
                Ok(block) => return block_number("icrc1_transfer", block),
                Err(TransferError::Duplicate { duplicate_of }) => {
                    return block_number("icrc1_transfer", duplicate_of);
                }
                Err(error) => error,
            };
            let clock_is_wrong = matches!(
                error,
                TransferError::TooOld | TransferError::CreatedInFuture { .. }
            );
            if !(clock_is_wrong && own_time && !corrected) {
                return Err(LedgerError::Transfer(error).into());
            }
            time = self.ledgers_time().await?;
            corrected = true;
        }
    }

    /// Allows `spender` to take up to `amount` from the caller's default account, in all; replaces what was allowed.
    ///
    /// # Errors
    /// [`Error::Ledger`] where the ledger refuses; else as [`Error`] says.
    pub async fn approve(&self, spender: impl Into<Account>, amount: Tokens) -> Result<u64, Error> {
        self.icrc2_approve(ApproveArgs {
            from_subaccount: None,
            spender: spender.into(),
            amount: nat(amount),
            expected_allowance: None,
            expires_at: None,
            fee: None,
            memo: None,
            created_at_time: None,
        })
        .await
    }

    /// Approves; answers with the block. Time, memo and `Duplicate` as in [`Ledger::icrc1_transfer`].
    ///
    /// # Errors
    /// [`Error::Ledger`] where the ledger refuses; else as [`Error`] says.
    pub async fn icrc2_approve(&self, args: ApproveArgs) -> Result<u64, Error> {
        let memo = args.memo.clone().unwrap_or_else(random_memo);
        let own_time = args.created_at_time.is_none();
        let mut time = args.created_at_time.unwrap_or_else(now);
        let mut corrected = false;
        loop {
            let args = ApproveArgs {
                created_at_time: Some(time),
                memo: Some(memo.clone()),
                ..args.clone()
            };
            let error = match self.send("icrc2_approve", args).await? {
                Ok(block) => return block_number("icrc2_approve", block),
                Err(ApproveError::Duplicate { duplicate_of }) => {
                    return block_number("icrc2_approve", duplicate_of);
                }
                Err(error) => error,
            };
            let clock_is_wrong = matches!(
                error,
                ApproveError::TooOld | ApproveError::CreatedInFuture { .. }
            );
            if !(clock_is_wrong && own_time && !corrected) {
                return Err(LedgerError::Approve(error).into());
            }
            time = self.ledgers_time().await?;
            corrected = true;
        }
    }

    /// Takes from an account that has approved the caller; answers with the block. Time, memo and `Duplicate` as in
    /// [`Ledger::icrc1_transfer`].
    ///
    /// # Errors
    /// [`Error::Ledger`] where the ledger refuses; else as [`Error`] says.
    pub async fn icrc2_transfer_from(&self, args: TransferFromArgs) -> Result<u64, Error> {
        let args = TransferFromArgs {
            created_at_time: Some(args.created_at_time.unwrap_or_else(now)),
            memo: Some(args.memo.clone().unwrap_or_else(random_memo)),
            ..args
        };
        match self.send("icrc2_transfer_from", args).await? {
            Ok(block) => block_number("icrc2_transfer_from", block),
            Err(TransferFromError::Duplicate { duplicate_of }) => {
                block_number("icrc2_transfer_from", duplicate_of)
            }
            Err(error) => Err(LedgerError::TransferFrom(error).into()),
        }
    }

    /// Sends an update that the ledger deduplicates by its time and memo, which is why it may be signed anew.
    async fn send<A, E>(&self, method: &str, args: A) -> Result<Result<Nat, E>, Error>
    where
        A: candid::CandidType,
        E: candid::CandidType + serde::de::DeserializeOwned,
    {
        let bytes = self
            .client
            .update_bytes(self.id, method, (args,), Repeat::Harmless)
            .await?;
        reply::fallible(method, &bytes)
    }

    /// The ledger's clock, asked for when it refuses ours. Nothing has been carried out at that point: the refusal is
    /// certified and belongs to the only request with that time.
    async fn ledgers_time(&self) -> Result<u64, Error> {
        Ok(self.client.network_time(self.id).await?.0)
    }
}

/// This machine's time in nanoseconds since 1970.
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(Timestamp::default().0, |since| {
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        })
}

/// Sixteen random bytes: they make two equal transfers of one moment two transfers, and a repetition one.
fn random_memo() -> Memo {
    let mut bytes = vec![0; 16];
    rand::thread_rng().fill_bytes(&mut bytes);
    Memo::from(bytes)
}

fn block_number(method: &str, block: Nat) -> Result<u64, Error> {
    u64::try_from(block.0).map_err(|_| Error::Decode {
        method: method.to_owned(),
        reason: "the block's number has more than 64 bits".into(),
    })
}

//! Moving EMC from the ledger into an account of the escrow, or behind a node as stake: approve, then let the canister
//! take it.

use crate::{Client, Error};
use candid::Principal;
use emc_protocol::account::{DepositArgs, DepositReply};
use emc_protocol::node::{Node, StakeArgs};
use emc_protocol::{ApiError, Tokens, error::code};

impl Client {
    /// Approves the escrow for `amount` and deposits it to `beneficiary`'s account (the caller's where absent).
    ///
    /// # Errors
    /// Where the caller's balance is too small, that error alone, before anything is approved; else those of
    /// [`crate::Ledger::icrc2_approve`] and [`crate::Escrow::deposit`].
    ///
    /// ```no_run
    /// # async fn example(client: emc_client::Client, ids: emc_client::CanisterIds) -> Result<(), emc_client::Error> {
    /// use emc_client::protocol::Tokens;
    /// let reply = client.fund(ids.ledger, ids.escrow, Tokens::emc(10), None).await?;
    /// println!("{} EMC available for jobs", reply.available);
    /// # Ok(()) }
    /// ```
    pub async fn fund(
        &self,
        ledger: Principal,
        escrow: Principal,
        amount: Tokens,
        beneficiary: Option<Principal>,
    ) -> Result<DepositReply, Error> {
        self.approve_for(ledger, escrow, amount).await?;
        self.escrow(escrow)
            .deposit(DepositArgs {
                amount,
                beneficiary,
                from_subaccount: None,
            })
            .await
    }

    /// Approves the registry for `amount` and stakes it behind a node, for one escrow.
    ///
    /// # Errors
    /// As [`Client::fund`], with those of [`crate::Registry::stake`].
    pub async fn stake(
        &self,
        ledger: Principal,
        registry: Principal,
        node: Principal,
        escrow: Principal,
        amount: Tokens,
    ) -> Result<Node, Error> {
        self.approve_for(ledger, registry, amount).await?;
        self.registry(registry)
            .stake(StakeArgs {
                node,
                escrow,
                amount,
                from_subaccount: None,
            })
            .await
    }

    /// Allows `spender` to take `amount` and the fee of taking it; checks first that it is there with both fees.
    async fn approve_for(
        &self,
        ledger: Principal,
        spender: Principal,
        amount: Tokens,
    ) -> Result<(), Error> {
        let ledger = self.ledger(ledger);
        let fee = ledger.icrc1_fee().await?;
        let allowance = amount.checked_add(fee);
        let needed = allowance.and_then(|sum| sum.checked_add(fee));
        let (Some(allowance), Some(needed)) = (allowance, needed) else {
            return Err(Error::Config(format!("{amount} EMC is no real amount.")));
        };
        let balance = ledger.balance(self.principal()).await?;
        if balance < needed {
            let message = format!(
                "{} has {balance} EMC in the ledger; {needed} are needed, fees included.",
                self.principal()
            );
            let detail = emc_protocol::ErrorDetail::InsufficientFunds {
                available: balance,
                needed,
            };
            return Err(ApiError::new(code::INSUFFICIENT_FUNDS, message)
                .with(detail)
                .into());
        }
        ledger.approve(spender, allowance).await?;
        Ok(())
    }
}

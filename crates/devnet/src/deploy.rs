//! Creates the canisters on a network, installs and upgrades their code.

use anyhow::{Context, Result};
use candid::Principal;
use emc_client::CanisterIds;
use ic_agent::Agent;
use ic_utils::interfaces::ManagementCanister;
use ic_utils::interfaces::management_canister::builders::{CanisterInstallMode, UpgradeFlags};
use std::path::Path;

/// Cycles that a new canister gets.
const CYCLES: u128 = 100_000_000_000_000;

/// Installs canisters with one agent, which becomes their controller.
pub struct Deployer<'a> {
    management: ManagementCanister<'a>,
    effective: Principal,
}

impl<'a> Deployer<'a> {
    /// A deployer for a network that grants cycles for nothing, as local ones do.
    pub fn new(agent: &'a Agent) -> Self {
        // Local networks place the canister by this id; it names the first canister range of all of them.
        let effective =
            Principal::from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xe0, 0x00, 0x00, 0x01, 0x01]);
        Self {
            management: ManagementCanister::create(agent),
            effective,
        }
    }

    /// The same, on a network that names the id by which new canisters are placed.
    #[must_use]
    pub fn placed_by(mut self, effective: Option<Principal>) -> Self {
        self.effective = effective.unwrap_or(self.effective);
        self
    }

    /// A new canister without code.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn create(&self) -> Result<Principal> {
        let (id,) = self
            .management
            .create_canister()
            .as_provisional_create_with_amount(Some(CYCLES))
            .with_effective_canister_id(self.effective)
            .call_and_wait()
            .await
            .context("the network does not create canisters for nothing; is it a local one?")?;
        Ok(id)
    }

    /// Installs code with an encoded argument.
    ///
    /// # Errors
    /// If the file cannot be read or the network refuses the code.
    pub async fn install(&self, id: Principal, wasm: &Path, argument: Vec<u8>) -> Result<()> {
        self.put(id, wasm, argument, CanisterInstallMode::Install)
            .await
    }

    /// Replaces code, keeping the state: stop, upgrade, start.
    ///
    /// # Errors
    /// If the file cannot be read or the network refuses the code; the canister is started again either way.
    pub async fn upgrade(&self, id: Principal, wasm: &Path, argument: Vec<u8>) -> Result<()> {
        self.stop(id).await?;
        let options = UpgradeFlags {
            skip_pre_upgrade: None,
            wasm_memory_persistence: None,
        };
        let upgraded = self
            .put(
                id,
                wasm,
                argument,
                CanisterInstallMode::Upgrade(Some(options)),
            )
            .await;
        self.start(id).await?;
        upgraded
    }

    /// Stops a canister.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn stop(&self, id: Principal) -> Result<()> {
        self.management
            .stop_canister(&id)
            .await
            .with_context(|| format!("{id} does not stop"))
    }

    /// Starts a canister.
    ///
    /// # Errors
    /// If the network refuses.
    pub async fn start(&self, id: Principal) -> Result<()> {
        self.management
            .start_canister(&id)
            .await
            .with_context(|| format!("{id} does not start"))
    }

    async fn put(
        &self,
        id: Principal,
        wasm: &Path,
        argument: Vec<u8>,
        mode: CanisterInstallMode,
    ) -> Result<()> {
        let code = std::fs::read(wasm).with_context(|| {
            format!("{} cannot be read; run `cargo xtask build`", wasm.display())
        })?;
        self.management
            .install(&id, &code)
            .with_mode(mode)
            .with_raw_arg(argument)
            .await
            .with_context(|| format!("{} cannot be installed in {id}", wasm.display()))
    }
}

/// The three canisters of a market, created and not yet installed.
///
/// # Errors
/// If the network refuses.
pub async fn create_all(deployer: &Deployer<'_>) -> Result<CanisterIds> {
    Ok(CanisterIds {
        ledger: deployer.create().await?,
        registry: deployer.create().await?,
        escrow: deployer.create().await?,
    })
}

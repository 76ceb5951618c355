//! DFINITY's own test suite for ICRC-1 and ICRC-2 ledgers (`icrc1-test-suite`), against ours.
//!
//! Its tests of allowances expect that a caller without tokens cannot pay for an approval, so all of it runs with a
//! fee; without one, which is the default of EMC, the ICRC-1 half runs again. The suite counts a test that it skips as
//! passed: the two that can be skipped are asked for by name.

use crate::deployed::Deployed;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use candid::Principal;
use candid::utils::{ArgumentDecoder, ArgumentEncoder, decode_args, encode_args};
use emc_client::Client;
use emc_devnet::Person;
use icrc1_test_env::LedgerEnv;
use icrc1_test_suite::{Outcome, execute_tests, icrc1_test_suite, test_suite};
use std::cell::Cell;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// How many tests version 0.2.0 of the suite has.
const TESTS: usize = 16;
const ICRC1_TESTS: usize = 8;

/// The ledger as the suite calls it: over HTTP, each caller with a key of its own.
#[derive(Clone)]
struct Caller {
    deployed: Rc<Deployed>,
    client: Client,
    /// Counts the callers, so that each gets a new name and key.
    callers: Rc<Cell<u32>>,
}

impl Caller {
    /// The one who has the tokens.
    fn bank(deployed: Deployed) -> Self {
        let client = deployed.client(&deployed.bank);
        Self {
            deployed: Rc::new(deployed),
            client,
            callers: Rc::default(),
        }
    }
}

#[async_trait(?Send)]
impl LedgerEnv for Caller {
    fn fork(&self) -> Self {
        self.callers.set(self.callers.get() + 1);
        let person: Person = self
            .deployed
            .person(&format!("caller {}", self.callers.get()));
        Self {
            client: self.deployed.client(&person),
            ..self.clone()
        }
    }

    fn principal(&self) -> Principal {
        self.client.principal()
    }

    async fn time(&self) -> SystemTime {
        let time = self.client.network_time(self.deployed.id).await;
        let time = time.expect("the network says what time it is");
        SystemTime::UNIX_EPOCH + Duration::from_nanos(time.0)
    }

    async fn query<Input, Output>(&self, method: &str, input: Input) -> Result<Output>
    where
        Input: ArgumentEncoder + Debug,
        Output: for<'a> ArgumentDecoder<'a>,
    {
        let query = self.client.agent().query(&self.deployed.id, method);
        let answer = query.with_arg(encode_args(input)?).call().await?;
        Ok(decode_args(&answer)?)
    }

    async fn update<Input, Output>(&self, method: &str, input: Input) -> Result<Output>
    where
        Input: ArgumentEncoder + Debug,
        Output: for<'a> ArgumentDecoder<'a>,
    {
        let update = self.client.agent().update(&self.deployed.id, method);
        let answer = update.with_arg(encode_args(input)?).call_and_wait().await?;
        Ok(decode_args(&answer)?)
    }
}

fn passed(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Passed => Ok(()),
        Outcome::Skipped { reason } => anyhow::bail!("the suite skips a test: {reason}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_suite_passes_with_a_fee() -> Result<()> {
    let bank = Caller::bank(Deployed::with_fee(201, 10_000).await?);
    let tests = test_suite(bank.clone()).await;
    ensure!(tests.len() >= TESTS, "only {} tests", tests.len());
    ensure!(execute_tests(tests).await, "a test failed; see above");
    passed(icrc1_test_suite::icrc1_test_burn(bank.clone()).await?)?;
    passed(icrc1_test_suite::icrc1_test_tx_deduplication(bank).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_icrc1_half_of_the_reference_suite_passes_without_a_fee() -> Result<()> {
    let bank = Caller::bank(Deployed::with_fee(202, 0).await?);
    let tests = icrc1_test_suite(bank.clone());
    ensure!(tests.len() >= ICRC1_TESTS, "only {} tests", tests.len());
    ensure!(execute_tests(tests).await, "a test failed; see above");
    passed(icrc1_test_suite::icrc1_test_burn(bank.clone()).await?)?;
    passed(icrc1_test_suite::icrc1_test_tx_deduplication(bank).await?)
}

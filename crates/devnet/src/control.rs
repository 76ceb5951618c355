//! The embedded network's control interface (`/_/...`): time, faults, the log of messages.

use anyhow::{Context, Result, ensure};
use candid::Principal;
use emc_protocol::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::Path;
use std::time::Duration;

/// What to do to a call between canisters.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The call is not delivered.
    Reject,
    /// The callee runs, then traps at its end and is rolled back.
    TrapCallee,
    /// The callee runs and commits; the caller never learns the answer.
    LoseReply,
    /// The caller's callback runs, then traps at its end and is rolled back.
    TrapCallback,
    /// The call is delivered later.
    Delay,
    /// The answer arrives later.
    DelayReply,
    /// The caller's queue is full: it is refused inside its own message.
    FullQueue,
    /// A user's request or an answer for the callee overtakes another one.
    Overtake,
}

/// A fault that waits for the calls it applies to.
#[derive(Serialize, Clone, Debug)]
pub struct Fault {
    /// What to do.
    pub kind: FaultKind,
    /// Only calls from this canister.
    pub caller: Option<Principal>,
    /// Only calls to this canister.
    pub callee: Option<Principal>,
    /// Only calls of this method.
    pub method: Option<String>,
    /// Leave this many matching calls alone first.
    pub skip: u64,
    /// Then do it to this many.
    pub count: u64,
    /// How much later, in seconds of network time; the two kinds that delay need it.
    pub delay_s: Option<f64>,
}

impl Fault {
    /// A fault for the next call of `method` from `caller`.
    pub fn next(kind: FaultKind, caller: Principal, method: &str) -> Self {
        Self {
            kind,
            caller: Some(caller),
            callee: None,
            method: Some(method.to_owned()),
            skip: 0,
            count: 1,
            delay_s: None,
        }
    }
}

/// A fault as the network reports it.
#[derive(Deserialize, Clone, Debug)]
pub struct FiredFault {
    /// Its number.
    pub id: u64,
    /// What it does.
    pub kind: FaultKind,
    /// How often it has applied.
    pub fired: u64,
}

/// What users have asked of the network.
#[derive(Deserialize, Clone, Debug)]
pub struct Requests {
    /// How many requests it has taken, ever.
    pub arrived: u64,
    /// Those that are not answered yet, in the order in which they came.
    pub waiting: Vec<Waiting>,
}

/// A request that is not answered yet.
#[derive(Deserialize, Clone, Debug)]
pub struct Waiting {
    /// Who asked.
    pub sender: Principal,
    /// Whom.
    pub canister: Principal,
    /// For what.
    pub method: String,
}

/// One executed message, from the network's log.
#[derive(Deserialize, Clone, Debug)]
pub struct LogLine {
    /// Its number.
    pub n: u64,
    /// The canister that ran.
    pub canister: String,
    /// The kind of message: update, query, reply, reject, cleanup, timer and others.
    pub kind: String,
    /// The method, where there is one.
    pub method: String,
    /// Instructions.
    pub instructions: u64,
    /// How it ended.
    pub outcome: String,
}

/// Talks to the control interface of an embedded network.
#[derive(Clone, Debug)]
pub struct Control {
    url: String,
    http: reqwest::Client,
    effective: Option<Principal>,
}

impl Control {
    /// The control interface at `url`, or `None` where the network there has none.
    pub async fn at(url: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Status {
            implementation: String,
            default_effective_canister_id: Principal,
        }
        let url = url.trim_end_matches('/').to_owned();
        let mut control = Self {
            url,
            http: reqwest::Client::new(),
            effective: None,
        };
        let status: Status = control.get("status").await.ok()?;
        control.effective = Some(status.default_effective_canister_id);
        (status.implementation == "emc-localnet").then_some(control)
    }

    /// The id by which the network places new canisters.
    pub fn effective_canister_id(&self) -> Option<Principal> {
        self.effective
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}/_/{path}", self.url);
        let answer = self
            .http
            .get(&url)
            .send()
            .await
            .with_context(|| format!("GET {url}"))?;
        read(&url, answer).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        let url = format!("{}/_/{path}", self.url);
        let answer = self
            .http
            .post(&url)
            .json(body)
            .send()
            .await
            .with_context(|| format!("POST {url}"))?;
        read(&url, answer).await
    }

    /// Moves the canisters' clock forward in one jump, then lets due timers run. A canister sees a jump as what it is on
    /// a real network: an outage. For time that passes while the network runs there is [`Control::pass`].
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn advance(&self, by: Duration) -> Result<()> {
        let _: serde_json::Value = self
            .post(
                "time",
                &serde_json::json!({ "advance_s": by.as_secs_f64() }),
            )
            .await?;
        self.tick().await
    }

    /// Lets time pass as it does while a network runs: in steps that no canister takes for an outage.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn pass(&self, time: Duration) -> Result<()> {
        const STEP: Duration = Duration::from_secs(240);
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.advance(step).await?;
            left -= step;
        }
        Ok(())
    }

    /// Holds the network, or lets it go: while held, time stands, and messages run in [`Control::tick`] and
    /// [`Control::advance`] alone.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn hold(&self, held: bool) -> Result<()> {
        let body = serde_json::json!({ "held": held });
        let _: serde_json::Value = self.post("hold", &body).await?;
        Ok(())
    }

    /// What users have asked, and what of it is not answered yet.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn requests(&self) -> Result<Requests> {
        self.get("waiting").await
    }

    /// The canisters' time.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn time(&self) -> Result<Timestamp> {
        #[derive(Deserialize)]
        struct Status {
            canister_time_ns: u64,
        }
        let status: Status = self.get("status").await?;
        Ok(Timestamp(status.canister_time_ns))
    }

    /// Runs due timers and ready messages now; returns when there is nothing left to do.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn tick(&self) -> Result<()> {
        let _: serde_json::Value = self.post("tick", &serde_json::json!({})).await?;
        Ok(())
    }

    /// Sets a fault; returns its number.
    ///
    /// # Errors
    /// If the network refuses it.
    pub async fn fault(&self, fault: &Fault) -> Result<u64> {
        #[derive(Deserialize)]
        struct Set {
            id: u64,
        }
        let set: Set = self.post("faults", fault).await?;
        Ok(set.id)
    }

    /// How often a fault has applied.
    ///
    /// # Errors
    /// If the network does not know it.
    pub async fn fired(&self, id: u64) -> Result<u64> {
        let faults = self.faults().await?;
        let fault = faults
            .iter()
            .find(|fault| fault.id == id)
            .with_context(|| format!("there is no fault {id}"))?;
        Ok(fault.fired)
    }

    /// All faults that were set, and how often each has applied.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn faults(&self) -> Result<Vec<FiredFault>> {
        self.get("faults").await
    }

    /// Removes all faults.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn clear_faults(&self) -> Result<()> {
        let url = format!("{}/_/faults", self.url);
        let answer = self
            .http
            .delete(&url)
            .send()
            .await
            .with_context(|| format!("DELETE {url}"))?;
        ensure!(
            answer.status().is_success(),
            "DELETE {url}: {}",
            answer.status()
        );
        Ok(())
    }

    /// Gives a stopped canister the content of a file as its stable memory; an upgrade has to follow before it is
    /// started again.
    ///
    /// # Errors
    /// If the canister is not stopped, or the file is not a stable memory.
    pub async fn load_stable_memory(&self, canister: Principal, file: &Path) -> Result<()> {
        let body = serde_json::json!({ "canister": canister, "file": file });
        let _: serde_json::Value = self.post("stable_memory", &body).await?;
        Ok(())
    }

    /// The messages executed after number `after`.
    ///
    /// # Errors
    /// If the network does not answer.
    pub async fn log(&self, after: u64) -> Result<Vec<LogLine>> {
        self.get(&format!("log?after={after}")).await
    }
}

async fn read<T: DeserializeOwned>(url: &str, answer: reqwest::Response) -> Result<T> {
    let status = answer.status();
    let body = answer
        .text()
        .await
        .with_context(|| format!("{url}: the answer broke off"))?;
    ensure!(status.is_success(), "{url}: {status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("{url}: unexpected answer {body}"))
}

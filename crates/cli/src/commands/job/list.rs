//! `emc job list`: jobs, newest first.

use crate::{cli::Globals, output, session::Session, words};
use anyhow::Result;
use candid::Principal;
use clap::{Args, ValueEnum};
use emc_client::protocol::job::{JobFilter, JobId, JobState};
use emc_client::protocol::limits::PAGE;
use serde_json::json;

/// Your jobs, newest first.
#[derive(Debug, Args)]
pub struct List {
    /// Only jobs in this state
    #[arg(long)]
    state: Option<State>,
    /// Jobs of this requester [default: yourself]
    #[arg(long, value_name = "PRINCIPAL")]
    requester: Option<Principal>,
    /// At most this many
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Only jobs with smaller numbers: the next page
    #[arg(long, value_name = "JOB")]
    before: Option<JobId>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Open,
    Leased,
    Delivered,
    Settled,
    Refunded,
    /// Being checked by validators
    Auditing,
    /// Checked without a decision
    Undecided,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::Leased => Self::Leased,
            State::Delivered => Self::Delivered,
            State::Settled => Self::Settled,
            State::Refunded => Self::Refunded,
            State::Auditing => Self::Auditing,
            State::Undecided => Self::Undecided,
        }
    }
}

impl List {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let session = Session::open(globals).await?;
        let requester = session.principal_or_own(self.requester)?;
        let mut filter = JobFilter {
            requester: Some(requester),
            state: self.state.map(JobState::from),
            before: self.before,
            limit: None,
        };
        let (mut jobs, mut more) = (vec![], true);
        while more && jobs.len() < self.limit as usize {
            let left = self.limit as usize - jobs.len();
            filter.limit = Some(u32::try_from(left).unwrap_or(PAGE).min(PAGE));
            let page = session.escrow().list_jobs(filter.clone()).await?;
            let Some(last) = page.jobs.last() else {
                more = false;
                break;
            };
            filter.before = Some(last.id);
            more = page.more;
            jobs.extend(page.jobs);
        }
        if globals.json {
            let jobs: Vec<_> = jobs.iter().map(words::job_json).collect();
            return output::json(&json!({ "jobs": jobs, "more": more }));
        }
        let rows: Vec<_> = jobs
            .iter()
            .map(|job| {
                vec![
                    job.id.to_string(),
                    words::state(job.state).to_owned(),
                    words::time(job.created),
                    words::model(&job.model),
                    job.charged
                        .map_or_else(|| "-".to_owned(), |charged| charged.to_string()),
                    job.locked.to_string(),
                ]
            })
            .collect();
        output::table(
            &["job", "state", "created", "model", "charged", "locked"],
            &rows,
        )?;
        if more && let Some(last) = jobs.last() {
            output::note(format_args!(
                "There are more: `emc job list --before {}`.",
                last.id
            ));
        }
        Ok(())
    }
}

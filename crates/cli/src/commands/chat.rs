//! `emc chat`: asks a model, shows the answer while it arrives, pays, and checks the receipt.

use crate::conversation::Conversation;
use crate::partial_text::PartialText;
use crate::question::{Sampling, prompt, quoted_price};
use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use emc_client::escrow::random_salt;
use emc_client::protocol::escrow::QuoteArgs;
use emc_client::protocol::job::{
    ChatRole, IfUnserved, JobState, SubmitJob, SubmitReply, Visibility,
};
use emc_client::protocol::{JobInput, ModelRef, Seconds, Tokens};
use emc_client::verify::{self, Report};
use emc_client::{Escrow, JobEvent, JobResult, ReceiptFile};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Who can read a prompt; said once per chat.
const WHO_CAN_READ: &str = "Your prompt and the answer can be read by every node that takes or audits the job and by the operators of the subnet; everybody else sees salted hashes.";
/// The same for a public job.
const WHO_CAN_READ_PUBLIC: &str = "Your prompt can be read by every node that takes or audits the job and by the operators of the subnet; the answer by everybody (--public).";

/// Ask a model and pay for the answer.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    emc chat Why is the sky blue?\n  \
    emc chat -c And at sunset?                          go on with the last conversation\n  \
    emc chat --temperature 0.7 --seed 7 Write a haiku.\n  \
    emc chat --system 'Answer in French.' < question.txt\n  \
    emc chat --assurance always What is 2 + 2?          validators recompute the answer\n  \
    emc chat --receipt r.json Hello && emc verify r.json\n\n\
    What is not used of --max-price comes back. Interrupting (Ctrl-C) cancels the job.")]
pub struct Chat {
    #[command(flatten)]
    sampling: Sampling,
    /// The seed of sampling: with the same seed, model and parameters the answer can be reproduced
    #[arg(long, help_heading = "Model")]
    seed: Option<u64>,
    /// Instructions to the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most the answer may cost, in EMC [default: what every live node could take it for]
    #[arg(long, value_name = "EMC", value_parser = decimals::amount)]
    max_price: Option<Tokens>,
    /// How long it may take in all, in seconds; then the money comes back [default: 600]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Wait for a node where none serves the model now
    #[arg(long)]
    queue: bool,
    /// Let everybody read the answer
    #[arg(long)]
    public: bool,
    /// Keep the conversation in this file, and go on with what is in it
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Go on with the last conversation that was kept this way (in the config folder), or begin one
    #[arg(long = "continue", short = 'c', conflicts_with = "history")]
    go_on: bool,
    /// With --history or --continue: forget what was said and begin anew
    #[arg(long)]
    anew: bool,
    /// Save the receipt, with prompt and answer, for `emc verify`
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print the answer alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The prompt; standard input where there is none
    prompt: Vec<String>,
}

impl Chat {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let question = prompt(&self.prompt)?;
        let (file, mut conversation) = self.conversation()?;
        if let Some(system) = &self.system {
            conversation.set_system(system);
        }
        conversation.say(ChatRole::User, &question);
        let session = Session::open_signed(globals).await?;
        if !self.quiet {
            output::note(if self.public {
                WHO_CAN_READ_PUBLIC
            } else {
                WHO_CAN_READ
            });
        }
        let escrow = session.escrow();
        let model = self.model(&session, &conversation).await?;
        let job = self.job(&escrow, model, &conversation).await?;
        let start = Instant::now();
        let (result, reply) = self.ask(&escrow, &job, globals).await?;
        let took = start.elapsed();

        let receipt = ReceiptFile::of_result(&result, Some(&job.input));
        let report = receipt
            .as_ref()
            .map(|file| verify::check_job(file, escrow.id(), result.job.id));
        // The answer is there and paid for: nothing that goes wrong from here on may lose it.
        let kept = self.keep(file, conversation, &result, receipt.as_ref());
        if globals.json {
            print_json(&result, &reply, report.as_ref())?;
        } else if result.output.is_some() && !self.quiet {
            self.summary(&result, took, report.as_ref());
        }
        kept?;
        if result.job.state == Some(JobState::Undecided) {
            bail!(
                "the validators did not decide on the answer of job {}: half of the price came back (`emc audit show {}`)",
                result.job.id,
                result.job.id
            );
        }
        if result.output.is_none() || result.job.state == Some(JobState::Refunded) {
            bail!(
                "job {} was refunded: {}; {} EMC came back",
                result.job.id,
                words::refund(result.job.refund_reason),
                unspent(&result)
            );
        }
        match report {
            Some(report) if report.holds() => Ok(()),
            Some(report) => Err(anyhow!("the receipt does not hold:\n{report}")),
            None => Err(anyhow!("job {} has no receipt", result.job.id)),
        }
    }

    fn conversation(&self) -> Result<(Option<PathBuf>, Conversation)> {
        let file = match (&self.history, self.go_on) {
            (Some(file), _) => Some(file.clone()),
            (None, true) => Some(Conversation::last()?),
            (None, false) => None,
        };
        let conversation = match &file {
            Some(file) => {
                let conversation = Conversation::read(file)?;
                if self.anew {
                    Conversation::default()
                } else {
                    conversation
                }
            }
            None => Conversation::default(),
        };
        Ok((file, conversation))
    }

    /// The model that is named, or the conversation's, or the only one.
    async fn model(&self, session: &Session, conversation: &Conversation) -> Result<ModelRef> {
        let kept = conversation.model.as_deref().map(words::model_ref);
        match (&self.sampling.model, kept) {
            (None, Some(Ok(model))) => Ok(model),
            _ => self.sampling.model(&session.registry()).await,
        }
    }

    /// The job, with the price limit that is given or quoted.
    async fn job(
        &self,
        escrow: &Escrow,
        model: ModelRef,
        conversation: &Conversation,
    ) -> Result<SubmitJob> {
        let input = JobInput::Chat {
            messages: conversation.messages.clone(),
        };
        let parameters = self.sampling.parameters();
        let max_price = match self.max_price {
            Some(price) => price,
            None => {
                let asked = QuoteArgs {
                    model: model.clone(),
                    input: input.clone(),
                    parameters: parameters.clone(),
                    assurance: Some(self.sampling.assurance.into()),
                };
                quoted_price(escrow, asked, self.queue).await?
            }
        };
        Ok(SubmitJob {
            model,
            input,
            parameters,
            max_price,
            deadline: self.deadline.map(Seconds),
            if_unserved: Some(if self.queue {
                IfUnserved::Queue
            } else {
                IfUnserved::Refuse
            }),
            request_key: None,
            seed: self.seed,
            // Chosen here, so that nobody who has not seen the job can ever have known it.
            salt: Some(random_salt()),
            visibility: Some(if self.public {
                Visibility::Public
            } else {
                Visibility::Private
            }),
            assurance: Some(self.sampling.assurance.into()),
            payer: None,
            notify: None,
        })
    }

    /// Submits, shows what arrives, and cancels on Ctrl-C.
    async fn ask(
        &self,
        escrow: &Escrow,
        job: &SubmitJob,
        globals: &Globals,
    ) -> Result<(JobResult, SubmitReply)> {
        let reply = escrow.submit_job(job.clone()).await?;
        let live = output::is_terminal() && !globals.json;
        let mut text = PartialText::default();
        let mut broken = None;
        let waiting = escrow.wait_for(reply.job_id, Some(&reply.capability), |event| {
            let shown = match event {
                JobEvent::Preview(preview) => Some(&preview.text),
                JobEvent::Changed(job) => {
                    if job.state == Some(JobState::Auditing) && !self.quiet {
                        output::note(
                            "\n[validators recompute the answer; this may take some minutes]",
                        );
                    }
                    let output = job
                        .private
                        .as_ref()
                        .and_then(|private| private.output.as_ref());
                    output.map(|output| &output.text)
                }
                _ => None,
            };
            if let Some(shown) = shown
                && live
                && broken.is_none()
            {
                broken = text.show(shown).err();
            }
        });
        let result = tokio::select! {
            result = waiting => result.with_context(|| format!(
                "job {} goes on without us; `emc job result {} --wait` shows its answer", reply.job_id, reply.job_id
            ))?,
            _ = tokio::signal::ctrl_c() => return Err(cancel(escrow, reply.job_id).await),
        };
        if let Some(error) = broken {
            return Err(error);
        }
        if let Some(output) = &result.output
            && !globals.json
        {
            if live {
                text.show(&output.text)?;
                output::text("\n")?;
            } else {
                output::line(&output.text)?;
            }
        }
        Ok((result, reply))
    }

    /// Keeps the conversation and the receipt, where that is wanted.
    fn keep(
        &self,
        file: Option<PathBuf>,
        mut conversation: Conversation,
        result: &JobResult,
        receipt: Option<&ReceiptFile>,
    ) -> Result<()> {
        if let (Some(file), Some(output)) = (file, &result.output) {
            conversation.say(ChatRole::Assistant, &output.text);
            conversation.model = Some(result.job.model.id.clone());
            conversation.write(&file)?;
        }
        if let (Some(file), Some(receipt)) = (&self.receipt, receipt) {
            std::fs::write(file, receipt.to_json())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    fn summary(&self, result: &JobResult, took: Duration, report: Option<&Report>) {
        let usage = result.job.usage.unwrap_or_default();
        let charged = result.job.charged.unwrap_or_default();
        let receipt = match report {
            Some(report) if report.holds() => "receipt verified",
            Some(_) => "RECEIPT WRONG",
            None => "no receipt",
        };
        output::note(format_args!(
            "\n[job {} · {} · {} + {} tokens · {:.1} s · {charged} EMC, {} EMC back · {receipt}]",
            result.job.id,
            words::model(&result.job.model),
            usage.prompt_tokens,
            usage.output_tokens,
            took.as_secs_f64(),
            unspent(result),
        ));
    }
}

/// What came back of what was locked.
fn unspent(result: &JobResult) -> Tokens {
    let charged = result.job.charged.unwrap_or_default();
    result.job.locked.checked_sub(charged).unwrap_or_default()
}

/// After Ctrl-C: gives the job up. A second Ctrl-C ends the program at once.
pub(super) async fn cancel(escrow: &Escrow, job: u64) -> anyhow::Error {
    output::note("\ncancelling ...");
    let cancelling = async {
        escrow.cancel_job(job).await?;
        escrow.get_job(job, None).await
    };
    let outcome = tokio::select! {
        outcome = cancelling => outcome,
        _ = tokio::signal::ctrl_c() => return anyhow!("job {job} may still run; `emc job cancel {job}` gives it up"),
    };
    match outcome {
        Ok(job) => anyhow!(
            "job {} is cancelled; {} EMC were charged for what was done",
            job.id,
            job.charged.unwrap_or_default()
        ),
        Err(error) => anyhow::Error::from(error).context(format!(
            "job {job} could not be cancelled; see `emc job show {job}`"
        )),
    }
}

fn print_json(result: &JobResult, reply: &SubmitReply, report: Option<&Report>) -> Result<()> {
    let mut value = words::job_json(&result.job);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("capability".into(), json!(hex::encode(&reply.capability)));
        fields.insert("unspent".into(), words::emc(unspent(result)));
        fields.insert(
            "receipt".into(),
            json!(result.receipt.as_ref().map(ReceiptFile::new)),
        );
        let checks =
            report.map(|report| json!({ "holds": report.holds(), "checks": report.checks }));
        fields.insert("verified".into(), json!(checks));
    }
    output::json(&value)
}

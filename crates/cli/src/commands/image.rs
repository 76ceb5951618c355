//! `emc image`: asks a model for a picture, shows how far it is, pays, checks the receipt, and writes the PNG.

use super::chat::cancel;
use crate::picture_file::{self, PictureFile};
use crate::question::{Checked, only_model, prompt, quoted_price};
use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::{Context, Result, bail};
use clap::Args;
use emc_client::escrow::random_salt;
use emc_client::protocol::escrow::QuoteArgs;
use emc_client::protocol::image::{ImageInput, ImageOutput, ImageParameters};
use emc_client::protocol::job::{IfUnserved, JobState, SubmitJob, SubmitReply, Visibility};
use emc_client::protocol::model::Task;
use emc_client::protocol::{ByteBuf, JobInput, ModelRef, Parameters, Seconds, Tokens, canonical};
use emc_client::verify;
use emc_client::{Escrow, JobEvent, JobResult, ReceiptFile};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

const WHO_CAN_READ: &str = "Your prompt and the picture can be seen by every node that takes or audits the job and by the operators of the subnet; everybody else sees salted hashes.";
const WHO_CAN_READ_PUBLIC: &str = "Your prompt can be seen by every node that takes or audits the job and by the operators of the subnet; the picture by everybody (--public).";

/// Ask a model for a picture and pay for it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    emc image a red apple -o apple.png --size 64x64\n  \
    emc image 'a (red:1.3) fox in the snow' --negative blurry --steps 30 --seed 7\n  \
    emc image 'the same in winter' --init fox.png --strength 0.6 -o winter.png\n  \
    emc image 'a hat' --init fox.png --mask head.png    paints where the mask is white\n\n\
    What is not used of --max-price comes back. Interrupting (Ctrl-C) cancels the job; the steps that were done are paid.")]
pub struct Image {
    /// The model, or model@version [default: the only one for pictures]
    #[arg(long, short = 'm', env = "EMC_IMAGE_MODEL", value_name = "MODEL", value_parser = words::model_ref)]
    model: Option<ModelRef>,
    /// Where the picture goes
    #[arg(long, short = 'o', value_name = "FILE", default_value = "picture.png")]
    output: PathBuf,
    /// What is not to be seen
    #[arg(long, value_name = "TEXT", help_heading = "Picture")]
    negative: Option<String>,
    /// Width x height in pixels, multiples of 8 [default: that of --init, else 512x512]
    #[arg(long, value_name = "SIZE", value_parser = picture_file::size, help_heading = "Picture")]
    size: Option<(u32, u32)>,
    /// Steps from noise to picture
    #[arg(long, default_value_t = 25, help_heading = "Picture")]
    steps: u32,
    /// How closely the prompt is followed; 1 is without guidance
    #[arg(long, default_value = "7.5", value_name = "DECIMAL", value_parser = decimals::milli, help_heading = "Picture")]
    guidance: u32,
    /// Which steps: pndm, ddim, ddpm, euler, euler_a, dpmpp_2m, dpmpp_2m_karras, unipc, lcm ... [default: the model's own]
    #[arg(long, value_name = "NAME", help_heading = "Picture")]
    sampler: Option<String>,
    /// What the noise follows from: with the same seed, model and parameters the picture can be made again
    #[arg(long, help_heading = "Picture")]
    seed: Option<u64>,
    /// Layers of the text encoder that are left out at its end
    #[arg(long, value_name = "N", help_heading = "Picture")]
    clip_skip: Option<u32>,
    /// A PNG to begin with
    #[arg(long, value_name = "FILE", help_heading = "Picture")]
    init: Option<PathBuf>,
    /// How much of it is made anew, from 0 to 1
    #[arg(long, default_value = "0.75", value_name = "DECIMAL", value_parser = decimals::probability, requires = "init", help_heading = "Picture")]
    strength: u32,
    /// A PNG of the same size that is white where the picture is to be painted anew
    #[arg(long, value_name = "FILE", requires = "init", help_heading = "Picture")]
    mask: Option<PathBuf>,
    /// How strongly validators are to check the picture; what that costs is inside the price
    #[arg(long, value_enum, default_value = "none", help_heading = "Price")]
    assurance: Checked,
    /// The most the picture may cost, in EMC [default: what every live node could take it for]
    #[arg(long, value_name = "EMC", value_parser = decimals::amount, help_heading = "Price")]
    max_price: Option<Tokens>,
    /// How long it may take in all, in seconds; then the money comes back [default: 600]
    #[arg(long, value_name = "SECONDS")]
    deadline: Option<u64>,
    /// Wait for a node where none serves the model now
    #[arg(long)]
    queue: bool,
    /// Let everybody see the picture
    #[arg(long)]
    public: bool,
    /// While it is being made, write what there is of it to this file
    #[arg(long, value_name = "FILE")]
    preview: Option<PathBuf>,
    /// Save the receipt, with the prompt, for `emc verify`
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print the file's name alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// The prompt; standard input where there is none
    prompt: Vec<String>,
}

impl Image {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        let input = self.input()?;
        let session = Session::open_signed(globals).await?;
        if !self.quiet {
            output::note(match self.public {
                true => WHO_CAN_READ_PUBLIC,
                false => WHO_CAN_READ,
            });
        }
        let model = match &self.model {
            Some(model) => model.clone(),
            None => only_model(&session.registry(), Task::Image).await?,
        };
        let escrow = session.escrow();
        let job = self.job(&escrow, model, input).await?;
        let start = Instant::now();
        let (result, reply) = self.ask(&escrow, &job, globals).await?;
        let took = start.elapsed().as_secs_f64();
        let id = result.job.id;

        // The picture is there and paid for: nothing that goes wrong from here on may lose it.
        let picture = escrow.picture(id, Some(&reply.capability)).await;
        let picture = picture.with_context(|| {
            format!("the picture of job {id} is made; fetch it with `emc job result {id} -o FILE`")
        })?;
        let written = match &picture {
            Some(picture) => picture_file::write(&self.output, &picture.png),
            None => Ok(()),
        };
        let receipt = ReceiptFile::of_result(&result, Some(&job.input));
        let report = receipt
            .as_ref()
            .map(|file| verify::check_job(file, escrow.id(), id));
        if let (Some(file), Some(receipt)) = (&self.receipt, &receipt) {
            std::fs::write(file, receipt.to_json())
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        written?;
        let charged = result.job.charged.unwrap_or_default();
        if globals.json {
            let mut value = words::job_json(&result.job);
            if let Some(fields) = value.as_object_mut() {
                fields.insert("capability".into(), json!(hex::encode(&reply.capability)));
                fields.insert("file".into(), json!(picture.as_ref().map(|_| &self.output)));
                let holds = report.as_ref().map(|report| report.holds());
                fields.insert("verified".into(), json!(holds));
            }
            output::json(&value)?;
        }
        let Some(picture) = picture else {
            let reason = words::refund(result.job.refund_reason);
            bail!("job {id} was refunded: {reason}; {charged} EMC were charged");
        };
        if !globals.json {
            output::line(self.output.display())?;
        }
        if result.job.state == Some(JobState::Undecided) {
            bail!(
                "the validators did not decide on the picture of job {id}: half of the price came back"
            );
        }
        let report = report.with_context(|| format!("job {id} has no receipt"))?;
        if !report.holds() {
            bail!("the receipt does not hold:\n{report}");
        }
        if !is_what_was_signed(&result, &picture) {
            bail!("the picture of job {id} is not the one that its node has signed");
        }
        if !self.quiet && !globals.json {
            let parameters = &job.input.image().map(|input| &input.parameters);
            let steps = parameters.map_or(0, ImageParameters::steps_run);
            output::note(format_args!(
                "[job {id} · {} · {steps} steps · {took:.1} s · {charged} EMC · receipt verified]",
                words::model(&result.job.model),
            ));
        }
        Ok(())
    }

    fn input(&self) -> Result<ImageInput> {
        let read = |path: &Option<PathBuf>| path.as_ref().map(PictureFile::read).transpose();
        let (init, mask) = (read(&self.init)?, read(&self.mask)?);
        let size = self.size.or(init.as_ref().map(|init| init.size));
        let (width, height) = size.unwrap_or((512, 512));
        for (what, picture) in [("--init", &init), ("--mask", &mask)] {
            if let Some(picture) = picture.as_ref().filter(|p| p.size != (width, height)) {
                let (found, wanted) = (picture.size, (width, height));
                bail!(
                    "the picture of {what} has {}x{} pixels, {}x{} are asked for: make them equal",
                    found.0,
                    found.1,
                    wanted.0,
                    wanted.1
                );
            }
        }
        let bytes = |picture: Option<PictureFile>| picture.map(|p| ByteBuf::from(p.png));
        Ok(ImageInput {
            prompt: prompt(&self.prompt)?,
            negative: self.negative.clone(),
            parameters: ImageParameters {
                width,
                height,
                steps: self.steps,
                guidance_milli: self.guidance,
                sampler: self.sampler.clone(),
                clip_skip: self.clip_skip,
                strength_milli: init.is_some().then_some(self.strength),
            },
            init: bytes(init),
            mask: bytes(mask),
        })
    }

    /// The job, with the price limit that is given or quoted.
    async fn job(&self, escrow: &Escrow, model: ModelRef, input: ImageInput) -> Result<SubmitJob> {
        let (input, parameters) = (JobInput::Image(input), Parameters::unused());
        let max_price = match self.max_price {
            Some(price) => price,
            None => {
                let asked = QuoteArgs {
                    model: model.clone(),
                    input: input.clone(),
                    parameters: parameters.clone(),
                    assurance: Some(self.assurance.into()),
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
            if_unserved: Some(match self.queue {
                true => IfUnserved::Queue,
                false => IfUnserved::Refuse,
            }),
            request_key: None,
            seed: self.seed,
            salt: Some(random_salt()),
            visibility: Some(match self.public {
                true => Visibility::Public,
                false => Visibility::Private,
            }),
            assurance: Some(self.assurance.into()),
            payer: None,
            notify: None,
        })
    }

    /// Submits, shows how far it is, and cancels on Ctrl-C.
    async fn ask(
        &self,
        escrow: &Escrow,
        job: &SubmitJob,
        globals: &Globals,
    ) -> Result<(JobResult, SubmitReply)> {
        let reply = escrow.submit_job(job.clone()).await?;
        let steps = job.input.image().map_or(0, |i| i.parameters.steps_run());
        let bar = match output::is_terminal() && !globals.json && !self.quiet {
            true => ProgressBar::new(steps.into()),
            false => ProgressBar::hidden(),
        };
        bar.set_style(ProgressStyle::with_template(
            "{bar:40} step {pos} of {len}, {elapsed} {msg}",
        )?);
        let mut broken = None;
        let waiting = escrow.wait_for(reply.job_id, Some(&reply.capability), |event| match event {
            JobEvent::Preview(preview) => {
                let Some(image) = &preview.image else { return };
                bar.set_position(image.steps_done.into());
                if let (Some(file), Some(png)) = (&self.preview, &image.preview) {
                    broken = picture_file::write(file, png).err();
                }
            }
            JobEvent::Changed(job) if job.state == Some(JobState::Auditing) => {
                bar.set_message("validators make it again; this may take some minutes");
            }
            _ => {}
        });
        let result = tokio::select! {
            result = waiting => result.with_context(|| format!(
                "job {} goes on without us; `emc job show {}` says how it ends", reply.job_id, reply.job_id
            ))?,
            _ = tokio::signal::ctrl_c() => return Err(cancel(escrow, reply.job_id).await),
        };
        bar.finish_and_clear();
        match broken {
            Some(error) => Err(error),
            None => Ok((result, reply)),
        }
    }
}

/// True if the picture has the hash that its node has signed.
fn is_what_was_signed(result: &JobResult, picture: &ImageOutput) -> bool {
    let (Some(receipt), Some(private)) = (&result.receipt, &result.job.private) else {
        return false;
    };
    let hash = canonical::output_hash(&private.salt, &canonical::image_output_bytes(picture));
    hash.as_slice() == receipt.receipt.output_hash
}

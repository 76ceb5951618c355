//! The engine for language models: `emc-inference` behind the worker's trait.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use emc_inference::{
    Activations, ChatMessage, Claim, DType, Device, EngineFigures, EngineOptions, LoadOptions,
    Model, Probe, SamplingParams, SequenceId,
};
use emc_protocol::audit::{AuditTask, Vote};
use emc_protocol::job::ChatRole;
use emc_protocol::model::{ModelFile, model_root};
use emc_protocol::{FinishReason, JobInput, Parameters};

use super::{Engine, EngineError, Event, SequenceKey, Start};

/// How a model is loaded and run.
#[derive(Debug, Clone)]
pub struct LlmOptions {
    /// The model's file or folder.
    pub path: PathBuf,
    /// What computes.
    pub device: Device,
    /// In which format.
    pub dtype: DType,
    /// How exactly packed weights are multiplied on the processor.
    pub activations: Activations,
    /// Longest sequence in tokens; the model's own where absent.
    pub context: Option<u32>,
    /// Sequences at a time.
    pub sequences: usize,
}

impl LlmOptions {
    /// True for an NVIDIA GPU.
    pub fn is_on_gpu(&self) -> bool {
        matches!(self.device, Device::Cuda(_))
    }

    /// Looks whether the device is there.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check_device(&self) -> anyhow::Result<()> {
        let Device::Cuda(index) = self.device else {
            return Ok(());
        };
        let found = Device::cuda_count();
        anyhow::ensure!(
            index < found,
            "device {}: libtorch finds {found} NVIDIA GPUs; check nvidia-smi, and `cargo xtask setup --cuda`",
            self.device
        );
        Ok(())
    }

    /// What the settings say, completed by what the machine has.
    ///
    /// # Errors
    /// Where device or format are not known.
    pub fn of(model: &crate::config::Model) -> anyhow::Result<Self> {
        let device = match &model.device {
            Some(device) => device.parse()?,
            None if Device::cuda_count() > 0 => Device::Cuda(0),
            None => Device::Cpu,
        };
        let dtype = match (&model.dtype, device) {
            (Some(dtype), _) => dtype.parse()?,
            (None, Device::Cpu) => DType::F32,
            (None, Device::Cuda(_)) => DType::Bf16,
        };
        Ok(Self {
            path: model.path.clone().context("it has no path")?,
            device,
            dtype,
            activations: model.activations.unwrap_or_default(),
            context: model.context,
            sequences: model.concurrency as usize,
        })
    }
}

/// A language model at work.
pub struct Llm {
    engine: emc_inference::Engine,
    keys: BTreeMap<SequenceId, SequenceKey>,
}

impl Llm {
    /// Loads the model. Its files are read and hashed; the root of what was loaded, and its context, come with it.
    ///
    /// # Errors
    /// Where the files cannot be read or the model cannot be run here.
    pub fn load(options: &LlmOptions) -> Result<(Self, [u8; 32], u32), emc_inference::Error> {
        let load = LoadOptions {
            device: options.device,
            dtype: options.dtype,
            activations: options.activations,
            context: options.context.map(|context| context as usize),
        };
        let model = Model::load(&options.path, load)?;
        let info = model.info();
        let root = root_of(&info.root);
        let context = u32::try_from(info.context).unwrap_or(u32::MAX);
        // Room for every sequence at its longest: a job that was claimed must be able to run.
        let cache_bytes = (info.context as u64)
            .saturating_mul(info.cache_bytes_per_token)
            .saturating_mul(options.sequences as u64);
        let engine = emc_inference::Engine::new(
            model,
            EngineOptions {
                max_sequences: options.sequences,
                cache_bytes,
                ..EngineOptions::default()
            },
        )?;
        let keys = BTreeMap::new();
        Ok((Self { engine, keys }, root, context))
    }
}

/// The root by which the catalogue knows files.
pub fn root_of(files: &emc_inference::ModelRoot) -> [u8; 32] {
    let files: Vec<ModelFile> = files
        .files
        .iter()
        .map(|file| ModelFile {
            path: file.path.clone(),
            length: file.length,
            sha256: file.sha256.to_vec(),
        })
        .collect();
    model_root(&files)
}

/// The worker's parameters in the engine's terms. Decimals are thousandths on the wire.
fn sampling(parameters: &Parameters, seed: u64) -> SamplingParams {
    let thousandths = |milli: u32| f64::from(milli) / 1000.0;
    SamplingParams {
        temperature: thousandths(parameters.temperature_milli),
        top_k: parameters.top_k,
        top_p: thousandths(parameters.top_p_milli),
        min_p: thousandths(parameters.min_p_milli),
        seed,
        max_tokens: parameters.max_tokens,
        // The worker looks for stop strings itself: it must hold back what may become one.
        stop: vec![],
        ..SamplingParams::default()
    }
}

fn refusal(error: emc_inference::Error) -> EngineError {
    match error {
        emc_inference::Error::Busy(why) => EngineError::Busy(why),
        other => EngineError::Unsuitable(other.to_string()),
    }
}

/// Why a check was not made. What the machine failed at may go better another time; what it was asked will not.
fn unchecked(error: emc_inference::Error) -> EngineError {
    match error {
        emc_inference::Error::Libtorch(_) | emc_inference::Error::Device(_) => {
            EngineError::Broken(error.to_string())
        }
        other => refusal(other),
    }
}

fn reason_of(reason: FinishReason) -> emc_inference::FinishReason {
    match reason {
        FinishReason::Stop => emc_inference::FinishReason::Stop,
        FinishReason::Length => emc_inference::FinishReason::Length,
        FinishReason::StopString => emc_inference::FinishReason::StopString,
    }
}

impl Engine for Llm {
    fn prompt(&mut self, input: &JobInput) -> Result<Vec<u32>, EngineError> {
        let model = self.engine.model();
        let rendered = match input {
            JobInput::Completion { prompt } => prompt.clone(),
            JobInput::Chat { messages } => {
                let role = |role| match role {
                    ChatRole::System => "system",
                    ChatRole::User => "user",
                    ChatRole::Assistant => "assistant",
                };
                let messages: Vec<ChatMessage> = messages
                    .iter()
                    .map(|message| ChatMessage::new(role(message.role), message.content.clone()))
                    .collect();
                model.render_chat(&messages).map_err(refusal)?
            }
            JobInput::Image(_) => {
                return Err(EngineError::Unsuitable(
                    "this model makes no pictures".into(),
                ));
            }
        };
        model.encode(&rendered).map_err(refusal)
    }

    fn start(&mut self, key: SequenceKey, start: &Start) -> Result<(), EngineError> {
        let sequence = self
            .engine
            .start(
                start.prompt.clone(),
                sampling(&start.parameters, start.seed),
            )
            .map_err(refusal)?;
        self.keys.insert(sequence, key);
        Ok(())
    }

    fn step(&mut self) -> Result<Vec<(SequenceKey, Event)>, EngineError> {
        let mut events = vec![];
        for event in self.engine.step() {
            let (sequence, event, ended) = match event {
                emc_inference::Event::Token {
                    sequence, id, text, ..
                } => (sequence, Event::Token { id, text }, false),
                emc_inference::Event::Finished { sequence, answer } => {
                    let reason = match answer.reason {
                        emc_inference::FinishReason::Stop => FinishReason::Stop,
                        emc_inference::FinishReason::Length => FinishReason::Length,
                        emc_inference::FinishReason::StopString => FinishReason::StopString,
                    };
                    (sequence, Event::Finished(reason), true)
                }
                emc_inference::Event::Failed { sequence, error } => {
                    (sequence, Event::Failed(error.to_string()), true)
                }
                _ => continue,
            };
            let Some(&key) = self.keys.get(&sequence) else {
                continue;
            };
            if ended {
                self.keys.remove(&sequence);
            }
            events.push((key, event));
        }
        Ok(events)
    }

    fn verify(&mut self, task: &AuditTask, prompt: &[u32]) -> Result<Vote, EngineError> {
        let params = SamplingParams {
            stop: task.parameters.stop.clone(),
            ..sampling(&task.parameters, task.seed)
        };
        let claim = Claim {
            prompt,
            ids: &task.output.ids,
            reason: reason_of(task.output.finish_reason),
            text: &task.output.text,
            params: &params,
            context: task.context as usize,
        };
        let probes = task.probes.iter().map(|probe| Probe {
            position: probe.position,
            decoy: probe.decoy,
        });
        let probes: Vec<Probe> = probes.collect();
        let levels = task.terms.levels.iter().map(|level| level.above_milli);
        let levels: Vec<u32> = levels.collect();
        let model = self.engine.model();
        let found = model.verify(&claim, &probes, &levels).map_err(unchecked)?;
        Ok(Vote {
            positions: found.positions,
            matches: found.matches,
            largest_gap_milli: found.largest_gap_milli,
            mean_gap_milli: found.mean_gap_milli,
            above: found.above,
            prompt_tokens: found.prompt_tokens,
            ends_right: found.ends_right,
            text_right: found.text_right,
            differences: found.differences,
        })
    }

    fn cancel(&mut self, key: SequenceKey) {
        let sequences = self.keys.iter().filter(|(_, k)| **k == key);
        for sequence in sequences.map(|(s, _)| *s).collect::<Vec<_>>() {
            self.keys.remove(&sequence);
            self.engine.cancel(sequence);
        }
    }

    fn figures(&self) -> EngineFigures {
        self.engine.figures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::thread::EngineHandle;
    use crate::metrics::Metrics;
    use std::sync::Arc;
    use std::time::Duration;

    /// A tiny model with random weights, as it is downloaded.
    fn tiny() -> LlmOptions {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("inference/tests/data/text");
        LlmOptions {
            path: data.join("models/llama3"),
            device: Device::Cpu,
            dtype: DType::F32,
            activations: Activations::Exact,
            context: None,
            sequences: 2,
        }
    }

    #[tokio::test]
    async fn what_a_real_model_does_is_in_the_metrics() {
        let metrics = Arc::new(Metrics::default());
        let factory = || {
            let loaded = Llm::load(&tiny()).map_err(|error| EngineError::Broken(error.to_string()));
            loaded.map(|(llm, ..)| Box::new(llm) as Box<dyn Engine>)
        };
        let engine = EngineHandle::spawn("tiny:1", Box::new(factory), metrics.clone()).await;
        let engine = engine.expect("loads");
        let input = JobInput::Completion {
            prompt: "the wind and the sun disputed which was the stronger ".repeat(3),
        };
        let prompt = engine.prompt(input.clone()).await.expect("encodes");
        let mut made = 0;
        // Three jobs for two places, all with the same prompt: one waits in line.
        let jobs = (0..3).map(|seed| {
            engine.start(Start {
                input: input.clone(),
                prompt: prompt.clone(),
                parameters: Parameters::greedy(12),
                seed,
            })
        });
        for mut job in jobs.collect::<Vec<_>>() {
            made += job.finished().await.expect("answers").ids.len() as u64;
        }
        while engine.gauge().read().figures.in_flight > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let [(name, reading)] = metrics.engines().try_into().expect("one engine");
        let figures = reading.figures;
        assert_eq!((name.as_str(), reading.waiting), ("tiny:1", 0));
        assert_eq!(figures.chosen_tokens, made);
        // The first reads all of the prompt; what others know of it already they do not read.
        assert_eq!(
            figures.read_tokens + figures.known_tokens,
            3 * prompt.len() as u64
        );
        assert!(
            figures.prefix_hits >= 1 && figures.known_tokens >= 16,
            "{figures:?}"
        );
        assert!(figures.cache_pages > 0 && figures.cache_pages_used == 0);
        assert!(reading.decode_per_second > 0.0 && reading.prefill_per_second > 0.0);
        let text = metrics.render();
        let line = format!(
            "emc_worker_engine_prefill_tokens_total{{model=\"tiny:1\"}} {}",
            figures.read_tokens
        );
        assert!(
            text.lines().any(|shown| shown == line),
            "{line} is not in\n{text}"
        );
    }

    #[test]
    fn thousandths_become_the_numbers_they_stand_for() {
        let parameters = Parameters {
            max_tokens: 40,
            temperature_milli: 700,
            top_k: 50,
            top_p_milli: 950,
            min_p_milli: 25,
            stop: vec!["x".into()],
        };
        let params = sampling(&parameters, 9);
        assert_eq!(
            (
                params.temperature,
                params.top_p,
                params.min_p,
                params.top_k,
                params.seed
            ),
            (0.7, 0.95, 0.025, 50, 9)
        );
        let greedy = sampling(&Parameters::greedy(1), 0);
        assert_eq!(
            (greedy.temperature, greedy.top_p, greedy.min_p),
            (0.0, 1.0, 0.0)
        );
        params.validate().expect("in range");
    }
}

//! The settings file that `init` writes: every key with what it means.

use std::path::PathBuf;

use candid::Principal;
use emc_protocol::Role;

use crate::config::{Kind, role_name};

/// What is known when the file is written.
#[derive(Debug, Clone)]
pub struct Given {
    /// Which network.
    pub network: GivenNetwork,
    /// Who is paid.
    pub owner: Option<Principal>,
    /// What the node does.
    pub roles: Vec<Role>,
    /// What is served; an example in comments where empty.
    pub models: Vec<GivenModel>,
}

/// Which network.
#[derive(Debug, Clone)]
pub enum GivenNetwork {
    /// A file that says it.
    File(PathBuf),
    /// URL and ids.
    Ids {
        /// `local`, `ic`, or a URL.
        url: String,
        /// The registry.
        registry: Principal,
        /// The escrow.
        escrow: Principal,
    },
}

/// A model to serve.
#[derive(Debug, Clone)]
pub struct GivenModel {
    /// The id in the catalogue.
    pub id: String,
    /// What runs it.
    pub kind: Kind,
    /// The file or folder; none for the echo engine.
    pub path: Option<PathBuf>,
    /// EMC per million prompt tokens.
    pub price_prompt: String,
    /// EMC per million output tokens.
    pub price_output: String,
    /// EMC per million pixels times steps, for pictures.
    pub price_pixel_steps: String,
    /// Jobs at a time.
    pub concurrency: Option<u32>,
}

impl GivenModel {
    /// A language model with the usual price.
    pub fn llm(id: &str, path: impl Into<PathBuf>) -> Self {
        Self {
            id: id.into(),
            kind: Kind::Llm,
            path: Some(path.into()),
            price_prompt: "1".into(),
            price_output: "4".into(),
            price_pixel_steps: "1".into(),
            concurrency: None,
        }
    }

    /// The echo engine.
    pub fn echo() -> Self {
        Self {
            kind: Kind::Echo,
            path: None,
            ..Self::llm(crate::engine::echo::MODEL_ID, "")
        }
    }
}

/// The text of the file.
pub fn render(given: &Given) -> String {
    let mut out = String::from(
        "# The settings of an EMC worker. `emc-worker check` says whether they are complete and right.\n\
         # Paths are relative to this file's folder.\n\n[network]\n",
    );
    match &given.network {
        GivenNetwork::File(file) => {
            out.push_str(
                "# A JSON file with url, registry and escrow, as deploying the canisters writes it. Instead of it, give\n\
                 # url (\"local\", \"ic\" or http://...), registry and escrow here.\n",
            );
            out.push_str(&format!("file = {}\n", quoted(&file.to_string_lossy())));
        }
        GivenNetwork::Ids {
            url,
            registry,
            escrow,
        } => {
            out.push_str(
                "# \"local\", \"ic\", or a URL; and the two canisters. Instead of these, file = \"network.json\" names a JSON\n\
                 # file with url, registry and escrow.\n",
            );
            out.push_str(&format!(
                "url = {}\nregistry = \"{registry}\"\nescrow = \"{escrow}\"\n",
                quoted(url)
            ));
        }
    }
    out.push_str(
        "\n[node]\n\
         # The node's private key. It signs calls and receipts; keep a copy in a safe place.\n\
         identity = \"identity.pem\"\n\
         # Who is paid and who stakes: the principal of `emc identity show`. Fixed when the node registers.\n\
         # Without it the node is its own owner.\n",
    );
    match given.owner {
        Some(owner) => out.push_str(&format!("owner = \"{owner}\"\n")),
        None => out.push_str("# owner = \"aaaaa-bbbbb-...\"\n"),
    }
    let roles = given.roles.iter().map(|role| quoted(role_name(*role)));
    let roles: Vec<String> = roles.collect();
    out.push_str(&format!(
        "# What the node does. \"compute\": it takes jobs. \"validator\": it recomputes other nodes' results, as it is drawn\n\
         # for it, and votes on them; each vote is paid, and a vote that is missing or wrong costs stake. Both share the\n\
         # models below. A node that only validates takes no jobs; its [[model]] entries say what it can check.\n\
         roles = [{}]\n",
        roles.join(", ")
    ));
    out.push_str(
        "# The folder for the journal, on a disk that survives a restart. One worker at a time uses it.\n\
         data_dir = \"data\"\n\
         \n[work]\n\
         # How often to ask for work while there is none, in milliseconds. Asking is free.\n\
         poll_interval_ms = 250\n\
         # How often a validator asks for audits, in milliseconds. Asking is free; an audit has minutes.\n\
         audit_interval_ms = 2000\n\
         # How often to show requesters a part of a long answer, in milliseconds; the escrow takes one every 2 seconds.\n\
         preview_interval_ms = 2200\n\
         # How often to tell the registry that this node is there, in seconds. After 15 minutes it counts as gone.\n\
         heartbeat_seconds = 240\n\
         # A prompt may turn out longer than the escrow estimated. A job that could not pay this part of your price\n\
         # at its full length, in percent, is declined.\n\
         least_paid_percent = 75\n\
         \n[metrics]\n\
         # Where /metrics (Prometheus) and /healthz are served; \"\" for nowhere. `emc-worker status` asks there.\n\
         address = \"127.0.0.1:9464\"\n\
         \n\
         # What this node serves; one [[model]] for each, at most 64.\n\
         #   id           the model's id in the registry's catalogue (`emc model list`)\n\
         #   version      its version: a number, or \"latest\" for the newest at each start\n\
         #   kind         \"llm\", or \"echo\": an engine without a model that answers with the words of the question,\n\
         #                to try out a network; or \"image\": Stable Diffusion, a folder or a safetensors file\n\
         #   path         its file or folder; every file must be the catalogue's, byte for byte\n\
         #   price        what you ask, in EMC per million tokens; for kind = \"image\" { pixel_steps = ... }, per million\n\
         #                pixels times steps\n\
         #   concurrency  how many jobs are worked on at a time\n\
         #   context      longest prompt and answer together, in tokens; the model's own where absent\n\
         #   device       \"auto\", \"cpu\", \"cuda\" or \"cuda:1\"\n\
         #   dtype        \"auto\" (f32 on the processor, bf16 on a GPU), \"f32\", \"bf16\", or \"f16\" on a GPU\n\
         #   activations  how exactly weights that are packed (GGUF) or in bf16 are multiplied on a processor: 16 (as\n\
         #                good as exact, the usual), \"exact\" (slower), or 8 (prompts are read faster, answers part from other machines')\n\
         #   delay_ms     for kind = \"echo\": the time each token takes\n",
    );
    if given.models.is_empty() {
        let example = model(&GivenModel::llm(
            "smollm2-135m-instruct",
            "models/SmolLM2-135M-Instruct.Q4_1.gguf",
        ));
        for line in example.lines() {
            out.push_str(format!("# {line}").trim_end());
            out.push('\n');
        }
    }
    for given in &given.models {
        out.push_str(&model(given));
    }
    out
}

/// The lines of one model.
pub fn model(given: &GivenModel) -> String {
    let kind = match given.kind {
        Kind::Llm => "llm",
        Kind::Echo => "echo",
        Kind::Image => "image",
    };
    let mut out = format!(
        "\n[[model]]\nid = {}\nversion = \"latest\"\nkind = \"{kind}\"\n",
        quoted(&given.id)
    );
    if let Some(path) = &given.path {
        out.push_str(&format!("path = {}\n", quoted(&path.to_string_lossy())));
    }
    let price = match given.kind {
        Kind::Image => format!("pixel_steps = {}", quoted(&given.price_pixel_steps)),
        Kind::Llm | Kind::Echo => format!(
            "prompt = {}, output = {}",
            quoted(&given.price_prompt),
            quoted(&given.price_output)
        ),
    };
    let concurrency = given.concurrency.unwrap_or(4);
    out.push_str(&format!(
        "price = {{ {price} }}\nconcurrency = {concurrency}\n"
    ));
    if given.path.is_some() {
        out.push_str("device = \"auto\"\ndtype = \"auto\"\n");
    }
    out
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

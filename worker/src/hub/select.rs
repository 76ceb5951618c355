//! Which files of a repository a worker needs: one GGUF file, or weights in safetensors with what describes them.
//!
//! The root of a model covers all of its files, so the choice is by fixed rules: whoever downloads the same commit gets
//! the same root. Pickled weights can run code where they are read, and are never chosen.

use emc_protocol::model::ModelFile;

use super::{Digest, HubError, RemoteFile};
use crate::config::Kind;
use crate::progress::size;

/// Endings of weights that are pickles, or archives of such.
const PICKLES: [&str; 7] = [
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack",
];
/// Parts of a pipeline of pictures.
const PARTS: [&str; 8] = [
    "scheduler",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
    "unet",
    "vae",
    "preview",
];
/// Files beside JSON of which tokenizers consist, and templates.
const TEXTS: [&str; 5] = [
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "chat_template.jinja",
];

/// What is to be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// What runs it.
    pub kind: Kind,
    /// True where the model is one file, not a folder.
    pub is_single: bool,
    /// The files, by path.
    pub files: Vec<RemoteFile>,
}

impl Selection {
    /// Where a file of it lies below the model's folder. A single file lies there without the folders that it has on
    /// the hub: its root knows only its name.
    pub fn place<'a>(&self, file: &'a RemoteFile) -> &'a str {
        match self.is_single {
            true => file.name(),
            false => &file.path,
        }
    }

    /// The length of all files.
    pub fn length(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.length)
            .fold(0, u64::saturating_add)
    }
}

/// Chooses. `wanted` is a file's name, or a part of it that only one GGUF file has, such as `Q4_K_M`.
///
/// # Errors
/// Where there is nothing that a worker can run, or more than one such thing; what to do is in the message.
pub fn select(files: &[RemoteFile], wanted: Option<&str>) -> Result<Selection, HubError> {
    let has = |path: &str| files.iter().any(|file| file.path == path);
    let ggufs: Vec<&RemoteFile> = files
        .iter()
        .filter(|file| ends(&file.path, ".gguf"))
        .collect();
    match wanted {
        Some(wanted) => named(files, &ggufs, wanted),
        None if has("model_index.json") => pipeline(files),
        None if has("config.json") && !weights(files, "", "model").is_empty() => folder(files),
        None => match ggufs.as_slice() {
            [] => Err(nothing(files)),
            [file] => single(Kind::Llm, file),
            several => Err(unsuitable(format!(
                "the repository has {} GGUF files; choose one with --file:\n{}",
                several.len(),
                listed(several)
            ))),
        },
    }
}

/// Takes exactly the files that the catalogue names for a model, wherever the repository has a single one.
///
/// # Errors
/// Where one of them is not there, or is another.
pub fn exactly(files: &[RemoteFile], catalogue: &[ModelFile]) -> Result<Selection, HubError> {
    let is_single = matches!(catalogue, [file] if !file.path.contains('/'));
    let mut chosen = vec![];
    for wanted in catalogue {
        let mut found = files.iter().filter(|file| match is_single {
            true => file.name() == wanted.path,
            false => file.path == wanted.path,
        });
        let differs = |file: &RemoteFile| match file.digest {
            Digest::Sha256(hash) => hash != *wanted.sha256 || file.length != wanted.length,
            Digest::GitBlob(_) => file.length != wanted.length,
        };
        match found.next() {
            None => {
                return Err(unsuitable(format!(
                    "the catalogue's model has a file {}, the repository has none: is it this model and revision?",
                    wanted.path
                )));
            }
            Some(file) if differs(file) => {
                return Err(unsuitable(format!(
                    "{} is not the catalogue's file at this revision: give the one from which it was published with \
                     --revision",
                    wanted.path
                )));
            }
            Some(file) => chosen.push(file.clone()),
        }
    }
    let has = |path: &str| catalogue.iter().any(|file| file.path == path);
    let is_picture = has("model_index.json")
        || (is_single && !chosen.iter().any(|file| ends(&file.path, ".gguf")));
    Ok(Selection {
        kind: if is_picture { Kind::Image } else { Kind::Llm },
        is_single,
        files: chosen,
    })
}

fn named(files: &[RemoteFile], ggufs: &[&RemoteFile], wanted: &str) -> Result<Selection, HubError> {
    if is_pickle(wanted) {
        return Err(unsuitable(format!(
            "{wanted} is a pickle, which can run code where it is read: choose safetensors or GGUF"
        )));
    }
    let same = |file: &&RemoteFile| file.path == wanted || file.name().eq_ignore_ascii_case(wanted);
    if ends(wanted, ".safetensors") {
        let is_folder = files.iter().any(|file| file.path == "config.json");
        return match files.iter().find(same) {
            Some(_) if is_folder => Err(unsuitable(format!(
                "{wanted} is a part of a model in a folder: leave --file out to get all of it"
            ))),
            Some(file) => single(Kind::Image, file),
            None => Err(unsuitable(format!("the repository has no {wanted}"))),
        };
    }
    let exact: Vec<&&RemoteFile> = ggufs.iter().filter(|file| same(file)).collect();
    if let [file] = exact.as_slice() {
        return single(Kind::Llm, file);
    }
    let lower = wanted.to_lowercase();
    let holds = ggufs
        .iter()
        .filter(|file| file.path.to_lowercase().contains(&lower));
    match holds.copied().collect::<Vec<_>>().as_slice() {
        [file] => single(Kind::Llm, file),
        [] => Err(unsuitable(match ggufs {
            [] => format!("the repository has no file {wanted}, and no GGUF file at all"),
            ggufs => format!(
                "no GGUF file is named like {wanted}; there are:\n{}",
                listed(ggufs)
            ),
        })),
        several => Err(unsuitable(format!(
            "{} GGUF files are named like {wanted}; choose one of them with --file:\n{}",
            several.len(),
            listed(several)
        ))),
    }
}

fn single(kind: Kind, file: &RemoteFile) -> Result<Selection, HubError> {
    // ...-00001-of-00003.gguf
    let stem = file
        .name()
        .rsplit_once('.')
        .map_or(file.name(), |(stem, _)| stem);
    let parts = stem.rsplit_once("-of-").filter(|(before, count)| {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(count)
            && before
                .rsplit_once('-')
                .is_some_and(|(_, number)| digits(number))
    });
    if parts.is_some() {
        return Err(unsuitable(format!(
            "{} is one of several parts, which are not read: choose a file that is whole, or join them with llama.cpp's \
             gguf-split",
            file.name()
        )));
    }
    Ok(Selection {
        kind,
        is_single: true,
        files: vec![file.clone()],
    })
}

/// A language model's folder, or an encoder's.
fn folder(files: &[RemoteFile]) -> Result<Selection, HubError> {
    if !files.iter().any(|file| file.path == "tokenizer.json") {
        return Err(unsuitable(
            "the repository has no tokenizer.json, without which the model is not read; look for a newer version of it, \
             or a GGUF file"
                .into(),
        ));
    }
    let mut chosen = weights(files, "", "model");
    chosen.extend(files.iter().filter(|file| {
        let is_pooling = file.folder().ends_with("_Pooling") && file.name() == "config.json";
        (file.folder().is_empty() && is_text(file)) || is_pooling
    }));
    Ok(sorted(Kind::Llm, chosen))
}

/// A diffusers folder.
fn pipeline(files: &[RemoteFile]) -> Result<Selection, HubError> {
    let mut chosen: Vec<&RemoteFile> = vec![];
    for part in PARTS {
        chosen.extend(weights(files, part, "model"));
        chosen.extend(weights(files, part, "diffusion_pytorch_model"));
    }
    if chosen.is_empty() {
        return Err(nothing(files));
    }
    chosen.extend(files.iter().filter(|file| {
        file.path == "model_index.json" || (PARTS.contains(&file.folder()) && is_text(file))
    }));
    Ok(sorted(Kind::Image, chosen))
}

/// The weights called `name` in a folder: one file, or its parts and their index; in full precision where it is there.
fn weights<'a>(files: &'a [RemoteFile], folder: &str, name: &str) -> Vec<&'a RemoteFile> {
    let inside = || files.iter().filter(|file| file.folder() == folder);
    for variant in ["", ".fp16"] {
        let whole = format!("{name}{variant}.safetensors");
        if let Some(file) = inside().find(|file| file.name() == whole) {
            return vec![file];
        }
        let index = format!("{name}.safetensors.index{variant}.json");
        let first = format!("{name}{variant}-");
        let is_part = |file: &&RemoteFile| {
            file.name() == index
                || (file.name().starts_with(&first) && ends(file.name(), ".safetensors"))
        };
        if inside().any(|file| file.name() == index) {
            return inside().filter(is_part).collect();
        }
    }
    vec![]
}

fn sorted(kind: Kind, mut files: Vec<&RemoteFile>) -> Selection {
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Selection {
        kind,
        is_single: false,
        files: files.into_iter().cloned().collect(),
    }
}

fn nothing(files: &[RemoteFile]) -> HubError {
    let pickle = files.iter().find(|file| is_pickle(&file.path));
    unsuitable(match pickle {
        Some(file) => format!(
            "the repository has its weights only as pickles ({}), which can run code where they are read: look for the \
             model in safetensors or GGUF; the hub's converter puts safetensors into a revision such as refs/pr/1",
            file.path
        ),
        None => {
            "the repository has neither a GGUF file nor config.json with model.safetensors".into()
        }
    })
}

fn listed(files: &[&RemoteFile]) -> String {
    let lines = files
        .iter()
        .map(|file| format!("  {}  {}", file.path, size(file.length)));
    lines.collect::<Vec<_>>().join("\n")
}

/// True for what describes a model or its tokenizer. Roots leave out what begins with a dot.
fn is_text(file: &RemoteFile) -> bool {
    let is_json = ends(file.name(), ".json") && !is_index(file) && !file.name().starts_with('.');
    is_json || TEXTS.contains(&file.name())
}

/// Indexes of weights are chosen with their weights.
fn is_index(file: &RemoteFile) -> bool {
    file.name().contains(".index.") || file.name().ends_with(".index.json")
}

fn is_pickle(path: &str) -> bool {
    PICKLES.iter().any(|ending| ends(path, ending))
}

fn ends(path: &str, ending: &str) -> bool {
    path.len() >= ending.len()
        && path.is_char_boundary(path.len() - ending.len())
        && path[path.len() - ending.len()..].eq_ignore_ascii_case(ending)
}

fn unsuitable(why: String) -> HubError {
    HubError::Unsuitable(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(paths: &[&str]) -> Vec<RemoteFile> {
        let file = |path: &&str| RemoteFile {
            path: (*path).to_owned(),
            length: 10,
            digest: Digest::Sha256([1; 32]),
        };
        paths.iter().map(file).collect()
    }

    fn chosen(paths: &[&str], wanted: Option<&str>) -> Vec<String> {
        let selection = select(&files(paths), wanted).unwrap_or_else(|error| panic!("{error}"));
        selection.files.into_iter().map(|file| file.path).collect()
    }

    fn refused(paths: &[&str], wanted: Option<&str>) -> String {
        select(&files(paths), wanted)
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn of_a_folder_only_what_is_read_comes() {
        let paths = [
            ".gitattributes",
            ".cache.json",
            "README.md",
            "config.json",
            "generation_config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "onnx/model.onnx",
            "onnx/config.json",
            "tokenizer.json",
            "merges.txt",
            "notes.txt",
        ];
        assert_eq!(
            chosen(&paths, None),
            [
                "config.json",
                "generation_config.json",
                "merges.txt",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
                "model.safetensors.index.json",
                "tokenizer.json",
            ]
        );
        let encoder = [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "1_Pooling/config.json",
            "modules.json",
            "rust_model.ot",
        ];
        assert_eq!(chosen(&encoder, None).len(), 5);
        let error = refused(&["config.json", "model.safetensors"], None);
        assert!(error.contains("tokenizer.json"), "{error}");
    }

    #[test]
    fn of_a_pipeline_full_precision_comes_once() {
        let paths = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.fp16.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "safety_checker/config.json",
            "safety_checker/model.safetensors",
            "v1-5-pruned.safetensors",
        ];
        let selection = select(&files(&paths), None).expect("selects");
        assert_eq!((selection.kind, selection.is_single), (Kind::Image, false));
        assert_eq!(
            chosen(&paths, None),
            [
                "model_index.json",
                "scheduler/scheduler_config.json",
                "text_encoder/config.json",
                "text_encoder/model.fp16.safetensors",
                "tokenizer/merges.txt",
                "tokenizer/vocab.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
            ]
        );
        let whole = select(&files(&paths), Some("v1-5-pruned.safetensors")).expect("selects");
        assert_eq!((whole.kind, whole.is_single), (Kind::Image, true));
    }

    #[test]
    fn one_gguf_file_is_chosen_by_its_name_or_packing() {
        let paths = [
            "a.Q4_K_M.gguf",
            "a.Q8_0.gguf",
            "big/a.BF16.gguf",
            "README.md",
        ];
        for (wanted, path) in [
            ("q8_0", "a.Q8_0.gguf"),
            ("a.q4_k_m.GGUF", "a.Q4_K_M.gguf"),
            ("big/a.BF16.gguf", "big/a.BF16.gguf"),
        ] {
            assert_eq!(chosen(&paths, Some(wanted)), [path]);
        }
        let selection = select(&files(&paths), Some("bf16")).expect("selects");
        assert_eq!(selection.place(&selection.files[0]), "a.BF16.gguf");
        assert_eq!(chosen(&paths[..1], None), ["a.Q4_K_M.gguf"]);
        let error = refused(&paths, None);
        assert!(
            error.contains("3 GGUF files") && error.contains("a.Q8_0.gguf  10 B"),
            "{error}"
        );
        assert!(refused(&paths, Some("Q")).contains("2 GGUF files are named like"));
        assert!(refused(&paths, Some("Q5")).contains("there are:"));
        let parts = refused(&["a-00001-of-00002.gguf"], None);
        assert!(parts.contains("several parts"), "{parts}");
    }

    #[test]
    fn pickles_are_refused() {
        for (paths, wanted) in [
            (
                &["config.json", "tokenizer.json", "pytorch_model.bin"][..],
                None,
            ),
            (
                &["model_index.json", "unet/diffusion_pytorch_model.bin"],
                None,
            ),
            (&["model.ckpt"], Some("model.ckpt")),
        ] {
            let error = refused(paths, wanted);
            assert!(error.contains("can run code"), "{error}");
        }
        assert!(refused(&["README.md"], None).contains("neither"));
    }

    #[test]
    fn the_catalogue_s_files_are_taken_as_it_names_them() {
        let file = |path: &str, byte, length| ModelFile {
            path: path.into(),
            length,
            sha256: vec![byte; 32],
        };
        let remote = files(&["sub/a.gguf", "b.gguf", "README.md", "config.json"]);
        let single = exactly(&remote, &[file("a.gguf", 1, 10)]).expect("takes");
        assert_eq!(
            (single.is_single, single.files[0].path.as_str()),
            (true, "sub/a.gguf")
        );
        let several = [file("README.md", 1, 10), file("config.json", 1, 10)];
        assert_eq!(exactly(&remote, &several).expect("takes").files.len(), 2);
        for (wanted, says) in [
            (file("a.gguf", 2, 10), "--revision"),
            (file("a.gguf", 1, 11), "--revision"),
            (file("c.gguf", 1, 10), "has none"),
        ] {
            let error = exactly(&remote, &[wanted])
                .expect_err("refused")
                .to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}

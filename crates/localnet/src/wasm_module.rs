//! A canister's Wasm module: unpacked, checked, and rewritten so that the network can reach what it must: table 0
//! (callbacks), the mutable globals (they are state) and the start function (it runs once, at installation).

use crate::memory::HeapCreator;
use crate::system_api::{self, Host};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock};
use wasm_encoder::{ExportKind, ExportSection, RawSection};
use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
use wasmtime::{Engine, InstancePre, Linker, Module};

/// The most a module may take unpacked.
const MAX_MODULE_BYTES: u64 = 100 << 20;
/// Names under which the rewrite exports what a canister's author did not.
pub const TABLE: &str = "__localnet_table";
/// Memory 0, see [`TABLE`].
pub const MEMORY: &str = "__localnet_memory";
/// The start function, see [`TABLE`].
pub const START: &str = "__localnet_start";
const GLOBAL: &str = "__localnet_global_";

/// A custom section that `read_state` shows.
#[derive(Clone, Debug)]
pub struct Metadata {
    /// Whether everybody may read it, not just controllers.
    pub public: bool,
    /// The section's content.
    pub content: Vec<u8>,
}

/// A module ready to be instantiated.
pub struct CanisterModule {
    /// SHA-256 of what was installed (before unpacking), which is what the Internet Computer shows.
    pub hash: [u8; 32],
    /// Bytes of what was installed.
    pub size: usize,
    /// Names of exported functions.
    pub exports: BTreeSet<String>,
    /// The `icp:public` and `icp:private` sections by name.
    pub metadata: BTreeMap<String, Metadata>,
    /// Exported names of the mutable number globals.
    pub globals: Vec<String>,
    /// Wasmtime's compiled form, its imports resolved.
    pub ready: InstancePre<Host>,
}

impl std::fmt::Debug for CanisterModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CanisterModule")
            .field("hash", &hex::encode(self.hash))
            .finish_non_exhaustive()
    }
}

struct Runtime {
    engine: Engine,
    linker: Linker<Host>,
}

/// One engine for all networks of the process, so that a module is compiled once.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut config = wasmtime::Config::new();
        config
            .consume_fuel(true)
            .with_host_memory(Arc::new(HeapCreator))
            .memory_init_cow(false)
            .wasm_multi_memory(false)
            .wasm_memory64(false)
            .max_wasm_stack(2 << 20)
            .cranelift_opt_level(wasmtime::OptLevel::Speed);
        let engine = Engine::new(&config).expect("a constant configuration that the tests start");
        let mut linker = Linker::new(&engine);
        system_api::link(&mut linker).expect("each function of the System API is defined once");
        Runtime { engine, linker }
    })
}

/// The engine that all instances share.
pub fn engine() -> &'static Engine {
    &runtime().engine
}

/// Loads a module from its binary or gzipped form. The error is a sentence for the `IC0505` rejection.
pub fn load(installed: &[u8]) -> Result<Arc<CanisterModule>, String> {
    static LOADED: OnceLock<Mutex<HashMap<[u8; 32], Arc<CanisterModule>>>> = OnceLock::new();
    const KEPT: usize = 64;
    let hash: [u8; 32] = Sha256::digest(installed).into();
    let loaded = LOADED.get_or_init(Mutex::default);
    if let Some(module) = loaded.lock().expect("no holder panics").get(&hash) {
        return Ok(module.clone());
    }
    let module = Arc::new(compile(installed, hash)?);
    let mut loaded = loaded.lock().expect("no holder panics");
    if loaded.len() >= KEPT {
        loaded.clear();
    }
    loaded.insert(hash, module.clone());
    Ok(module)
}

fn compile(installed: &[u8], hash: [u8; 32]) -> Result<CanisterModule, String> {
    let wasm = unpack(installed)?;
    let rewritten = rewrite(&wasm).map_err(|e| format!("Failed to parse module: {e}"))?;
    let module = Module::new(engine(), &rewritten.wasm)
        .map_err(|e| format!("wasmtime module validation failed: {}", e.root_cause()))?;
    check_exports(&module)?;
    let ready = runtime()
        .linker
        .instantiate_pre(&module)
        .map_err(|e| format!("Module imports what the System API does not offer: {e:#}"))?;
    Ok(CanisterModule {
        hash,
        size: installed.len(),
        exports: rewritten.exports,
        metadata: rewritten.metadata,
        globals: rewritten.globals,
        ready,
    })
}

fn unpack(installed: &[u8]) -> Result<Vec<u8>, String> {
    if !installed.starts_with(&[0x1f, 0x8b]) {
        if !installed.starts_with(b"\0asm") {
            return Err(
                "module doesn't start with the expected magic sequence (\\0asm, or gzip)".into(),
            );
        }
        return Ok(installed.to_vec());
    }
    let mut wasm = Vec::new();
    flate2::read::GzDecoder::new(installed)
        .take(MAX_MODULE_BYTES + 1)
        .read_to_end(&mut wasm)
        .map_err(|e| format!("failed to decompress the module: {e}"))?;
    if wasm.len() as u64 > MAX_MODULE_BYTES {
        return Err(format!(
            "the decompressed module is larger than {MAX_MODULE_BYTES} bytes"
        ));
    }
    Ok(wasm)
}

struct Rewritten {
    wasm: Vec<u8>,
    exports: BTreeSet<String>,
    metadata: BTreeMap<String, Metadata>,
    globals: Vec<String>,
}

fn rewrite(wasm: &[u8]) -> Result<Rewritten, String> {
    let mut sections: Vec<(u8, std::ops::Range<usize>)> = Vec::new();
    let mut exports = BTreeSet::new();
    let mut exporting = ExportSection::new();
    let mut metadata = BTreeMap::new();
    let (mut globals, mut global_count, mut start) = (Vec::new(), 0u32, None);
    let (mut has_table, mut has_memory) = (false, false);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.map_err(|e| e.to_string())?;
        if let Some((id, range)) = payload.as_section() {
            // Custom sections (0), exports (7) and start (8) are not copied.
            if !matches!(id, 0 | 7 | 8) {
                sections.push((id, range));
            }
        }
        match payload {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    let import = import.map_err(|e| e.to_string())?;
                    if !matches!(import.ty, TypeRef::Func(_)) {
                        return Err(format!(
                            "Module imports {}.{}, but only functions of ic0 can be imported",
                            import.module, import.name
                        ));
                    }
                }
            }
            Payload::TableSection(tables) => has_table = tables.count() > 0,
            Payload::MemorySection(memories) => {
                has_memory = memories.count() > 0;
                for memory in memories {
                    if memory.map_err(|e| e.to_string())?.memory64 {
                        return Err("emc-localnet does not support 64-bit Wasm memory yet".into());
                    }
                }
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let ty = global.map_err(|e| e.to_string())?.ty;
                    if ty.mutable && !matches!(ty.content_type, wasmparser::ValType::Ref(_)) {
                        globals.push(global_count);
                    }
                    global_count += 1;
                }
            }
            Payload::StartSection { func, .. } => start = Some(func),
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(|e| e.to_string())?;
                    let kind = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
                        ExternalKind::Table => ExportKind::Table,
                        ExternalKind::Memory => ExportKind::Memory,
                        ExternalKind::Global => ExportKind::Global,
                        ExternalKind::Tag => ExportKind::Tag,
                    };
                    if kind == ExportKind::Func {
                        exports.insert(export.name.to_string());
                    }
                    exporting.export(export.name, kind, export.index);
                }
            }
            Payload::CustomSection(section) => {
                for (prefix, public) in [("icp:public ", true), ("icp:private ", false)] {
                    if let Some(name) = section.name().strip_prefix(prefix) {
                        metadata.insert(
                            name.to_string(),
                            Metadata {
                                public,
                                content: section.data().to_vec(),
                            },
                        );
                    }
                }
            }
            _ => {}
        }
    }
    let mut names = Vec::new();
    for index in globals {
        let name = format!("{GLOBAL}{index}");
        exporting.export(&name, ExportKind::Global, index);
        names.push(name);
    }
    if has_table {
        exporting.export(TABLE, ExportKind::Table, 0);
    }
    if has_memory {
        exporting.export(MEMORY, ExportKind::Memory, 0);
    }
    if let Some(function) = start {
        exporting.export(START, ExportKind::Func, function);
        exports.insert(START.to_string());
    }
    Ok(Rewritten {
        wasm: assemble(wasm, &sections, &exporting),
        exports,
        metadata,
        globals: names,
    })
}

/// Puts the sections together again, the new export section where the format wants it.
fn assemble(
    wasm: &[u8],
    sections: &[(u8, std::ops::Range<usize>)],
    exporting: &ExportSection,
) -> Vec<u8> {
    const ELEMENT: u8 = 9;
    const CODE: u8 = 10;
    const DATA: u8 = 11;
    const DATA_COUNT: u8 = 12;
    let mut module = wasm_encoder::Module::new();
    let mut exported = false;
    for (id, range) in sections {
        if !exported && matches!(*id, ELEMENT | CODE | DATA | DATA_COUNT) {
            module.section(exporting);
            exported = true;
        }
        module.section(&RawSection {
            id: *id,
            data: &wasm[range.clone()],
        });
    }
    if !exported {
        module.section(exporting);
    }
    module.finish()
}

/// The rules for the names that the network calls.
fn check_exports(module: &Module) -> Result<(), String> {
    const SYSTEM: [&str; 8] = [
        "canister_init",
        "canister_pre_upgrade",
        "canister_post_upgrade",
        "canister_heartbeat",
        "canister_global_timer",
        "canister_inspect_message",
        "canister_on_low_wasm_memory",
        "canister_transformation",
    ];
    const METHODS: [&str; 3] = [
        "canister_update ",
        "canister_query ",
        "canister_composite_query ",
    ];
    let mut methods = BTreeSet::new();
    for export in module.exports() {
        let name = export.name();
        if !name.starts_with("canister_") {
            continue;
        }
        let method = METHODS.iter().find_map(|prefix| name.strip_prefix(prefix));
        if method.is_none() && !SYSTEM.contains(&name) {
            return Err(format!(
                "Exporting reserved function '{name}' with \"canister_\" prefix"
            ));
        }
        let wasmtime::ExternType::Func(ty) = export.ty() else {
            return Err(format!("Export '{name}' is not a function"));
        };
        if ty.params().len() + ty.results().len() > 0 {
            return Err(format!(
                "Invalid function signature of '{name}': it must take and return nothing"
            ));
        }
        if let Some(method) = method
            && !methods.insert(method.to_string())
        {
            return Err(format!(
                "Duplicate function '{method}' exported with different types"
            ));
        }
    }
    Ok(())
}

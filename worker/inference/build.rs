//! Lets this crate's own tests and examples find libtorch at run time (an rpath), tells dependents where it is, and
//! compiles `src/prepacked.cpp` against it.
//!
//! A library's link arguments do not reach the binaries of its dependents, so each package that builds an executable
//! with this crate inside has a `build.rs` that passes `DEP_EMC_INFERENCE_LIBTORCH_LIB` on in the same way.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") else {
        return;
    };
    if !Path::new(&lib).join("libtorch_cpu.so").exists() {
        println!("cargo::warning=no libtorch_cpu.so in {lib}: run `cargo xtask setup` first");
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    println!("cargo::metadata=libtorch_lib={lib}");
    println!("cargo::rerun-if-changed=src/prepacked.cpp");
    let include = Path::new(&lib).join("../include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("src/prepacked.cpp")
        .include(&include)
        .warnings(false)
        .opt_level(1)
        .compile("emc_prepacked");
}

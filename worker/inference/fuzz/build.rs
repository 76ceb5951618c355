//! Lets the program find libtorch at run time (an rpath), so that nobody sets `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_EMC_INFERENCE_LIBTORCH_LIB");
    if let Ok(lib) = std::env::var("DEP_EMC_INFERENCE_LIBTORCH_LIB") {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{lib}");
    }
}

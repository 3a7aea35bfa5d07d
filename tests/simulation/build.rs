//! Says to `src/store/mod.rs` that no S3 client is wanted.

fn main() {
    println!("cargo::rustc-cfg=engine_alone");
    println!("cargo::rerun-if-changed=build.rs");
}

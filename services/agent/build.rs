//! Compiles the .proto files without protoc.
use std::error::Error;

const FILES: [&str; 4] = ["ext_authz.proto", "sds.proto", "tls.proto", "workload.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .codec_path("crate::workload_api::codec::SmallBuffers")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

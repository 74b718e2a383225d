//! Compiles the .proto files without protoc, and keeps the descriptors with their options for the server's
//! authorization table and for reflection.
use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 10] = [
    "signet/v1/audit.proto",
    "signet/v1/authorization.proto",
    "signet/v1/certificates.proto",
    "signet/v1/enrollment.proto",
    "signet/v1/messages.proto",
    "signet/v1/principals.proto",
    "signet/v1/tenants.proto",
    "signet/v1/tokens.proto",
    "signet/v1/trust.proto",
    "signet/v1/types.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=signet");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("signet.binpb"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        // Slices of one list for all who follow it.
        .bytes(".signet.v1.RevocationListPart.der")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

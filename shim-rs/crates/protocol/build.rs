// SPDX-License-Identifier: Apache-2.0
//! Generates the message and service code from `proto/`, in Rust alone: no protoc is needed.

use std::io::Write;

use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let protos = ["proto/plan.proto", "proto/network.proto", "proto/agent.proto"];
    for proto in protos {
        println!("cargo:rerun-if-changed={proto}");
    }
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("generated");
    std::fs::create_dir_all(&out)?;
    Codegen::new()
        .out_dir(&out)
        .inputs(protos)
        .include("proto")
        .rust_protobuf()
        .customize(Customize { async_all: true, ..Customize::default() })
        .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(true).lite_runtime(true))
        .run()?;
    // The message generator writes a mod.rs of the messages; the service generator's would replace it.
    let mut modules = std::fs::OpenOptions::new().append(true).open(out.join("mod.rs"))?;
    writeln!(modules, "pub mod agent_ttrpc;")?;
    Ok(())
}

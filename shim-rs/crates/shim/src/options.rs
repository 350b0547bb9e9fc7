// SPDX-License-Identifier: Apache-2.0
//! The engine's runtime options: `runtimeoptions.v1.Options` (containerd api/types/runtimeoptions).
//!
//! Docker sends `ConfigPath` from daemon.json, CRI a path or the whole TOML table as `ConfigBody`. The message has
//! three string fields and no generated code in the libraries we use, so it is read field by field.

use std::path::PathBuf;

use boxlite_protocol::protobuf::{CodedInputStream, well_known_types::any::Any};

use crate::error::TaskError;

/// What the engine asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineOptions {
    /// Configuration file.
    pub config_path: Option<PathBuf>,
    /// Configuration text.
    pub config_body: Option<String>,
}

/// Decodes the options of a Create or bootstrap message. Another runtime's options are not ours to read: ignored.
///
/// # Errors
/// A message of our type that cannot be decoded.
pub fn decode(any: Option<&Any>) -> Result<EngineOptions, TaskError> {
    let mut options = EngineOptions::default();
    let Some(any) = any.filter(|any| any.type_url.ends_with("runtimeoptions.v1.Options")) else {
        return Ok(options);
    };
    let malformed =
        |error| TaskError::Invalid { what: format!("runtime options cannot be decoded: {error}") };
    let mut input = CodedInputStream::from_bytes(&any.value);
    while let Some(tag) = input.read_raw_tag_or_eof().map_err(malformed)? {
        // Field number << 3 | wire type 2 (length-delimited).
        let slot = match tag {
            0x12 | 0x1a | 0x0a => input.read_string().map_err(malformed)?,
            other => {
                return Err(TaskError::Invalid {
                    what: format!("runtime options have an unknown field (tag {other})"),
                });
            }
        };
        match tag {
            _ if slot.is_empty() => {}
            0x12 => options.config_path = Some(PathBuf::from(slot)),
            0x1a => options.config_body = Some(slot),
            // The type's name, known already.
            _ => {}
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(value: &[u8]) -> Any {
        Any { type_url: "runtimeoptions.v1.Options".into(), value: value.to_vec(), ..Default::default() }
    }

    #[test]
    fn path_and_body_are_read() {
        let options = decode(Some(&any(b"\x0a\x01t\x12\x02/c\x1a\x01b"))).unwrap();
        assert_eq!(options.config_path, Some("/c".into()));
        assert_eq!(options.config_body, Some("b".into()));
    }

    #[test]
    fn options_of_runc_are_ignored() {
        let other =
            Any { type_url: "containerd.runc.v1.Options".into(), value: vec![0xff], ..Default::default() };
        assert_eq!(decode(Some(&other)).unwrap(), EngineOptions::default());
    }

    #[test]
    fn truncated_options_are_invalid() {
        assert!(decode(Some(&any(b"\x12\x09/c"))).is_err());
    }
}

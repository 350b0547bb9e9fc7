// SPDX-License-Identifier: Apache-2.0
//! The configuration: built-in values < the file < the engine's options.
//!
//! Owns the keys, their defaults and the message for a wrong one (file, line, key). Does not know where the
//! engine's options come from: [`crate::options`] decodes them. Annotations are the plan's, not ours.

use std::path::{Path, PathBuf};

use boxlite_vmm::Accel;
use serde::Deserialize;

use crate::plan::MachineDefaults;

mod amount;

pub use amount::Amount;

/// Where the file is when the engine names none.
pub const DEFAULT_PATH: &str = "/etc/boxlite/config.toml";

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file the engine names cannot be read.
    #[error("configuration file {} cannot be read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key is unknown or has a value of the wrong type.
    #[error("{origin}, line {line}: {message}")]
    Wrong {
        /// The file, or what stands for it.
        origin: String,
        /// 1 is the first.
        line: usize,
        /// Names the key.
        message: String,
    },
    /// A file a machine cannot run without is missing.
    #[error("{key} = \"{}\" does not exist; install it or run `boxlite doctor`", path.display())]
    Missing {
        /// Which key.
        key: &'static str,
        /// Its value.
        path: PathBuf,
    },
}

/// How to choose the accelerator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// What this host has ([`crate::accel`]).
    Auto,
    /// Hardware virtualization.
    Kvm,
    /// Emulation.
    Tcg,
}

impl AccelChoice {
    /// The choice of this one and no other.
    pub(crate) fn of(accel: Accel) -> Self {
        match accel {
            Accel::Kvm => Self::Kvm,
            Accel::Tcg => Self::Tcg,
        }
    }
}

/// Whether machines start from a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateMode {
    /// Never.
    Off,
    /// When a fitting one is there.
    Auto,
    /// Or fail.
    Required,
}

/// A container's annotation says it in the plan's words.
impl From<crate::plan::TemplateMode> for TemplateMode {
    fn from(mode: crate::plan::TemplateMode) -> Self {
        match mode {
            crate::plan::TemplateMode::Off => Self::Off,
            crate::plan::TemplateMode::Auto => Self::Auto,
            crate::plan::TemplateMode::Required => Self::Required,
        }
    }
}

/// `[machine]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineSection {
    /// Accelerator.
    pub accel: AccelChoice,
    /// MiB that a machine may take whose container sets no limit.
    pub memory_mib: Amount,
    /// CPUs of a machine.
    pub vcpus: Amount,
    /// How many network cards a machine has; each costs a device at every start. The last one is shared by all networks
    /// for which there is no other.
    pub nics: u32,
}

/// `[paths]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PathsSection {
    /// QEMU's program.
    pub qemu: PathBuf,
    /// virtiofsd's program.
    pub virtiofsd: PathBuf,
    /// Uncompressed ELF kernel.
    pub kernel: PathBuf,
    /// The initrd that holds the agent.
    pub initrd: PathBuf,
    /// State of running tasks; on a tmpfs.
    pub run: PathBuf,
}

/// `[template]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplateSection {
    /// Whether.
    pub mode: TemplateMode,
    /// Where they lie.
    pub directory: PathBuf,
}

/// `[sockets]`: Unix sockets of the host as volumes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketsSection {
    /// An engine's own may be one. Who reaches it is root on the host.
    pub engine: bool,
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// A `tracing` level or filter.
    pub level: String,
}

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How machines are made.
    pub machine: MachineSection,
    /// Where things are.
    pub paths: PathsSection,
    /// Starting from a saved machine.
    pub template: TemplateSection,
    /// What a container may reach of the host's.
    pub sockets: SocketsSection,
    /// Logging.
    pub log: LogSection,
}

impl MachineSection {
    /// What of it a plan depends on.
    #[must_use]
    pub fn defaults(&self) -> MachineDefaults {
        MachineDefaults { memory_mib: self.memory_mib.number(), vcpus: self.vcpus.number() }
    }
}

impl Default for MachineSection {
    fn default() -> Self {
        Self { accel: AccelChoice::Auto, memory_mib: Amount::Host, vcpus: Amount::Host, nics: 2 }
    }
}

impl Default for PathsSection {
    fn default() -> Self {
        Self {
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            virtiofsd: "/usr/libexec/virtiofsd".into(),
            kernel: "/usr/local/lib/boxlite/vmlinux".into(),
            initrd: "/usr/local/lib/boxlite/initrd.img".into(),
            run: "/run/boxlite".into(),
        }
    }
}

impl Default for TemplateSection {
    fn default() -> Self {
        Self { mode: TemplateMode::Auto, directory: "/var/lib/boxlite/templates".into() }
    }
}

impl Default for LogSection {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// Parses the text of a configuration; `origin` names it in errors.
///
/// # Errors
/// [`ConfigError::Wrong`] with line and key.
pub fn parse(text: &str, origin: &str) -> Result<Config, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
        let message = error.message().replace('\n', " ");
        let key = text.lines().nth(line - 1).and_then(|line| line.split('=').next()).map_or("", str::trim);
        let message = if message.contains(key) { message } else { format!("`{key}`: {message}") };
        ConfigError::Wrong { origin: origin.to_owned(), line, message }
    })
}

impl Config {
    /// Reads what the engine's options name: a file, or the text itself; neither is the default file, which
    /// need not exist.
    ///
    /// # Errors
    /// Unreadable, or wrong.
    pub fn load(path: Option<&Path>, body: Option<&str>) -> Result<Self, ConfigError> {
        if let Some(body) = body {
            return parse(body, "the engine's runtime options");
        }
        let (path, must_exist) = match path {
            Some(path) => (path, true),
            None => (Path::new(DEFAULT_PATH), false),
        };
        match std::fs::read_to_string(path) {
            Ok(text) => parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
        }
    }

    /// Every file a machine needs is there. Cheap, and turns QEMU's messages into ours.
    ///
    /// # Errors
    /// [`ConfigError::Missing`] for the first that is not.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        let paths = &self.paths;
        let needed = [
            ("paths.qemu", &paths.qemu),
            ("paths.virtiofsd", &paths.virtiofsd),
            ("paths.kernel", &paths.kernel),
            ("paths.initrd", &paths.initrd),
        ];
        for (key, path) in needed {
            if !path.exists() {
                return Err(ConfigError::Missing { key, path: path.clone() });
            }
        }
        Ok(())
    }

    /// The accelerator to use. `auto` is settled before a machine is made ([`crate::accel::settle`]); what nobody has
    /// settled is TCG, which runs everywhere.
    #[must_use]
    pub fn accel(&self) -> Accel {
        match self.machine.accel {
            AccelChoice::Kvm => Accel::Kvm,
            AccelChoice::Tcg | AccelChoice::Auto => Accel::Tcg,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_text_is_the_defaults() {
        let config = parse("", "test").unwrap();
        assert_eq!(config.machine.memory_mib, Amount::Host);
        assert_eq!(config.template.mode, TemplateMode::Auto);
    }

    #[test]
    fn unknown_key_is_named_with_its_line() {
        let error = parse("[machine]\nvcpus = 2\nvcpu = 3\n", "f.toml").unwrap_err().to_string();
        assert!(error.starts_with("f.toml, line 3:"), "{error}");
        assert!(error.contains("vcpu"), "{error}");
    }

    #[test]
    fn wrong_type_is_named_with_its_line() {
        let error = parse("[machine]\nvcpus = \"two\"\n", "f.toml").unwrap_err().to_string();
        assert!(error.starts_with("f.toml, line 2:"), "{error}");
        assert!(error.contains("vcpus"), "{error}");
    }

    #[test]
    fn missing_kernel_names_its_key() {
        let mut config = Config::default();
        config.paths.qemu = "/bin/sh".into();
        config.paths.virtiofsd = "/bin/sh".into();
        config.paths.kernel = "/nonexistent/vmlinux".into();
        assert!(config.check_files().unwrap_err().to_string().starts_with("paths.kernel"));
    }
}

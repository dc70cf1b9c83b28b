//! [`ResourceConfig`]: the attributes that identify the process.

use crate::attribute::KeyValue;
use crate::text;

/// The resource's attributes from code and variables, and the detectors that add to them.
///
/// [`Resource::resolve`](crate::Resource::resolve) makes the resource of it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ResourceConfig {
    /// Attributes; of entries with the same key the last one wins, and each of them wins over a detected
    /// one. `OTEL_RESOURCE_ATTRIBUTES`, then `OTEL_SERVICE_NAME`, then code.
    pub attributes: Vec<KeyValue>,
    /// The schema URL of [`attributes`](Self::attributes). Default empty.
    pub schema_url: String,
    /// `service.instance.id`, a random UUID of the process; a fork has another. Default on.
    pub instance_id: bool,
    /// `process.pid` and `process.executable.name`. Default on.
    pub process: bool,
    /// `process.executable.path`. Default off: it discloses directories of the machine.
    pub executable_path: bool,
    /// `process.command_args`. Default off: arguments may hold secrets.
    pub command_args: bool,
    /// `host.name`, `host.arch` and, from the machine id, `host.id`. Default on.
    pub host: bool,
    /// `os.type`. Default on.
    pub os: bool,
}

impl Default for ResourceConfig {
    fn default() -> Self {
        Self {
            attributes: Vec::new(),
            schema_url: String::new(),
            instance_id: true,
            process: true,
            executable_path: false,
            command_args: false,
            host: true,
            os: true,
        }
    }
}

impl std::fmt::Debug for ResourceConfig {
    /// Shows only the keys of attributes: a value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.attributes.iter().map(|a| &a.key).collect();
        f.debug_struct("ResourceConfig")
            .field("attributes", &keys)
            .field("schema_url", &text::url(&self.schema_url))
            .field("instance_id", &self.instance_id)
            .field("process", &self.process)
            .field("executable_path", &self.executable_path)
            .field("command_args", &self.command_args)
            .field("host", &self.host)
            .field("os", &self.os)
            .finish()
    }
}

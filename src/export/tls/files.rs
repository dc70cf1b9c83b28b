//! [`Documents`]: the PEM documents of the settings, from memory or from files that are read again.

use crate::config::{ConnectionConfig, Pem};
use crate::error::Error;

/// The PEM documents of one connection as they were at one moment.
#[derive(PartialEq, Eq, Default)]
pub(super) struct Documents {
    pub(super) certificate: Option<Vec<u8>>,
    pub(super) client_certificate: Option<Vec<u8>>,
    pub(super) client_key: Option<Vec<u8>>,
}

impl Documents {
    /// Reads all files: they are small and local. Their bytes are compared, not their times: an
    /// orchestrator swaps a symbolic link, and its new target may be older than the last one.
    pub(super) fn read(config: &ConnectionConfig) -> Result<Self, Error> {
        let read = |setting, pem: &Option<Pem>| {
            let pem = pem.as_ref();
            pem.map(|pem| read(setting, pem)).transpose()
        };
        Ok(Self {
            certificate: read("certificate", &config.certificate)?,
            client_certificate: read("client_certificate", &config.client_certificate)?,
            client_key: read("client_key", &config.client_key)?,
        })
    }

    /// Whether a document comes from a file, and so can change.
    pub(super) fn are_files(config: &ConnectionConfig) -> bool {
        let all = [
            &config.certificate,
            &config.client_certificate,
            &config.client_key,
        ];
        all.into_iter()
            .flatten()
            .any(|pem| matches!(pem, Pem::File(_)))
    }
}

fn read(setting: &'static str, pem: &Pem) -> Result<Vec<u8>, Error> {
    match pem {
        Pem::Bytes(text) => Ok(text.clone()),
        Pem::File(path) => std::fs::read(path).map_err(|e| {
            Error::config(setting, name(pem), "the file must be readable").with_source(e)
        }),
    }
}

/// For errors.
pub(super) fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Bytes(_) => "(text)".to_owned(),
    }
}

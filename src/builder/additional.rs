//! Exporters beside the pipeline's own.

use super::target::ExportTarget;
use crate::config::{BatchConfig, ConnectionConfig, OtlpConfig};
use crate::error::Error;
use crate::export::OtlpClient;
use crate::processor::{Additional, BatchProcessor, LogsRoute, PipelineParts, place_of};
use crate::resource::Resource;

/// An exporter beside the pipeline's own, and the settings of its queue.
pub(super) enum AdditionalExporter {
    Endpoint {
        name: String,
        connection: Box<ConnectionConfig>,
        batch: BatchConfig,
    },
    Given {
        name: String,
        target: ExportTarget,
        batch: BatchConfig,
    },
}

impl AdditionalExporter {
    fn name(&self) -> &str {
        let (Self::Endpoint { name, .. } | Self::Given { name, .. }) = self;
        name
    }

    fn batch(&self) -> &BatchConfig {
        let (Self::Endpoint { batch, .. } | Self::Given { batch, .. }) = self;
        batch
    }

    /// Starts its processor, which shares scopes and reports with `pipeline`.
    pub(super) fn start(
        self,
        config: &OtlpConfig,
        resource: &Resource,
        pipeline: &mut PipelineParts,
    ) -> Result<Additional, Error> {
        let place = place_of(self.name());
        let started = self.try_start(config, resource, pipeline);
        started.map_err(|error| error.of(&place))
    }

    fn try_start(
        self,
        config: &OtlpConfig,
        resource: &Resource,
        pipeline: &mut PipelineParts,
    ) -> Result<Additional, Error> {
        let has_logs = pipeline.logs.is_some();
        let (name, target, logs, batch) = match self {
            Self::Endpoint {
                name,
                connection,
                batch,
            } => {
                let client = OtlpClient::with_cap((*connection).clone(), batch.export_timeout)?;
                let timeout = batch.export_timeout;
                let logs = has_logs
                    .then(|| OtlpClient::for_logs(*connection, timeout, Some(&client)))
                    .transpose()?;
                let logs = logs.map(|client| LogsRoute::new(client, batch.clone()));
                (name, ExportTarget::new(client), logs, batch)
            }
            Self::Given {
                name,
                target,
                batch,
            } => {
                let components = target.of_logs.clone().filter(|_| has_logs);
                let logs = components.map(|components| LogsRoute {
                    exporter: target.exporter.clone(),
                    components,
                    batch: batch.clone(),
                });
                (name, target, logs, batch)
            }
        };
        let mut batch = batch;
        if let Some(delay) = target.max_schedule_delay {
            batch.schedule_delay = batch.schedule_delay.min(delay);
        }
        let parts = pipeline.for_additional(&name, &batch, logs);
        let processor = BatchProcessor::start_erased(
            (target.exporter, target.components),
            Vec::new(),
            &batch,
            &config.worker,
            resource.encode(),
            parts,
        )?;
        Ok(Additional { name, processor })
    }
}

/// Checks the names and settings of additional exporters.
pub(super) fn validate(additional: &[AdditionalExporter]) -> Result<(), Error> {
    for (index, exporter) in additional.iter().enumerate() {
        let name = exporter.name();
        let is_twice = additional.iter().take(index).any(|e| e.name() == name);
        if name.trim().is_empty() || is_twice {
            let cure = "give each additional exporter a name of its own";
            return Err(Error::config("additional exporter", name, cure));
        }
        let is_valid = exporter.batch().validate();
        is_valid.map_err(|error| error.of(&place_of(name)))?;
    }
    Ok(())
}

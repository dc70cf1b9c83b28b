//! The variables of logs.

use super::{Env, SignalVariables, set};
use crate::config::{LogBatchConfig, OtlpConfig, parse};

impl Env<'_> {
    /// Logs exist only if the variable or code asks for them, never by default (LOG-16).
    pub(super) fn logs(&mut self, config: &mut OtlpConfig) {
        let logs = &mut config.logs;
        logs.exporter = self.read(&["OTEL_LOGS_EXPORTER"], parse::logs_exporter);
        let events = self.read(&["OTEL_RUST_TRACING_EVENTS"], parse::event_rules);
        if let Some((events, rules)) = events {
            set(&mut logs.events, events);
            logs.event_rules = rules;
        }
        let exceptions = ["OTEL_SEMCONV_EXCEPTION_SIGNAL_OPT_IN"];
        let exceptions = self.read(&exceptions, parse::exception_signals);
        set(&mut logs.exceptions, exceptions);
        self.log_batch(&mut logs.batch);
        let limits = &mut logs.limits;
        let length = self.read(
            &[
                "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
                "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            ],
            parse::integer,
        );
        limits.attribute_value_length_limit = length.or(limits.attribute_value_length_limit);
        let count = self.read(
            &[
                "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
                "OTEL_ATTRIBUTE_COUNT_LIMIT",
            ],
            parse::integer,
        );
        set(&mut limits.attribute_count_limit, count);
        let mut connection = self.connection(SignalVariables::Logs);
        // Logs do not use it, so it must not make the connections differ.
        connection
            .traces_endpoint
            .clone_from(&config.connection.traces_endpoint);
        let logs_endpoint = connection.logs_endpoint.clone();
        connection.logs_endpoint = None;
        if connection == config.connection {
            // The same connection as traces, with another path.
            config.connection.variables.logs.clone_from(&logs_endpoint);
            config.connection.logs_endpoint = logs_endpoint;
        } else {
            connection.logs_endpoint = logs_endpoint;
            logs.connection = Some(connection);
        }
    }

    fn log_batch(&mut self, batch: &mut LogBatchConfig) {
        let delay = self.read(&["OTEL_BLRP_SCHEDULE_DELAY"], parse::duration);
        set(&mut batch.schedule_delay, delay);
        let timeout = self.read(&["OTEL_BLRP_EXPORT_TIMEOUT"], parse::timeout);
        set(&mut batch.export_timeout, timeout);
        let queue = self.read(&["OTEL_BLRP_MAX_QUEUE_SIZE"], parse::positive);
        set(&mut batch.max_queue_size, queue);
        let queue = batch.max_queue_size;
        batch.max_export_batch_size = batch.max_export_batch_size.min(queue);
        let size = self.read(
            &["OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"],
            |text| match parse::positive(text)? {
                size if size <= queue => Ok(size),
                _ => Err(format!(
                    "a batch can't exceed the queue, which holds {queue}"
                )),
            },
        );
        set(&mut batch.max_export_batch_size, size);
    }
}

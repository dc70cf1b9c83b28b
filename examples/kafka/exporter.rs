//! An exporter into a topic of Kafka.

use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use tracing_otlp::DropReason;
use tracing_otlp::export::{Batch, ConcurrencyLimiter, ConcurrencyPermit, Exporter, Outcome};

/// The longest that a message may take, with all attempts of librdkafka. Below the pipeline's own export
/// timeout of 30 s, so that the delivery report comes first and gives the reason.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(20);

/// Sends spans as the Collector's `kafkareceiver` reads them with the encoding `otlp_proto`: each message is
/// an `ExportTraceServiceRequest` with the spans of one trace. Its key is the trace id in hex, as the
/// Collector's own `kafkaexporter` writes it with `partition_traces_by_id`: all spans of a trace come to one
/// partition, whoever sends them.
pub struct KafkaExporter {
    producer: FutureProducer,
    topic: String,
    limiter: ConcurrencyLimiter,
}

impl KafkaExporter {
    pub fn new(brokers: &str, topic: &str) -> KafkaResult<Self> {
        let timeout = MESSAGE_TIMEOUT.as_millis().to_string();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            // A message that librdkafka sends again is stored once.
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", timeout)
            // The partition that Java's clients choose for the same key.
            .set("partitioner", "murmur2_random")
            .create()?;
        Ok(Self {
            producer,
            topic: topic.to_owned(),
            limiter: ConcurrencyLimiter::new(4),
        })
    }
}

impl Exporter for KafkaExporter {
    type Permit = ConcurrencyPermit;

    async fn ready(&self) -> ConcurrencyPermit {
        self.limiter.acquire().await
    }

    fn send(
        &self,
        permit: ConcurrencyPermit,
        batch: Batch,
    ) -> impl Future<Output = Outcome> + Send + 'static {
        let producer = self.producer.clone();
        let topic = self.topic.clone();
        async move {
            let traces = batch.by_trace();
            let reports = traces.into_iter().map(|(trace, spans)| {
                let (producer, topic) = (&producer, &topic);
                async move {
                    let (key, message) = (trace.to_string(), spans.to_bytes());
                    let record = FutureRecord::to(topic).key(&key).payload(&message[..]);
                    // Waits while librdkafka's own queue is full; the other spans wait in the pipeline's.
                    let report = producer.send(record, Timeout::After(MESSAGE_TIMEOUT)).await;
                    outcome(
                        spans.item_count() as u64,
                        report.map(drop).map_err(|(error, _)| error),
                    )
                }
            });
            let outcomes = join_all(reports).await;
            drop(permit);
            outcomes
                .into_iter()
                .fold(Outcome::default(), Outcome::merge)
        }
    }
}

/// What a delivery report means for its spans.
fn outcome(spans: u64, report: Result<(), KafkaError>) -> Outcome {
    let Err(error) = report else {
        return Outcome::delivered(spans);
    };
    let reason = match error.rdkafka_error_code() {
        // It never left librdkafka's queue.
        Some(RDKafkaErrorCode::QueueFull) => DropReason::Unsent,
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => DropReason::TooLarge,
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::InvalidTopic,
        ) => DropReason::Refused,
        // No answer came in time: it may be stored.
        _ => DropReason::Unconfirmed,
    };
    Outcome::dropped(reason, spans, format!("Kafka took no spans: {error}"))
}

//! [`Tls`]: a rustls client with roots and client certificate. Its crypto provider is passed explicitly and
//! never installed as the process's default.

mod files;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::files::{Documents, name};
use crate::config::{ConnectionConfig, Pem, Protocol};
use crate::crypto;
use crate::diagnostics::TARGET;
use crate::error::Error;
use crate::export::cause::Cause;
use crate::export::endpoint::Endpoint;
use crate::export::stream::Io;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};

/// The interval at which the PEM files are read again, when a request is sent.
const LOOK: Duration = Duration::from_secs(1);

/// The TLS client of one endpoint. A clone is for connections of its own, with the same files.
pub(crate) struct Tls {
    shared: Arc<TlsShared>,
    server: ServerName<'static>,
    /// The [`CurrentConnector::generation`] that [`has_changed`](Self::has_changed) has returned.
    told: AtomicU64,
}

impl Clone for Tls {
    fn clone(&self) -> Self {
        let generation = lock(&self.shared.state).generation;
        Self {
            shared: Arc::clone(&self.shared),
            server: self.server.clone(),
            told: AtomicU64::new(generation),
        }
    }
}

struct TlsShared {
    config: ConnectionConfig,
    provider: Arc<CryptoProvider>,
    protocol: Protocol,
    state: Mutex<CurrentConnector>,
}

struct CurrentConnector {
    connector: TlsConnector,
    /// The PEM documents of the connector.
    documents: Documents,
    next_look: Instant,
    /// Counts the connectors: connections of an older one are to be dropped.
    generation: u64,
    /// The warning about unusable files was made, for their current content.
    warned: bool,
}

impl Tls {
    /// Reads the PEM files; does no other I/O.
    pub(crate) fn new(config: &ConnectionConfig, endpoint: &Endpoint) -> Result<Self, Error> {
        let server = ServerName::try_from(endpoint.host.clone()).map_err(|e| {
            let cure = "the host must be a DNS name or an address to be verified";
            Error::config("endpoint", &endpoint.host, cure).with_source(e)
        })?;
        let provider = crypto::provider()
            .ok_or_else(|| Error::config("endpoint", endpoint.address(), crypto::NONE))?;
        let documents = Documents::read(config)?;
        let connector = connector(config, &documents, &provider, endpoint.protocol)?;
        let state = Mutex::new(CurrentConnector {
            connector,
            documents,
            next_look: Instant::now() + LOOK,
            generation: 0,
            warned: false,
        });
        Ok(Self {
            shared: Arc::new(TlsShared {
                config: config.clone(),
                provider,
                protocol: endpoint.protocol,
                state,
            }),
            server,
            told: AtomicU64::new(0),
        })
    }

    /// Whether a file has changed since the last call, or since this clone was made; checked in intervals. New
    /// content is used for new connections. Each clone is told of each change, also of one that a new connection
    /// or another clone noticed first.
    pub(crate) fn has_changed(&self) -> bool {
        if !Documents::are_files(&self.shared.config) {
            return false;
        }
        self.shared.renew(false);
        let generation = lock(&self.shared.state).generation;
        self.told.swap(generation, Ordering::Relaxed) != generation
    }

    pub(crate) async fn connect(&self, io: Io) -> Result<TlsStream<Io>, (Cause, io::Error)> {
        if Documents::are_files(&self.shared.config) {
            self.shared.renew(true);
        }
        let connector = lock(&self.shared.state).connector.clone();
        let connected = connector.connect(self.server.clone(), io).await;
        connected.map_err(|e| {
            let cause = cause(&e);
            let text = match cause {
                Cause::NoTls => format!("no TLS is spoken there ({e})"),
                _ => format!("TLS: {e}"),
            };
            (cause, io::Error::new(e.kind(), text))
        })
    }
}

impl TlsShared {
    /// Makes a new connector if the files have changed and can be used; else the current one stays, and the
    /// files are read again later.
    fn renew(&self, at_once: bool) {
        let now = Instant::now();
        {
            let mut state = lock(&self.state);
            if !at_once && now < state.next_look {
                return;
            }
            state.next_look = now + LOOK;
        }
        let made = Documents::read(&self.config).and_then(|documents| {
            if lock(&self.state).documents == documents {
                return Ok(None);
            }
            let made = connector(&self.config, &documents, &self.provider, self.protocol)?;
            Ok(Some((made, documents)))
        });
        let mut state = lock(&self.state);
        match made {
            Ok(made) => {
                state.warned = false;
                if let Some((connector, documents)) = made {
                    state.connector = connector;
                    state.documents = documents;
                    state.generation += 1;
                }
            }
            Err(error) => {
                let is_news = !std::mem::replace(&mut state.warned, true);
                drop(state);
                if is_news {
                    warn(&error);
                }
            }
        }
    }
}

/// Warns that the files cannot be used. A subscriber is foreign code.
fn warn(error: &Error) {
    let _ = catch_unwind(AssertUnwindSafe(|| {
        tracing::warn!(
            target: TARGET,
            %error,
            "files of TLS changed and cannot be used: the ones before stay until they can"
        );
    }));
}

fn connector(
    config: &ConnectionConfig,
    documents: &Documents,
    provider: &Arc<CryptoProvider>,
    protocol: Protocol,
) -> Result<TlsConnector, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::config("tls", "rustls", "no protocol version").with_source(e))?
        .with_root_certificates(roots(config, documents)?);
    let given = (&config.client_certificate, &config.client_key);
    let texts = (&documents.client_certificate, &documents.client_key);
    let mut client = match (given, texts) {
        ((Some(certificate), Some(key)), (Some(chain), Some(private))) => {
            let chain = certificates("client_certificate", certificate, chain)?;
            let private = PrivateKeyDer::from_pem_slice(private).map_err(|e| {
                Error::config("client_key", name(key), "give a private key in PEM").with_source(e)
            })?;
            builder.with_client_auth_cert(chain, private).map_err(|e| {
                let cure = "key and certificate must belong together";
                Error::config("client_key", name(key), cure).with_source(e)
            })?
        }
        ((None, None), _) => builder.with_no_client_auth(),
        ((given, _), _) => {
            let (present, absent) = match given {
                Some(_) => ("client_certificate", "client_key"),
                None => ("client_key", "client_certificate"),
            };
            return Err(Error::config(
                present,
                "(given)",
                format!("give {absent} too"),
            ));
        }
    };
    client.alpn_protocols = match protocol {
        Protocol::Grpc => vec![b"h2".to_vec()],
        Protocol::HttpProtobuf | Protocol::HttpJson => vec![b"http/1.1".to_vec()],
    };
    Ok(TlsConnector::from(Arc::new(client)))
}

/// The cause of a failed handshake.
fn cause(error: &io::Error) -> Cause {
    use rustls::AlertDescription as Alert;
    use rustls::CertificateError as Certificate;
    use rustls::Error;
    let error = error.get_ref().and_then(|e| e.downcast_ref());
    match error {
        Some(Error::InvalidMessage(_)) => Cause::NoTls,
        Some(Error::InvalidCertificate(certificate)) => match certificate {
            Certificate::UnknownIssuer | Certificate::BadSignature => Cause::UnknownAuthority,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                Cause::WrongName
            }
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => Cause::WrongTime,
            _ => Cause::Tls,
        },
        Some(Error::AlertReceived(alert)) => match alert {
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::NoCertificate => Cause::ClientCertificate,
            Alert::NoApplicationProtocol => Cause::NoApplicationProtocol,
            _ => Cause::Tls,
        },
        Some(Error::NoApplicationProtocol) => Cause::NoApplicationProtocol,
        _ => Cause::Tls,
    }
}

/// The TLS cause of an error on an established connection. In TLS 1.3 a client learns only after the
/// handshake that the server requires its certificate.
pub(crate) fn wants_a_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    crate::error::chain(error)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|io| cause(io) == Cause::ClientCertificate)
}

/// The configured authorities alone, else the system's, else Mozilla's.
fn roots(config: &ConnectionConfig, documents: &Documents) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let (Some(pem), Some(text)) = (&config.certificate, &documents.certificate) {
        for certificate in certificates("certificate", pem, text)? {
            roots.add(certificate).map_err(|e| {
                let cure = "give certificates of authorities in PEM";
                Error::config("certificate", name(pem), cure).with_source(e)
            })?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    Ok(roots)
}

fn certificates(
    setting: &'static str,
    pem: &Pem,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(Error::config(
            setting,
            name(pem),
            "it holds no certificate in PEM",
        )),
        Err(e) => Err(Error::config(setting, name(pem), "it is not valid PEM").with_source(e)),
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn every_member_of_a_name_hears_of_new_certificates() {
        let name = format!("tracing-otlp-members-{}.pem", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, authority()).unwrap();
        let config = ConnectionConfig {
            endpoint: Some("dns+https://collectors.test:4317".to_owned()),
            certificate: Some(Pem::File(path.clone())),
            protocol: Some(Protocol::Grpc),
            ..ConnectionConfig::default()
        };
        let entries = Endpoint::entries(&config, crate::export::endpoint::ExportSignal::Traces);
        let tls = Tls::new(&config, &entries.unwrap()[0].endpoint).unwrap();
        let members = [(); 3].map(|()| tls.clone());
        let has_changed = |member: &Tls| {
            // As if the interval were over.
            lock(&member.shared.state).next_look = Instant::now();
            member.has_changed()
        };
        assert!(!members.iter().any(has_changed));
        std::fs::write(&path, authority()).unwrap();
        for member in &members {
            assert!(has_changed(member), "it has connections of its own");
        }
        assert!(!members.iter().any(has_changed), "each is told once");
        assert!(!tls.clone().has_changed(), "it has no older connection");
        std::fs::remove_file(&path).unwrap();
    }
}

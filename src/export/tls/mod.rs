//! Roots and identities: a rustls client whose crypto provider is given explicitly and never installed
//! as the process's default.

use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{ExporterConfig, Pem, Protocol};
use crate::crypto;
use crate::error::Error;
use crate::export::cause::Cause;
use crate::export::dial::Io;
use crate::export::endpoint::Endpoint;

/// How to speak TLS with one endpoint.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: TlsConnector,
    server: ServerName<'static>,
}

impl Tls {
    /// Reads the PEM files; does no other I/O.
    pub(crate) fn new(config: &ExporterConfig, endpoint: &Endpoint) -> Result<Self, Error> {
        let server = ServerName::try_from(endpoint.host.clone()).map_err(|e| {
            let cure = "the host must be a DNS name or an address to be verified";
            Error::config("endpoint", &endpoint.host, cure).with_source(e)
        })?;
        let provider = crypto::provider()
            .ok_or_else(|| Error::config("endpoint", &endpoint.address(), crypto::NONE))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::config("tls", "rustls", "no protocol version").with_source(e))?
            .with_root_certificates(roots(config)?);
        let mut client = match (&config.client_certificate, &config.client_key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates("client_certificate", certificate)?;
                let private = private_key(key)?;
                builder.with_client_auth_cert(chain, private).map_err(|e| {
                    let cure = "key and certificate must belong together";
                    Error::config("client_key", name(key), cure).with_source(e)
                })?
            }
            (None, None) => builder.with_no_client_auth(),
            (given, _) => {
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
        client.alpn_protocols = match endpoint.protocol {
            Protocol::Grpc => vec![b"h2".to_vec()],
            Protocol::HttpProtobuf => vec![b"http/1.1".to_vec()],
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(client)),
            server,
        })
    }

    pub(crate) async fn connect(&self, io: Io) -> Result<TlsStream<Io>, (Cause, io::Error)> {
        let connected = self.connector.connect(self.server.clone(), io).await;
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

/// Why a handshake failed.
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

/// What an established connection's error says of TLS: in version 1.3 a client learns only then that
/// its certificate is wanted.
pub(crate) fn wants_a_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(this) = error {
        let io = this.downcast_ref::<io::Error>();
        if io.is_some_and(|io| cause(io) == Cause::ClientCertificate) {
            return true;
        }
        error = this.source();
    }
    false
}

/// The given authorities alone, else the system's, else Mozilla's.
fn roots(config: &ExporterConfig) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = &config.certificate {
        for certificate in certificates("certificate", pem)? {
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

fn certificates(setting: &'static str, pem: &Pem) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = read(setting, pem)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
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

fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, Error> {
    let text = read("client_key", pem)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| {
        Error::config("client_key", name(pem), "give a private key in PEM").with_source(e)
    })
}

fn read(setting: &'static str, pem: &Pem) -> Result<Vec<u8>, Error> {
    match pem {
        Pem::Text(text) => Ok(text.clone()),
        Pem::File(path) => std::fs::read(path).map_err(|e| {
            Error::config(setting, name(pem), "the file must be readable").with_source(e)
        }),
    }
}

fn name(pem: &Pem) -> String {
    match pem {
        Pem::File(path) => path.display().to_string(),
        Pem::Text(_) => "(text)".to_owned(),
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

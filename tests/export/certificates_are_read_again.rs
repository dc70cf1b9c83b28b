//! Certificates, keys and authorities in files may change while the application runs (PAIN 33): what is
//! new counts for the next connection, which is made at once, and what cannot be used changes nothing.
#![cfg(all(feature = "tls", unix))]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::pipeline::{BOTH, Pipeline, builder, distinct, last_error, told};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tracing_otlp::Protocol;
use tracing_otlp::config::Pem;
use tracing_otlp::testing::Collector;

/// An authority and what it signed, in PEM.
struct Signed {
    authority: String,
    certificate: String,
    key: String,
}

fn sign(name: &str) -> Signed {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    Signed {
        authority,
        certificate: params.signed_by(&key, &issuer).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// A folder as Kubernetes mounts a secret: the files are links into a folder that is swapped whole.
struct Mount(PathBuf);

impl Mount {
    fn new(name: &str) -> Self {
        let name = format!("tracing-otlp-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, version: u32, files: &[(&str, &str)]) {
        let data = self.0.join(format!("..{version}"));
        fs::create_dir(&data).unwrap();
        for (name, text) in files {
            fs::write(data.join(name), text).unwrap();
            let link = self.0.join(name);
            if !link.is_symlink() {
                symlink(&Path::new("..data").join(name), &link);
            }
        }
        let next = self.0.join("..next");
        symlink(&data, &next);
        fs::rename(&next, self.0.join("..data")).unwrap();
    }

    fn file(&self, name: &str) -> Pem {
        Pem::File(self.0.join(name))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn symlink(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

fn serve(server: &Signed, client: Option<&Signed>) -> Collector {
    let authority = client.map(|signed| signed.authority.as_bytes());
    Collector::builder()
        .with_tls(&server.certificate, &server.key, authority)
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn an_authority_that_comes_later_is_trusted_and_nothing_is_lost() {
    let (server, stranger) = (sign("server"), sign("stranger"));
    for protocol in BOTH {
        let mount = Mount::new(&format!("ca-{protocol:?}"));
        mount.write(1, &[("ca", &stranger.authority)]);
        let collector = serve(&server, None);
        let builder = builder(protocol, &collector.endpoint(protocol));
        let pipeline = Pipeline::start(builder.with_certificate(mount.file("ca")));
        pipeline.spans(600, 10);
        let stats = pipeline.until(|stats| stats.last_error.is_some());
        assert!(
            last_error(&stats).contains("UnknownIssuer"),
            "{}",
            told(&stats)
        );
        mount.write(2, &[("ca", &server.authority)]);
        pipeline.flush().unwrap();
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.delivered, 600, "{}", told(&stats));
    }
}

/// Sends until a request came on another connection than `before`.
fn until_reconnected(pipeline: &Pipeline, collector: &Collector, before: u64) -> u64 {
    let deadline = Instant::now() + crate::support::DEADLINE;
    loop {
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        let last = collector.requests().last().unwrap().connection;
        if last != before {
            return last;
        }
        assert!(Instant::now() < deadline, "the old connection lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_does_not_outlive_its_certificate() {
    let (server, client) = (sign("server"), sign("client"));
    for protocol in BOTH {
        let mount = Mount::new(&format!("client-{protocol:?}"));
        let files = |identity: &Signed| {
            [
                ("ca", server.authority.clone()),
                ("crt", identity.certificate.clone()),
                ("key", identity.key.clone()),
            ]
        };
        let write = |version, identity: &Signed| {
            let files = files(identity);
            let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
            mount.write(version, &files);
        };
        write(1, &client);
        let collector = serve(&server, Some(&client));
        let pipeline = Pipeline::start(
            builder(protocol, &collector.endpoint(protocol))
                .with_certificate(mount.file("ca"))
                .with_client_identity(mount.file("crt"), mount.file("key")),
        );
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        let first = collector.requests().last().unwrap().connection;

        // A file that cannot be used, and a key that does not fit, change nothing.
        mount.write(
            2,
            &[
                ("ca", &server.authority),
                ("crt", "rubbish"),
                ("key", &client.key),
            ],
        );
        mount_is_seen(&pipeline, &collector, first, protocol);
        // Files that are gone, neither.
        mount.write(3, &[]);
        mount_is_seen(&pipeline, &collector, first, protocol);

        // The same again, as new: another connection.
        let renewed = Signed {
            authority: String::new(),
            certificate: format!("{}\n", client.certificate),
            key: client.key.clone(),
        };
        write(4, &renewed);
        let second = until_reconnected(&pipeline, &collector, first);
        // And only one: what is as it was leaves the connection alone.
        mount_is_seen(&pipeline, &collector, second, protocol);
        let stats = pipeline.settle(distinct(&collector));
        assert_eq!(stats.dropped_total(), 0, "{}", told(&stats));
    }
}

/// Sends for longer than it takes to look at the files again, on one connection.
fn mount_is_seen(pipeline: &Pipeline, collector: &Collector, connection: u64, protocol: Protocol) {
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(600));
        pipeline.spans(1, 10);
        pipeline.flush().unwrap();
        let last = collector.requests().last().unwrap().connection;
        assert_eq!(last, connection, "{protocol:?}");
    }
}

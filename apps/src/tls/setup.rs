//! Certificates, keys and trust from PEM files. What is done with them is `mod.rs`'s.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

/// Where Debian and its relatives keep the authorities that the system trusts.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What is spoken inside: a server takes the older one too.
const HTTP: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Whom a client believes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trust {
    /// Whoever answers. The connection is encrypted, but with whom is anybody's guess.
    Anyone,
    /// The authorities in a PEM file.
    File(PathBuf),
}

/// Why there is no TLS: the operator's to handle.
#[derive(Debug)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The file cannot be read, or is no PEM.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file has no certificate in it.
    NoCertificate {
        /// The file.
        file: PathBuf,
    },
    /// The file has no private key in it.
    NoKey {
        /// The file.
        file: PathBuf,
    },
    /// The key belongs to another certificate.
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate or the key cannot be used.
    Rejected {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
}

impl fmt::Display for TlsSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsSetupError::Unreadable { file, reason } => {
                write!(f, "cannot read `{}` ({reason}); name a PEM file that can be read", file.display())
            }
            TlsSetupError::NoCertificate { file } => write!(
                f,
                "there is no certificate in `{}`; name a PEM file with a CERTIFICATE section",
                file.display()
            ),
            TlsSetupError::NoKey { file } => write!(
                f,
                "there is no private key in `{}`; name a PEM file with a PRIVATE KEY section that is not encrypted",
                file.display()
            ),
            TlsSetupError::Mismatch { certificate, key } => write!(
                f,
                "the key in `{}` does not belong to the first certificate in `{}`; name the two that were made together",
                key.display(),
                certificate.display()
            ),
            TlsSetupError::Rejected { file, reason } => {
                write!(f, "cannot use what is in `{}` ({reason}); name another file", file.display())
            }
        }
    }
}

impl std::error::Error for TlsSetupError {}

fn unreadable(file: &Path, error: &pem::Error) -> TlsSetupError {
    TlsSetupError::Unreadable { file: file.to_owned(), reason: error.to_string() }
}

fn rejected(file: &Path, error: &rustls::Error) -> TlsSetupError {
    TlsSetupError::Rejected { file: file.to_owned(), reason: error.to_string() }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unreadable(file, &error))?;
    if chain.is_empty() {
        return Err(TlsSetupError::NoCertificate { file: file.to_owned() });
    }
    Ok(chain)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsSetupError::NoKey { file: file.to_owned() },
        other => unreadable(file, &other),
    })
}

/// No process-wide provider is set: each configuration has its own.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What a server is who it says it is with: its certificate, those above it in their order, and its private key.
///
/// Errors: a file is missing or has not what it should, or the two do not belong together.
pub fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsSetupError> {
    let chain = certificates(certificate)?;
    let secret = private_key(key)?;
    let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| rejected(certificate, &error))?.with_no_client_auth();
    let mut config = config.with_single_cert(chain, secret).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsSetupError::Mismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(_) => rejected(certificate, &error),
        other => rejected(key, &other),
    })?;
    config.alpn_protocols = HTTP.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// What a client believes. Every handshake is a full one: sessions are not resumed.
///
/// Errors: the file is missing, or has no authority in it.
pub fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let provider = provider();
    let file: &Path = match trust {
        Trust::Anyone => Path::new(""),
        Trust::File(file) => file,
    };
    let versions =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| rejected(file, &error))?;
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth(),
        Trust::File(file) => {
            let mut roots = RootCertStore::empty();
            let (taken, _) = roots.add_parsable_certificates(certificates(file)?);
            if taken == 0 {
                return Err(TlsSetupError::NoCertificate { file: file.clone() });
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![HTTP[0].to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Believes any certificate, but checks that the peer has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

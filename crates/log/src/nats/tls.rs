//! TLS, by rustls: the system's trusted certificates, or those of a file.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::url::NatsUrl;
use crate::LogError;

pub(super) fn client_config(url: &NatsUrl) -> Result<ClientConfig, LogError> {
    let mut roots = RootCertStore::empty();
    match &url.ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(path, &error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(LogError::Invalid(
                    "this system has no trusted certificates: install its package \
                     ca-certificates, or name a file of them with the log's parameter `ca`"
                        .to_owned(),
                ));
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| LogError::Invalid(error.to_string()))?
        .with_root_certificates(roots);
    match &url.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key_path)) => {
            let key =
                PrivateKeyDer::from_pem_file(key_path).map_err(|error| bad(key_path, &error))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| bad(certificate, &error))
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LogError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(bad(path, &"no certificate in it")),
        Err(error) => Err(bad(path, &error)),
    }
}

fn bad(path: &Path, problem: &dyn std::fmt::Display) -> LogError {
    LogError::Invalid(format!(
        "can't use the certificates or the key in {}: {problem}",
        path.display()
    ))
}

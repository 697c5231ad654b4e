//! What every log refuses in the same way: names, keys, and what is too large.

use wingbeat_record::{HEADERS_MAX, Record};

use crate::{LogError, StreamConfig};

/// The largest value of a bucket, in bytes. Values are cursors and checkpoints; NATS' default is
/// the same.
pub(crate) const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// The longest key of a bucket, in bytes.
const KEY_BYTES_MAX: usize = 256;

pub(crate) fn check_stream(config: &StreamConfig) -> Result<(), LogError> {
    check_name("stream", &config.name)?;
    if config.subjects.is_empty() {
        let name = &config.name;
        return Err(LogError::Invalid(format!("stream `{name}` captures no subject")));
    }
    Ok(())
}

/// Names of streams, consumers and buckets: they become file names and tokens of protocols.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), LogError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_allowed) {
        return Err(LogError::Invalid(format!(
            "the {what} name {name:?} is not valid: 1 to 64 letters, digits, `-` and `_`"
        )));
    }
    Ok(())
}

/// The name of a bucket, checked, and with a suffix where there is one.
pub(crate) fn bucket_name(name: &str, suffix: &str) -> Result<String, LogError> {
    let name = if suffix.is_empty() { name.to_owned() } else { format!("{name}-{suffix}") };
    check_name("bucket", &name)?;
    Ok(name)
}

/// `advice` says which setting raises the limit.
pub(crate) fn check_record(
    record: &Record,
    max: usize,
    advice: &'static str,
) -> Result<(), LogError> {
    let bytes = record.size();
    if bytes > max {
        return Err(LogError::TooLarge { bytes, max, advice });
    }
    if record.headers.len() > HEADERS_MAX {
        return Err(LogError::Invalid(format!("a record with more than {HEADERS_MAX} headers")));
    }
    Ok(())
}

pub(crate) fn check_key(key: &str) -> Result<(), LogError> {
    let is_allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=' | '/');
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.chars().all(is_allowed) {
        return Err(LogError::Invalid(format!(
            "the key {key:?} is not valid: 1 to {KEY_BYTES_MAX} letters, digits, `-`, `_`, `.`, `=`, `/`"
        )));
    }
    Ok(())
}

pub(crate) fn check_value(value: &[u8]) -> Result<(), LogError> {
    let bytes = value.len();
    if bytes > VALUE_BYTES_MAX {
        return Err(LogError::TooLarge { bytes, max: VALUE_BYTES_MAX, advice: "" });
    }
    Ok(())
}

//! Records as JSON: the data-model form, where a link is `{"$link": "bafy..."}` and bytes are
//! `{"$bytes": "..."}`. <https://atproto.com/specs/data-model>

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde_json::json;

use crate::cbor::{self, CborError, Kind, Reader};

/// Writes one DRISL object as JSON, with the keys in their order. The object is checked strictly
/// first.
pub fn to_json(object: &[u8]) -> Result<String, CborError> {
    cbor::check(object)?;
    let mut out = String::with_capacity(object.len() * 2);
    write_value(&mut Reader::new(object), &mut out)?;
    Ok(out)
}

fn write_value(reader: &mut Reader<'_>, out: &mut String) -> Result<(), CborError> {
    match reader.kind()? {
        Kind::Integer => out.push_str(&reader.integer()?.to_string()),
        Kind::Text => write_text(reader.text()?, out),
        Kind::Bool => out.push_str(if reader.bool()? { "true" } else { "false" }),
        Kind::Null => {
            reader.take_null();
            out.push_str("null");
        }
        // The data model has no floats, but DRISL has. JSON keeps the point: 1.0 stays a float.
        Kind::Float => out.push_str(&json!(reader.float()?).to_string()),
        Kind::Link => write_wrapped("$link", &reader.link()?.to_string(), out),
        Kind::Bytes => write_wrapped("$bytes", &STANDARD_NO_PAD.encode(reader.bytes()?), out),
        Kind::Array => {
            out.push('[');
            for index in 0..reader.array()? {
                if index > 0 {
                    out.push(',');
                }
                write_value(reader, out)?;
            }
            out.push(']');
        }
        Kind::Map => {
            out.push('{');
            let mut entries = reader.map()?;
            let count = entries.left();
            while let Some(key) = entries.next_key(reader)? {
                if entries.left() + 1 < count {
                    out.push(',');
                }
                // The key was checked to be UTF-8, so this borrows it.
                write_text(&String::from_utf8_lossy(key), out);
                out.push(':');
                write_value(reader, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn write_wrapped(key: &str, text: &str, out: &mut String) {
    out.push_str(&json!({ key: text }).to_string());
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&json!(text).to_string());
}

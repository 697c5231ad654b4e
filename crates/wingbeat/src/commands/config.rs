//! `wingbeat config`: what is set, where, and what could be.

use std::collections::BTreeMap;

use schemars::schema_for;
use serde_json::Value;
use wingbeat_ops::config::{Origin, Setting, settings};

use super::{print_json, print_line};
use crate::{
    cli::{self, ConfigView, Format, Global},
    config::{self, Config},
    failure::Failure,
};

pub(crate) fn run(global: &Global, args: &cli::Config) -> Result<(), Failure> {
    match args.what {
        ConfigView::Show => show(global, args.format),
        ConfigView::Reference => print_line(reference().trim_end()),
        ConfigView::Schema => {
            let schema = serde_json::to_string_pretty(&schema_for!(Config));
            print_line(&schema.map_err(|error| Failure::Failed(error.to_string()))?)
        }
    }
}

fn show(global: &Global, format: Format) -> Result<(), Failure> {
    let loaded = config::load(global, None, Vec::new())?;
    let value =
        serde_json::to_value(&loaded.config).map_err(|error| Failure::Failed(error.to_string()))?;
    if format == Format::Json {
        return print_json(&value);
    }
    let mut lines = Vec::new();
    flatten(&value, String::new(), &mut lines);
    let width = lines.iter().map(|(path, value)| path.len() + value.len() + 3).max().unwrap_or(0);
    for (path, value) in lines {
        let setting = format!("{path} = {value}");
        print_line(&format!("{setting:<width$}  # {}", origin_of(&loaded.origins, &path)))?;
    }
    Ok(())
}

/// Leaves as `path` and TOML value. What is not set has no line.
fn flatten(value: &Value, path: String, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(table) => {
            for (key, child) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(child, path, lines);
            }
        }
        Value::Null => {}
        // TOML writes these as JSON does.
        other => lines.push((path, other.to_string())),
    }
}

fn origin_of(origins: &BTreeMap<String, Origin>, path: &str) -> String {
    origins.get(path).map_or_else(|| "default".to_owned(), ToString::to_string)
}

/// The reference of all settings.
fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         This page is generated: `wingbeat config reference`.\n\n\
         Defaults < pack < `wingbeat.toml` < environment < flags. `--set KEY=VALUE` sets any of \
         these keys; `wingbeat config` shows what is in force and where it was set. `*` stands for \
         a name that you choose. Lengths of time are written `250ms`, `30s`, `5m`, `2h`.\n",
    );
    let mut section = String::new();
    for setting in settings::<Config>() {
        let this = section_of(&setting.path).to_owned();
        if this != section {
            text.push_str(&format!("\n## `[{this}]`\n\n| key | takes | default | environment | |\n|---|---|---|---|---|\n"));
            section = this;
        }
        text.push_str(&row(&setting));
    }
    text
}

fn section_of(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(section, _)| section)
}

fn row(setting: &Setting) -> String {
    let key = setting.path.rsplit('.').next().unwrap_or_default();
    let default = match &setting.default {
        None | Some(Value::Null) => String::new(),
        Some(value) => format!("`{value}`"),
    };
    let variables: Vec<String> = setting.variables.iter().map(|v| format!("`{v}`")).collect();
    format!(
        "| `{key}` | {} | {default} | {} | {} |\n",
        setting.kind,
        variables.join(", "),
        setting.description.replace('|', "\\|")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_docs_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/configuration.md");
        let written = std::fs::read_to_string(path).unwrap_or_default();
        // Not `assert_eq`: both are pages long.
        assert!(
            written.trim_end() == reference().trim_end(),
            "run `wingbeat config reference > docs/reference/configuration.md`"
        );
    }

    #[test]
    fn every_setting_says_what_it_is() {
        for setting in settings::<Config>() {
            assert!(!setting.description.is_empty(), "{}", setting.path);
        }
    }
}

//! Putting layers on top of one another, and remembering what came from where.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, schema_for};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::schema::{first_unknown, settings};

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// A file's name, `environment NAME`, or a flag.
    pub name: String,
    /// The line, in a file.
    pub line: Option<usize>,
}

impl Origin {
    /// A place that is no file.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), line: None }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// A configuration that can't be used. One line: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub struct ConfigError {
    /// Where it was set.
    pub origin: Origin,
    /// What is wrong and what to do.
    pub problem: String,
}

/// Layers of configuration, the later on top.
#[derive(Debug, Default)]
pub struct Layers {
    value: Map<String, Value>,
    origins: BTreeMap<String, Origin>,
}

/// A configuration and where its values came from.
#[derive(Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// By path: where each value was set. What is not here has its default.
    pub origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Puts a TOML text on top. `name` is what errors call it.
    pub fn add_toml(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
        let at = |offset: usize| Origin { name: name.to_owned(), line: Some(line_of(offset)) };
        let table = DeTable::parse(text).map_err(|error| ConfigError {
            origin: at(error.span().map_or(0, |span| span.start)),
            problem: format!("not TOML: {}", error.message()),
        })?;
        self.add_table(table.get_ref(), "", &at);
        Ok(())
    }

    fn add_table(&mut self, table: &DeTable<'_>, path: &str, at: &impl Fn(usize) -> Origin) {
        for (key, value) in table {
            let path = join(path, key.get_ref());
            match value.get_ref() {
                DeValue::Table(table) => {
                    self.origins.entry(path.clone()).or_insert_with(|| at(key.span().start));
                    self.make_table(&path);
                    self.add_table(table, &path, at);
                }
                other => self.set(&path, to_json(other), at(key.span().start)),
            }
        }
    }

    /// Sets one value, whatever was there before.
    pub fn set(&mut self, path: &str, value: Value, origin: Origin) {
        let below = format!("{path}.");
        self.origins.retain(|known, _| !known.starts_with(&below));
        self.origins.insert(path.to_owned(), origin);
        let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
        self.make_table(parent).insert(key.to_owned(), value);
    }

    /// The table at a path; made where there is none.
    fn make_table(&mut self, path: &str) -> &mut Map<String, Value> {
        let mut table = &mut self.value;
        for key in path.split('.').filter(|key| !key.is_empty()) {
            let entry = table.entry(key).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            let Value::Object(inner) = entry else { unreachable!("it was made an object above") };
            table = inner;
        }
        table
    }

    /// Puts the environment on top: the variables that the schema of `T` names. An empty variable
    /// counts as not set.
    pub fn add_environment<T: JsonSchema>(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        for setting in settings::<T>() {
            let is_set = |name: &&String| variable(name).is_some_and(|text| !text.is_empty());
            let Some(name) = setting.variables.iter().find(is_set) else { continue };
            let text = variable(name).unwrap_or_default();
            let origin = Origin::new(format!("environment {name}"));
            let value = from_text(&setting.kind, &text).ok_or_else(|| ConfigError {
                origin: origin.clone(),
                problem: format!("{text:?} is not what `{}` takes: {}", setting.path, setting.kind),
            })?;
            // `*` stands for every entry that is there: there is no such entry itself.
            match setting.path.split_once(".*.") {
                None => self.set(&setting.path, value, origin),
                Some((table, key)) => {
                    let entries: Vec<String> = self.make_table(table).keys().cloned().collect();
                    for entry in entries {
                        let path = format!("{table}.{entry}.{key}");
                        self.set(&path, value.clone(), origin.clone());
                    }
                }
            }
        }
        Ok(())
    }

    /// Makes the configuration. Refuses unknown keys and wrong types.
    pub fn finish<T: DeserializeOwned + JsonSchema>(self) -> Result<Loaded<T>, ConfigError> {
        let root = schema_for!(T).to_value();
        let value = Value::Object(self.value);
        if let Some((path, known)) = first_unknown(&root, &root, &value, "") {
            let key = path.rsplit('.').next().unwrap_or_default();
            let problem = match nearest(key, &known) {
                Some(near) => format!("unknown key `{path}`; did you mean `{near}`?"),
                None => format!("unknown key `{path}`; known here: {}", known.join(", ")),
            };
            return Err(ConfigError { origin: origin_of(&self.origins, &path), problem });
        }
        match serde_path_to_error::deserialize(value) {
            Ok(config) => Ok(Loaded { config, origins: self.origins }),
            Err(error) => {
                let path = error.path().to_string().replace('[', ".").replace(']', "");
                let place = if path == "." { String::new() } else { format!("`{path}`: ") };
                let problem = format!("{place}{}", error.inner());
                Err(ConfigError { origin: origin_of(&self.origins, &path), problem })
            }
        }
    }
}

/// Where a path was set, or else the closest table around it.
fn origin_of(origins: &BTreeMap<String, Origin>, path: &str) -> Origin {
    let mut path = path;
    loop {
        if let Some(origin) = origins.get(path) {
            return origin.clone();
        }
        match path.rsplit_once('.') {
            Some((parent, _)) => path = parent,
            None => return Origin::new("configuration"),
        }
    }
}

/// The known word that a wrong one was most likely meant to be, if any is close.
fn nearest<'a>(word: &str, known: &'a [String]) -> Option<&'a String> {
    let distance = |other: &&String| strsim::osa_distance(word, other);
    let best = known.iter().min_by_key(distance)?;
    (distance(&best) <= (word.chars().count() / 3).max(1)).then_some(best)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => {
            number.to_string().parse::<i64>().map_or(Value::Null, Value::from)
        }
        DeValue::Float(number) => {
            number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
        }
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, v)| (key.get_ref().to_string(), to_json(v.get_ref())))
                .collect(),
        ),
    }
}

/// A variable's text as the kind of value that its setting takes.
fn from_text(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "number" => {
            let whole = text.parse::<i64>().map(Value::from).ok();
            whole.or_else(|| text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Value::from))
        }
        "true or false" => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(Value::from(true)),
            "false" | "0" | "no" | "off" => Some(Value::from(false)),
            _ => None,
        },
        kind if kind.starts_with("list of ") => {
            Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
        }
        _ => Some(Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::config::Span;

    /// A configuration for the tests.
    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        web: Web,
        #[serde(default)]
        flows: BTreeMap<String, Flow>,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Web {
        /// The port to listen on.
        #[schemars(extend("x-env" = ["WEB_PORT", "PORT"]))]
        port: u16,
        #[serde(default)]
        is_open: bool,
    }

    #[derive(Debug, Deserialize, JsonSchema, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Flow {
        #[schemars(extend("x-env" = ["BATCH_MAX"]))]
        batch_max: usize,
        wait: Option<Span>,
    }

    const BASE: &str = "[web]\nport = 1\n\n[flows.enrich]\nbatch_max = 7\nwait = \"20ms\"\n";

    fn load(top: &str, environment: &[(&str, &str)]) -> Result<Loaded<Config>, ConfigError> {
        let mut layers = Layers::default();
        layers.add_toml("base.toml", BASE)?;
        layers.add_toml("top.toml", top)?;
        let variable = |name: &str| {
            environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        layers.add_environment::<Config>(variable)?;
        layers.finish()
    }

    #[test]
    fn later_layers_win_and_leave_the_rest_alone() {
        let loaded =
            load("flows.enrich.batch_max = 9", &[("PORT", "3"), ("WEB_PORT", "4")]).unwrap();
        let flow = Flow { batch_max: 9, wait: Some(Span::from_millis(20)) };
        assert_eq!(loaded.config.web, Web { port: 4, is_open: false });
        assert_eq!(loaded.config.flows["enrich"], flow);
        let origin = |path: &str| loaded.origins[path].to_string();
        assert_eq!(origin("flows.enrich.batch_max"), "top.toml:1");
        assert_eq!(origin("flows.enrich.wait"), "base.toml:6");
        assert_eq!(origin("web.port"), "environment WEB_PORT");
        assert_eq!(load("", &[("WEB_PORT", "")]).unwrap().config.web.port, 1);
    }

    #[test]
    fn a_variable_sets_every_entry_that_is_there() {
        let top = "[flows.other]\nbatch_max = 1";
        let loaded = load(top, &[("BATCH_MAX", "8")]).unwrap();
        let batches: Vec<_> = loaded
            .config
            .flows
            .iter()
            .map(|(name, flow)| (name.as_str(), flow.batch_max))
            .collect();
        assert_eq!(batches, [("enrich", 8), ("other", 8)]);
    }

    #[test]
    fn errors_name_the_place_and_the_nearest_right_name() {
        for (top, expected) in [
            ("[web]\nprot = 5", "top.toml:2: unknown key `web.prot`; did you mean `port`?"),
            (
                "\n[flows.enrich]\nzzz = 5",
                "top.toml:3: unknown key `flows.enrich.zzz`; known here: batch_max, wait",
            ),
            ("[wbe]\nport = 5", "top.toml:1: unknown key `wbe`; did you mean `web`?"),
            (
                "[web]\nport = \"x\"",
                "top.toml:2: `web.port`: invalid type: string \"x\", expected u16",
            ),
            (
                "[web]\nport = 70000",
                "top.toml:2: `web.port`: invalid value: integer `70000`, expected u16",
            ),
            (
                "[flows.enrich]\nwait = \"soon\"",
                "top.toml:2: `flows.enrich.wait`: `soon` is no length of time; write 250ms, 30s, 5m or 2h",
            ),
            ("[flows.more]\nwait = \"1s\"", "top.toml:1: `flows.more`: missing field `batch_max`"),
        ] {
            assert_eq!(load(top, &[]).unwrap_err().to_string(), expected);
        }
        let error = load("a = ", &[]).unwrap_err().to_string();
        assert!(error.starts_with("top.toml:1: not TOML: "), "{error}");
        let error = load("", &[("PORT", "many")]).unwrap_err().to_string();
        assert_eq!(error, "environment PORT: \"many\" is not what `web.port` takes: number");
    }

    #[test]
    fn the_schema_says_what_there_is() {
        let settings = settings::<Config>();
        let paths: Vec<&str> = settings.iter().map(|setting| setting.path.as_str()).collect();
        assert_eq!(paths, ["web.port", "web.is_open", "flows.*.batch_max", "flows.*.wait"]);
        assert_eq!(settings[0].description, "The port to listen on.");
        assert_eq!(settings[0].variables, ["WEB_PORT", "PORT"]);
        assert_eq!(settings[3].kind, "length of time");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[a-z.=\\[\\]\"\n 0-9]{0,60}") {
            let _ = load(&text, &[]);
        }
    }
}

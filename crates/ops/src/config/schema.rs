//! Reading a configuration's own schema.

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

/// One setting, as its schema describes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its path, with dots; `*` stands for a name that the user chooses.
    pub path: String,
    /// What it is, in words: the doc comment of its field.
    pub description: String,
    /// `text`, `number`, `true or false`, `length of time`, or the words that are allowed.
    pub kind: String,
    /// What it is where nobody sets it; `None` where somebody must.
    pub default: Option<Value>,
    /// The environment variables that set it; the first one wins.
    pub variables: Vec<String>,
}

/// All settings of a configuration, in the order of its fields.
pub fn settings<T: JsonSchema>() -> Vec<Setting> {
    let root = schema_for!(T).to_value();
    let mut found = Vec::new();
    walk(&root, &root, String::new(), &mut found);
    found
}

fn walk(root: &Value, node: &Value, path: String, found: &mut Vec<Setting>) {
    let resolved = resolve(root, node);
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let mut is_table = false;
    if let Some(properties) = resolved.get("properties").and_then(Value::as_object) {
        is_table = true;
        for (key, child) in properties {
            walk(root, child, join(key), found);
        }
    }
    if let Some(child) = resolved.get("additionalProperties").filter(|child| child.is_object()) {
        is_table = true;
        walk(root, child, join("*"), found);
    }
    if !is_table {
        let text = |key| node.get(key).or_else(|| resolved.get(key)).and_then(Value::as_str);
        let variables = node.get("x-env").and_then(Value::as_array);
        found.push(Setting {
            path,
            description: text("description").unwrap_or_default().replace('\n', " "),
            kind: kind_of(root, &resolved),
            default: node.get("default").cloned(),
            variables: variables.map_or_else(Vec::new, |names| {
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }),
        });
    }
}

fn kind_of(root: &Value, node: &Map<String, Value>) -> String {
    if let Some(format) = node.get("format").and_then(Value::as_str).filter(|f| f.contains(' ')) {
        return format.to_owned();
    }
    if let Some(words) = words_of(node) {
        return words.join(", ");
    }
    let types = match node.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match types.iter().find(|kind| **kind != "null") {
        Some(&"boolean") => "true or false".to_owned(),
        Some(&("integer" | "number")) => "number".to_owned(),
        Some(&"array") => {
            let items = node.get("items").map(|items| kind_of(root, &resolve(root, items)));
            format!("list of {}", items.unwrap_or_default())
        }
        Some(&"object") => "table".to_owned(),
        _ => "text".to_owned(),
    }
}

/// The words of a choice: an enum, or one constant per described word.
fn words_of(node: &Map<String, Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(words) = node.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(text).collect());
    }
    let choices = node.get("oneOf").and_then(Value::as_array)?;
    choices.iter().map(|choice| choice.get("const").and_then(text)).collect()
}

/// Follows references, and looks through `Option`.
pub(super) fn resolve(root: &Value, node: &Value) -> Map<String, Value> {
    let mut node = node;
    // References do not nest deeper than the structs do.
    for _ in 0..32 {
        let is_not_null = |choice: &&Value| choice.get("type") != Some(&Value::from("null"));
        let next = match node.get("$ref").and_then(Value::as_str) {
            Some(reference) => root.pointer(reference.trim_start_matches('#')),
            None => node
                .get("anyOf")
                .and_then(Value::as_array)
                .and_then(|choices| choices.iter().find(is_not_null)),
        };
        match next {
            Some(next) => node = next,
            None => break,
        }
    }
    node.as_object().cloned().unwrap_or_default()
}

/// What is wrong with the keys of a value, if anything: the path of the first key that the schema
/// does not know, and the keys that would be right there.
pub(super) fn first_unknown(
    root: &Value,
    node: &Value,
    value: &Value,
    path: &str,
) -> Option<(String, Vec<String>)> {
    let Some(table) = value.as_object() else {
        let items = resolve(root, node).get("items").cloned()?;
        let mut elements = value.as_array()?.iter().enumerate();
        return elements.find_map(|(at, element)| {
            first_unknown(root, &items, element, &format!("{path}.{at}"))
        });
    };
    let resolved = resolve(root, node);
    let properties = resolved.get("properties").and_then(Value::as_object);
    let others = resolved.get("additionalProperties").filter(|child| child.is_object());
    if properties.is_none() && others.is_none() {
        return None;
    }
    table.iter().find_map(|(key, child)| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match properties.and_then(|properties| properties.get(key)).or(others) {
            Some(node) => first_unknown(root, node, child, &path),
            None => {
                let known = properties.map(|p| p.keys().cloned().collect()).unwrap_or_default();
                Some((path, known))
            }
        }
    })
}

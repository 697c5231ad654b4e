//! What a browser asks for with a stream of events.

use std::collections::HashMap;

use crate::{hub::Event, moods::MOODS};

/// How many posts a browser that joins gets unless it asks otherwise, and at most.
const BACKFILL: usize = 25;
const BACKFILL_MAX: usize = 200;

/// What a browser wants to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    mood: Option<String>,
    topic: Option<String>,
    /// How many recent posts it gets first.
    pub(crate) backfill: usize,
}

impl Wanted {
    /// Reads a query, or says what is wrong with it.
    pub(crate) fn read(query: &HashMap<String, String>) -> Result<Self, String> {
        let mut wanted = Self { backfill: BACKFILL, ..Self::default() };
        for (name, value) in query {
            match name.as_str() {
                "sentiment" if MOODS.contains(&value.as_str()) => wanted.mood = Some(value.clone()),
                "sentiment" => return Err(format!("`sentiment` is one of {}", MOODS.join(", "))),
                "topic" if !value.is_empty() && value.len() <= 64 => {
                    wanted.topic = Some(value.clone());
                }
                "topic" => return Err("`topic` is a topic's label".to_owned()),
                "backfill" => {
                    let number = value.parse().ok().filter(|number| *number <= BACKFILL_MAX);
                    wanted.backfill = number.ok_or_else(|| {
                        format!("`backfill` is a number from 0 to {BACKFILL_MAX}")
                    })?;
                }
                // A browser that lost its connection for good passes on what it has seen.
                "last_event_id" => {}
                _ => return Err(format!("unknown parameter `{}`", clip(name))),
            }
        }
        Ok(wanted)
    }

    pub(crate) fn matches(&self, mood: &str, topics: &[String]) -> bool {
        self.mood.as_deref().is_none_or(|wanted| wanted == mood)
            && self.topic.as_ref().is_none_or(|wanted| topics.contains(wanted))
    }

    pub(crate) fn matches_event(&self, event: &Event) -> bool {
        self.matches(&event.mood, &event.topics)
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

//! Labels that authors put on their own posts.

use wingbeat_record::Reason;

use super::{FilterSettings, Rule};
use crate::Item;

pub(super) struct Label {
    labels: Vec<String>,
}

impl Label {
    pub(super) fn new(settings: &FilterSettings) -> Self {
        Self { labels: settings.labels.clone() }
    }
}

impl Rule for Label {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        let labels = item.document()?.get("labels")?.strings()?;
        labels.iter().any(|label| self.labels.contains(label)).then(|| Reason::new("labelled"))
    }
}

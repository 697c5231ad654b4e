//! Too short, too long, nothing at all.

use wingbeat_record::Reason;

use super::{FilterSettings, Rule, wrong};
use crate::{Item, StageError};

pub(super) struct Length {
    min: usize,
    max: usize,
}

impl Length {
    pub(super) fn new(settings: &FilterSettings) -> Result<Self, StageError> {
        let (min, max) = (settings.length_min, settings.length_max);
        if min > max {
            return Err(wrong(format!(
                "`length_min` is {min}, above `length_max`, which is {max}"
            )));
        }
        Ok(Self { min, max })
    }
}

impl Rule for Length {
    fn look(&self, item: &mut Item) -> Option<Reason> {
        // Unicode code points, both bounds allowed, as the replaced service counts.
        let length = item.text().trim().chars().count();
        match length {
            0 if self.min > 0 => Some(Reason::new("no_text")),
            _ if length < self.min => Some(Reason::new("too_short")),
            _ if length > self.max => Some(Reason::new("too_long")),
            _ => None,
        }
    }
}

//! Which filters the server follows, and which are left to us.
//!
//! Servers before 2.10 know one filter a consumer and drop a list without a word. No server takes
//! filters that overlap. In both cases the consumer gets everything, and what is not wanted is
//! passed over here.

use serde_json::json;
use wingbeat_record::{Subject, SubjectFilter};

use super::{api::Config, stream::object};

/// The filters of a consumer or reader.
#[derive(Debug, Clone)]
pub(super) struct Filters {
    all: Vec<SubjectFilter>,
    /// Whether the server follows them.
    is_on_server: bool,
}

impl Filters {
    /// `has_lists`: whether the server takes several.
    pub(super) fn new(filters: &[SubjectFilter], has_lists: bool) -> Self {
        let overlaps = |(at, filter): (usize, &SubjectFilter)| {
            filters[at + 1..].iter().any(|other| other.overlaps(filter))
        };
        let is_on_server =
            filters.len() <= 1 || (has_lists && !filters.iter().enumerate().any(overlaps));
        Self { all: filters.to_vec(), is_on_server }
    }

    /// The same filters, all of them followed here.
    pub(super) fn here(self) -> Self {
        Self { is_on_server: false, ..self }
    }

    pub(super) fn is_wanted(&self, subject: &Subject) -> bool {
        self.is_on_server || self.all.iter().any(|filter| filter.matches(subject))
    }

    /// What the server sends.
    pub(super) fn sent(&self) -> Vec<&str> {
        match &self.all[..] {
            [] => vec![">"],
            _ if !self.is_on_server => vec![">"],
            all => all.iter().map(SubjectFilter::as_str).collect(),
        }
    }

    /// As JetStream writes them.
    pub(super) fn settings(&self) -> Config {
        let texts: Vec<&str> = self.all.iter().map(SubjectFilter::as_str).collect();
        object(match &texts[..] {
            _ if !self.is_on_server => json!({ "filter_subject": "", "filter_subjects": [] }),
            [] => json!({ "filter_subject": "", "filter_subjects": [] }),
            [one] => json!({ "filter_subject": one, "filter_subjects": [] }),
            several => json!({ "filter_subject": "", "filter_subjects": several }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str], has_lists: bool) -> Filters {
        let filters: Vec<_> = texts.iter().map(|text| SubjectFilter::new(text).unwrap()).collect();
        Filters::new(&filters, has_lists)
    }

    #[test]
    fn what_the_server_can_not_follow_is_followed_here() {
        let subject = |text: &str| Subject::new(text).unwrap();
        for (texts, has_lists, is_on_server) in [
            (&[][..], false, true),
            (&["a.>"][..], false, true),
            (&["a.*", "b"][..], false, false),
            (&["a.*", "b"][..], true, true),
            (&["a.*", "a.b"][..], true, false),
        ] {
            let filters = filters(texts, has_lists);
            assert_eq!(filters.is_on_server, is_on_server, "{texts:?}");
            assert!(is_on_server || !filters.is_wanted(&subject("x.y")), "{texts:?}");
            assert!(texts.is_empty() || filters.is_wanted(&subject("a.b")), "{texts:?}");
        }
    }
}

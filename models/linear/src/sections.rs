//! The sections of a news site, as topics.

/// A section, and what a headline in it is about.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    /// Topics that such a headline has.
    pub(crate) certain: &'static [&'static str],
    /// Topics that it may have.
    pub(crate) possible: &'static [&'static str],
}

const fn section(
    name: &'static str,
    certain: &'static [&'static str],
    possible: &'static [&'static str],
) -> Section {
    Section { name, certain, possible }
}

const ARTS: &str = "arts_&_culture";
const BUSINESS: &str = "business_&_entrepreneurs";
const CELEBRITY: &str = "celebrity_&_pop_culture";
const DIARIES: &str = "diaries_&_daily_life";
const FAMILY: &str = "family";
const FASHION: &str = "fashion_&_style";
const FILM: &str = "film_tv_&_video";
const FITNESS: &str = "fitness_&_health";
const FOOD: &str = "food_&_dining";
const LEARNING: &str = "learning_&_educational";
const MUSIC: &str = "music";
const NEWS: &str = "news_&_social_concern";
const HOBBIES: &str = "other_hobbies";
const RELATIONSHIPS: &str = "relationships";
const SCIENCE: &str = "science_&_technology";
const SPORTS: &str = "sports";
const TRAVEL: &str = "travel_&_adventure";
const YOUTH: &str = "youth_&_student_life";

/// The sections of HuffPost whose meaning is clear enough. The others are not learnt from.
pub(crate) const SECTIONS: &[Section] = &[
    section("IMPACT", &[NEWS], &[BUSINESS, FITNESS, SCIENCE]),
    section("POLITICS", &[NEWS], &[]),
    section("WEIRD NEWS", &[NEWS], &[HOBBIES, DIARIES]),
    section("QUEER VOICES", &[NEWS], &[CELEBRITY, ARTS, FILM, RELATIONSHIPS, MUSIC]),
    section("SPORTS", &[SPORTS], &[CELEBRITY, NEWS]),
    section("SCIENCE", &[SCIENCE], &[NEWS, LEARNING]),
    section("LATINO VOICES", &[NEWS], &[CELEBRITY, ARTS, FILM, MUSIC]),
    section("EDUCATION", &[LEARNING], &[NEWS, YOUTH]),
    section("COLLEGE", &[YOUTH, LEARNING], &[NEWS]),
    section("GREEN", &[NEWS], &[SCIENCE, TRAVEL]),
    section("ENVIRONMENT", &[NEWS, SCIENCE], &[TRAVEL]),
    section("TASTE", &[FOOD], &[]),
    section("FOOD & DRINK", &[FOOD], &[]),
    section("HEALTHY LIVING", &[FITNESS], &[DIARIES, SCIENCE, FOOD]),
    section("WELLNESS", &[FITNESS], &[DIARIES, SCIENCE, FOOD, RELATIONSHIPS]),
    section("THE WORLDPOST", &[NEWS], &[BUSINESS]),
    section("WORLDPOST", &[NEWS], &[BUSINESS]),
    section("WORLD NEWS", &[NEWS], &[BUSINESS]),
    section("ARTS", &[ARTS], &[CELEBRITY, FILM, MUSIC]),
    section("ARTS & CULTURE", &[ARTS], &[CELEBRITY, FILM, MUSIC, NEWS]),
    section("CULTURE & ARTS", &[ARTS], &[CELEBRITY, FILM, MUSIC]),
    section("CRIME", &[NEWS], &[]),
    section("TRAVEL", &[TRAVEL], &[FOOD]),
    section("MEDIA", &[NEWS], &[FILM, CELEBRITY]),
    section("TECH", &[SCIENCE], &[BUSINESS, NEWS]),
    section("STYLE", &[FASHION], &[CELEBRITY]),
    section("STYLE & BEAUTY", &[FASHION], &[CELEBRITY]),
    section("DIVORCE", &[RELATIONSHIPS], &[FAMILY, DIARIES]),
    section("WEDDINGS", &[RELATIONSHIPS], &[FASHION, FAMILY]),
    section("BUSINESS", &[BUSINESS], &[NEWS, SCIENCE]),
    section("MONEY", &[BUSINESS], &[NEWS]),
    section("PARENTING", &[FAMILY], &[DIARIES]),
    section("PARENTS", &[FAMILY], &[DIARIES, CELEBRITY]),
    section("ENTERTAINMENT", &[CELEBRITY], &[FILM, MUSIC, ARTS]),
    section("COMEDY", &[], &[CELEBRITY, FILM, NEWS]),
    section("HOME & LIVING", &[HOBBIES], &[DIARIES, FASHION]),
];
